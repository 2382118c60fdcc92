//! When pods become available.

use gantry_reconcile::conditions;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;

/// How long until the next ready pod has been so for `min_ready` seconds; `None` where none is waiting.
pub(super) fn next_look(pods: &[Arc<Pod>], min_ready: i32, now: Timestamp) -> Option<Duration> {
    pods.iter()
        .filter(|p| !conditions::is_available(p, min_ready, now))
        .filter_map(|p| conditions::ready_since(p))
        .map(|t| (t.as_second() + i64::from(min_ready) - now.as_second()).max(1))
        .min()
        .map(|s| Duration::from_secs(s.unsigned_abs()))
}
