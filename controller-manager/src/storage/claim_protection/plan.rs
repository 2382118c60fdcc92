//! Whether a claim's finalizer is missing, or no longer needed.

use crate::storage::shared::{belongs_to, ephemeral_claim};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ObjectMeta;

pub const FINALIZER: &str = "kubernetes.io/pvc-protection";

/// What an object's finalizer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// It lives without one.
    Add,
    /// It is going, held by it: remove it once nothing uses the object.
    RemoveWhenUnused,
}

pub fn due(meta: &ObjectMeta, finalizer: &str) -> Due {
    let held = meta.finalizers.iter().flatten().any(|f| f == finalizer);
    match (meta.deletion_timestamp.is_some(), held) {
        (true, true) => Due::RemoveWhenUnused,
        (false, false) => Due::Add,
        _ => Due::Nothing,
    }
}

/// The same metadata with the finalizer, or without it.
pub fn with_finalizer(meta: &mut ObjectMeta, finalizer: &str, held: bool) {
    let all = meta.finalizers.get_or_insert_default();
    all.retain(|f| f != finalizer);
    if held {
        all.push(finalizer.to_owned());
    }
}

/// The kubelet has taken the pod's volumes down, or somebody has vouched for it.
fn is_shut_down(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0)
}

/// Whether a pod holds a claim that is going: a pod without a node never will, since the kubelet starts no pod
/// with such a claim.
pub fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let Some(spec) = pod.spec.as_ref().filter(|s| s.node_name.as_ref().is_some_and(|n| !n.is_empty())) else {
        return false;
    };
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    spec.volumes.iter().flatten().any(|volume| {
        volume.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == name)
            || (volume.ephemeral.is_some()
                && !is_shut_down(pod)
                && ephemeral_claim(pod, volume) == name
                && belongs_to(claim, pod))
    })
}
