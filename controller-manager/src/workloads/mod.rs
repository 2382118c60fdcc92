//! Controllers that keep pods running.

mod availability;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
mod hash;
mod history;
pub mod horizontal_pod_autoscaler;
mod intstr;
pub mod job;
mod pod_control;
pub mod replicaset;
pub mod replication;
pub mod roll_on_change;
pub mod statefulset;
pub mod ttl_after_finished;
