//! The service proxy daemon.
