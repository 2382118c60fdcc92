//! Controllers that keep pods running.

pub mod deployment;
pub mod replicaset;
