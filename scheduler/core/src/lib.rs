//! The pure scheduler.
//!
//! Owns: the cluster as the scheduler sees it, in dense arrays kept current event by event ([`cluster`],
//! [`node`], [`pod`], [`resource`]); the queues of pods that wait ([`queue`]); the framework plugins hang on
//! ([`framework`]); one scheduling decision ([`cycle`]); and preemption ([`preemption`]). Time and randomness
//! are arguments.
//!
//! No tasks, no IO. Refuses: talking to the API (the shell binds) and knowing any single plugin.

pub mod cluster;
pub mod cycle;
pub mod framework;
pub mod node;
pub mod pod;
pub mod preemption;
pub mod queue;
pub mod resource;

pub use cluster::{Cluster, NodeIndex};
pub use cycle::{Failure, Outcome, schedule};
pub use framework::{Change, Plugin, Profile, Rejection};
pub use node::NodeInfo;
pub use pod::PodInfo;
pub use queue::{Entry, Queue};
pub use resource::Resources;
