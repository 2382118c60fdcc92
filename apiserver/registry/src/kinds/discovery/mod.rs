//! `discovery.k8s.io`.

pub mod endpoint_slice;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "EndpointSlice" => erase(endpoint_slice::EndpointSlices),
        _ => return None,
    })
}
