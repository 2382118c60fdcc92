//! `scheduling.k8s.io`.

pub mod priority_class;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "PriorityClass" => erase(priority_class::PriorityClasses),
        _ => return None,
    })
}
