//! `rbac.authorization.k8s.io`.

pub mod binding;
pub mod role;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "Role" => erase(role::Roles),
        "ClusterRole" => erase(role::ClusterRoles),
        "RoleBinding" => erase(binding::RoleBindings),
        "ClusterRoleBinding" => erase(binding::ClusterRoleBindings),
        _ => return None,
    })
}
