//! The controller manager daemon: the loops that make the cluster what its objects say.
//!
//! Owns: the controllers ([`workloads`], [`network`], [`storage`], [`lifecycle`], [`identity`]), the flags that
//! choose and tune them ([`flags`]) and their assembly ([`assemble`]). Each controller is a folder: `plan.rs`
//! decides, purely; `mod.rs` observes and applies; `tests.rs` are its tables.
//!
//! Tasks: one informer per kind, one dispatcher per controller and one task per reconciliation in flight, the
//! leader's lease, the secure port. Nothing polls; what has a deadline is queued for it.
//!
//! Refuses: touching the store, other daemons, or the host; writing without the executor of
//! `gantry-reconcile`.

pub mod assemble;
pub mod context;
pub mod credentials;
pub mod discovery;
pub mod flags;
pub mod identity;
pub mod inert;
pub mod lifecycle;
pub mod metrics;
pub mod network;
pub mod references;
pub mod storage;
pub mod workloads;
