//! Pure service proxying: Services and EndpointSlices become a service map, the map becomes rules, and two
//! sets of rules become the smallest change between them.
//!
//! Owns: which endpoints serve which port and from where ([`services`]), the nftables form ([`rules`]) and
//! incremental transactions ([`diff`]). No IO, no clock. Refuses: reading the kernel's state; the shell starts
//! from an empty table of its own and knows what it put there.

pub mod diff;
pub mod rules;
pub mod services;
#[cfg(test)]
mod tests;

pub use diff::{Staleness, diff, staleness};
pub use rules::{Options, Ruleset, ruleset};
pub use services::{Endpoint, Protocol, ServiceMap, ServicePort, service_map};
