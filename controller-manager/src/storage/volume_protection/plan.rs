//! Whether a volume's finalizer is missing, or no longer needed.

use crate::storage::claim_protection::plan::{Due, due, with_finalizer};
use k8s_openapi::api::core::v1::PersistentVolume;

pub const FINALIZER: &str = "kubernetes.io/pv-protection";

/// The volume with its finalizer set right; `None` where it is, or where it holds a bound volume.
pub fn protect(volume: &PersistentVolume) -> Option<PersistentVolume> {
    let bound = volume.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Bound"));
    let held = match due(&volume.metadata, FINALIZER) {
        Due::Add => true,
        Due::RemoveWhenUnused if !bound => false,
        Due::RemoveWhenUnused | Due::Nothing => return None,
    };
    let mut next = volume.clone();
    with_finalizer(&mut next.metadata, FINALIZER, held);
    Some(next)
}
