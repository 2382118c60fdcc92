//! The control plane under virtual time: one seed, one run.
//!
//! The real registry on a store in memory, the real controllers and the real scheduler with their informers,
//! queues, executors and barriers, all on one thread. Only what lies between them is simulated: connections
//! that are slow, cut, refuse and repeat ([`wire`], [`faults`]), processes that die ([`managers`]), nodes
//! ([`kubelet`]), users ([`scenario`]), chance and time ([`virtual_world`]). Every write is shown to the
//! [`invariants`] with what was true before ([`truth`]); planted bugs ([`mutations`]) show that they notice.
//!
//! Tasks: those of the code under test, and one for all nodes. Refuses: a second implementation of anything
//! under test, real time, sockets, files.

pub mod actor;
mod amounts;
pub mod api;
pub mod dice;
pub mod faults;
pub mod forks;
pub mod invariants;
pub mod kubelet;
pub mod managers;
mod manifests;
pub mod mutations;
pub mod scenario;
pub mod simulation;
pub mod store;
pub mod truth;
pub mod views;
pub mod virtual_world;
pub mod wire;

pub use mutations::Mutation;
pub use simulation::{Outcome, simulate};
