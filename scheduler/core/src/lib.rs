//! The pure scheduler.
//!
//! Owns: the cluster as the scheduler sees it, in dense arrays kept current event by event ([`cluster`],
//! [`node`], [`pod`], [`shape`], [`resource`], [`volume`], [`facts`]), with labels and topology values shared
//! ([`labels`], [`topology`]) and counts of pods by domain maintained ([`tally`]); the queues of pods that
//! wait ([`queue`]); the framework plugins hang on ([`framework`], [`event`]); one scheduling decision
//! ([`cycle`]), what is remembered between them ([`plan`]), who outside has a say in it ([`outside`]) and how a
//! refusal is told ([`failure`]); what every plugin says of every node, for those who ask ([`trial`]); and
//! preemption ([`preemption`]). Time and randomness are arguments.
//!
//! No tasks, no IO. Refuses: talking to the API (the shell binds) and knowing any single plugin.

pub mod cluster;
pub mod cycle;
pub mod event;
pub mod facts;
pub mod failure;
pub mod framework;
pub mod labels;
pub mod node;
pub mod outside;
pub mod plan;
pub mod pod;
pub mod preemption;
pub mod queue;
pub mod resource;
pub mod shape;
pub mod tally;
pub mod topology;
pub mod trial;
pub mod volume;

pub use cluster::{Cluster, NodeIndex};
pub use cycle::{Outcome, Scheduler};
pub use event::Event;
pub use facts::Facts;
pub use failure::Failure;
pub use framework::{Plugin, Point, Profile, Rejection};
pub use node::{NodeFacts, NodeInfo};
pub use plan::Memory;
pub use pod::{PodInfo, Shapes};
pub use queue::{Entry, Queue};
pub use resource::Resources;
pub use shape::Shape;
pub use trial::Trial;
