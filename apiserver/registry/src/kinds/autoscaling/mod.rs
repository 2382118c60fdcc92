//! `autoscaling`.

pub mod horizontal_pod_autoscaler;
mod metrics;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "HorizontalPodAutoscaler" => erase(horizontal_pod_autoscaler::HorizontalPodAutoscalers),
        _ => return None,
    })
}
