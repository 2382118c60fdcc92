//! The scheduler daemon.
