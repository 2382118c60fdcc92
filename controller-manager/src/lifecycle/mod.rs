//! Controllers that take things away in time.

pub mod garbage_collector;
pub mod namespace;
