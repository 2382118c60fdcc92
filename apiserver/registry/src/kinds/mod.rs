//! The kinds, a file each, by group.
//!
//! Owns what is particular to a kind: functional defaults, what an update may not touch, validation, warnings,
//! selectable fields, reset fields, deletion and the Table row. All of it is pure; the generic pipeline calls
//! it through [`crate::strategy::AnyStrategy`]. A new kind is a row in `gantry_types::scheme`, a file
//! in its group's folder and an arm in that folder's `strategy`.

pub mod apiregistration;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod go_types;
pub mod networking;
pub mod node;
pub mod policy;
pub mod prelude;
pub mod print;
pub mod rbac;
pub mod scheduling;
pub mod storage;
pub mod template;
pub mod validate;

use crate::strategy::{AnyStrategy, erase};
use gantry_types::scheme::Kind;
use std::sync::Arc;
use std::time::Duration;

/// The strategy of a kind; `None` for kinds that are never stored. Events live an hour.
pub fn strategy_for(kind: &Kind) -> Option<Arc<dyn AnyStrategy>> {
    strategy_with(kind, events::DEFAULT_TTL)
}

/// As [`strategy_for`], with the life of events (`--event-ttl`) chosen.
pub fn strategy_with(kind: &Kind, event_ttl: Duration) -> Option<Arc<dyn AnyStrategy>> {
    match kind.group {
        "" if kind.kind == "Event" => Some(erase(events::Events::core(event_ttl))),
        "events.k8s.io" => Some(erase(events::Events::events_k8s_io(event_ttl))),
        "" => core::strategy(kind.kind),
        "apiregistration.k8s.io" => apiregistration::strategy(kind.kind),
        "apps" => apps::strategy(kind.kind),
        "autoscaling" => autoscaling::strategy(kind.kind),
        "batch" => batch::strategy(kind.kind),
        "certificates.k8s.io" => certificates::strategy(kind.kind),
        "networking.k8s.io" => networking::strategy(kind.kind),
        "policy" => policy::strategy(kind.kind),
        "rbac.authorization.k8s.io" => rbac::strategy(kind.kind),
        "storage.k8s.io" => storage::strategy(kind.kind),
        "scheduling.k8s.io" => scheduling::strategy(kind.kind),
        "coordination.k8s.io" => coordination::strategy(kind.kind),
        "node.k8s.io" => node::strategy(kind.kind),
        "discovery.k8s.io" => discovery::strategy(kind.kind),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
