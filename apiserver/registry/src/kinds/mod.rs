//! The kinds, a file each, by group.
//!
//! Owns what is particular to a kind: functional defaults, what an update may not touch, validation, warnings,
//! selectable fields, reset fields, deletion and the Table row. All of it is pure; the generic pipeline calls
//! it through [`crate::strategy::AnyStrategy`]. A new kind is a row in `gantry_types::scheme` and an arm in
//! [`strategy_for`].

pub mod apps;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod go_types;
pub mod prelude;
pub mod print;
pub mod rbac;
pub mod scheduling;
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
    Some(match (kind.group, kind.kind) {
        ("", "Namespace") => erase(core::namespace::Namespaces),
        ("", "Service") => erase(core::service::Services),
        ("", "Node") => erase(core::node::Nodes),
        ("", "Event") => erase(events::Events::core(event_ttl)),
        ("events.k8s.io", "Event") => erase(events::Events::events_k8s_io(event_ttl)),
        ("apps", "Deployment") => erase(apps::deployment::Deployments),
        ("apps", "ReplicaSet") => erase(apps::replica_set::ReplicaSets),
        ("discovery.k8s.io", "EndpointSlice") => erase(discovery::endpoint_slice::EndpointSlices),
        ("", "Pod") => erase(core::pod::Pods),
        ("", "ConfigMap") => erase(core::config_map::ConfigMaps),
        ("", "Secret") => erase(core::secret::Secrets),
        ("", "ServiceAccount") => erase(core::service_account::ServiceAccounts),
        ("coordination.k8s.io", "Lease") => erase(coordination::lease::Leases),
        ("scheduling.k8s.io", "PriorityClass") => erase(scheduling::priority_class::PriorityClasses),
        ("rbac.authorization.k8s.io", "Role") => erase(rbac::role::Roles),
        ("rbac.authorization.k8s.io", "ClusterRole") => erase(rbac::role::ClusterRoles),
        ("rbac.authorization.k8s.io", "RoleBinding") => erase(rbac::binding::RoleBindings),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => erase(rbac::binding::ClusterRoleBindings),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
