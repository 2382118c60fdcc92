//! `coordination.k8s.io`.

pub mod lease;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "Lease" => erase(lease::Leases),
        _ => return None,
    })
}
