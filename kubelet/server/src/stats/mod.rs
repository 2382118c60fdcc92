//! Resource use of the node, its pods and containers: `/stats/summary`, from which `/metrics/resource` and
//! `/metrics/cadvisor` are made too.

pub mod collect;
pub mod summary;

pub use collect::{Collector, Extent};
