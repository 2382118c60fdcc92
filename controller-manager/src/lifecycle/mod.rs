//! Controllers that take things away in time.

mod disruption;
pub mod disruption_budget;
pub mod garbage_collector;
pub mod namespace;
pub mod node_lifecycle;
pub mod pod_gc;
pub mod powered_off;
pub mod resource_quota;
pub mod taint_eviction;
