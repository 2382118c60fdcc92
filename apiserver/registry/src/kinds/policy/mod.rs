//! `policy`.

pub mod pod_disruption_budget;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "PodDisruptionBudget" => erase(pod_disruption_budget::PodDisruptionBudgets),
        _ => return None,
    })
}
