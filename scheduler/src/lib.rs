//! The scheduler daemon: a shell around the pure core.
//!
//! Owns: the informers of Pods, Nodes and what else scheduling depends on ([`news`]), one task that holds all
//! scheduling state ([`state`], [`watching`]), the API writes a decision leads to ([`effects`]) and the calls
//! to HTTP extenders ([`extender`]). Channels: the informers' deltas in, finished effects back in. Writes run
//! beside the loop and never hold it up; extenders do, as they have a say in each decision. Questions to
//! `/debug` ([`debug`]) are answered between two decisions.
//!
//! Refuses: deciding anything; `gantry-scheduler-core` and the plugins do.

pub mod config;
pub mod debug;
mod effects;
mod extender;
mod metrics;
mod news;
pub mod run;
mod slots;
mod state;
mod trim;
mod watching;
