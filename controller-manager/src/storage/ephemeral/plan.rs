//! The claims that a pod's generic ephemeral volumes come with.

use crate::storage::shared::{belongs_to, ephemeral_claim};
use gantry_reconcile::ownership::controller_ref;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use kube::api::ObjectMeta;

/// The claim to make for a volume; `None` where it is there, or the volume needs none.
///
/// # Errors
/// In upstream's words, where a claim of the name is somebody else's.
pub fn missing(
    pod: &Pod,
    volume: &Volume,
    present: Option<&PersistentVolumeClaim>,
) -> Result<Option<PersistentVolumeClaim>, String> {
    let Some(source) = &volume.ephemeral else { return Ok(None) };
    let name = ephemeral_claim(pod, volume);
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    if let Some(claim) = present {
        let own = pod.metadata.name.as_deref().unwrap_or_default();
        return if belongs_to(claim, pod) {
            Ok(None)
        } else {
            Err(format!(
                "PVC {namespace}/{name} was not created for pod {namespace}/{own} (pod is not owner)"
            ))
        };
    }
    let template = source.volume_claim_template.clone().unwrap_or_default();
    let given = template.metadata.unwrap_or_default();
    Ok(Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            owner_references: Some(vec![controller_ref(pod)]),
            annotations: given.annotations,
            labels: given.labels,
            ..ObjectMeta::default()
        },
        spec: Some(template.spec),
        status: None,
    }))
}
