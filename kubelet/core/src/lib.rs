//! Pure node decisions: what to start, stop, probe, restart, report and refuse.
//!
//! Owns: the observed pod ([`observed`]), the step from pod and observation to actions ([`plan`]), restart
//! rules and back-off ([`restart`], [`backoff`]), probe state machines ([`probe`]), the reported status
//! ([`status`], [`conditions`]), admission ([`admit`]), resources and QoS ([`resources`]), container environment
//! ([`env`], [`fields`]), DNS and hosts files ([`dns`], [`hosts`]), the node's own status ([`node`]) and its certificates
//! ([`certificates`]).
//!
//! Tasks and channels: none. Refuses: IO, clocks and randomness; the time is an argument.

pub mod admit;
pub mod backoff;
pub mod certificates;
pub mod conditions;
pub mod dns;
pub mod env;
pub mod fields;
pub mod hosts;
pub mod image;
pub mod node;
pub mod observed;
pub mod plan;
pub mod pods;
pub mod probe;
pub mod quantity;
pub mod resources;
pub mod restart;
pub mod status;
