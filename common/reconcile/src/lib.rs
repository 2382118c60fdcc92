//! observe, plan, effects: the one executor behind every controller, with ownership and the staleness barrier.
//!
//! Owns: the form of a change to the cluster ([`effect`]), the executor that makes it ([`executor`]), the
//! barrier that keeps a controller from acting on a cache older than its own last write ([`barrier`]), who
//! owns what ([`ownership`]), label selectors on typed objects ([`selector`]) and the loop that turns keys
//! into reconciliations ([`runner`]).
//!
//! Tasks: one dispatcher per running controller, one task per reconciliation in flight. Channels: none of its
//! own; it reads work queues and informers' revisions.
//!
//! Refuses: retrying a write on its own. A failed effect fails the reconciliation; the queue brings the key
//! back and everything is observed anew.

pub mod barrier;
pub mod conditions;
pub mod effect;
pub mod executor;
pub mod ownership;
pub mod runner;
pub mod selector;

pub use barrier::Barrier;
pub use effect::{Body, Effect, PatchKind, Propagation};
pub use executor::{Executor, Written};
pub use runner::{Next, Reconcile, RunOptions, run};
