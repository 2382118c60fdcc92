//! Controllers that take things away in time.

mod disruption;
pub mod garbage_collector;
pub mod namespace;
pub mod node_lifecycle;
pub mod pod_gc;
pub mod taint_eviction;
