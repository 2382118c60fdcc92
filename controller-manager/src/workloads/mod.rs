//! Controllers that keep pods running.

mod availability;
pub mod daemonset;
pub mod deployment;
mod hash;
mod history;
mod intstr;
mod pod_control;
pub mod replicaset;
pub mod replication;
pub mod statefulset;
