//! `node.k8s.io`.

pub mod runtime_class;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "RuntimeClass" => erase(runtime_class::RuntimeClasses),
        _ => return None,
    })
}
