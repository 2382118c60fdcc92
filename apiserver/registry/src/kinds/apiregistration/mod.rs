//! `apiregistration.k8s.io`.

pub mod api_service;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "APIService" => erase(api_service::ApiServices),
        _ => return None,
    })
}
