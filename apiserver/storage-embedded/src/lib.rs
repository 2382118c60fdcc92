//! The Store in a single file for one machine, with group commit.
