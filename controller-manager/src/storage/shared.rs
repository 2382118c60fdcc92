//! What the storage controllers share: how classes are named, and which pods use which claims.

use crate::context::Context;
use gantry_client::Informer;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::api::ObjectMeta;

/// The index of pods by the claims they use, `<namespace>/<name>`.
pub const BY_CLAIM: &str = "claim";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The class a claim asks for, by either of its names; `None` where it leaves the choice to the cluster.
pub fn requested_class(claim: &PersistentVolumeClaim) -> Option<&str> {
    let field = claim.spec.as_ref().and_then(|s| s.storage_class_name.as_deref());
    annotation(&claim.metadata, CLASS_ANNOTATION).or(field)
}

/// The class a volume belongs to; empty where it belongs to none.
pub fn volume_class(volume: &PersistentVolume) -> &str {
    let field = volume.spec.as_ref().and_then(|s| s.storage_class_name.as_deref());
    annotation(&volume.metadata, CLASS_ANNOTATION).or(field).unwrap_or_default()
}

/// The name of the claim that a generic ephemeral volume of a pod comes with.
pub fn ephemeral_claim(pod: &Pod, volume: &Volume) -> String {
    format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)
}

/// The names of the claims a pod uses, its own and those of its ephemeral volumes.
pub fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes
        .filter_map(|v| match (&v.persistent_volume_claim, &v.ephemeral) {
            (Some(claim), _) => Some(claim.claim_name.clone()),
            (None, Some(_)) => Some(ephemeral_claim(pod, v)),
            (None, None) => None,
        })
        .collect()
}

/// Whether this very pod controls the claim.
pub fn belongs_to(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    claim.metadata.namespace == pod.metadata.namespace
        && gantry_reconcile::ownership::controller_of(&claim.metadata)
            .is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
}

/// The shared pod informer with its index by claims.
pub fn pods_by_claim(context: &Context) -> Informer<Pod> {
    let pods = context.pods();
    pods.index(BY_CLAIM, |pod| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        claims_of(pod).iter().map(|claim| format!("{namespace}/{claim}")).collect()
    });
    pods
}
