//! What the volume plugins ask of claims and volumes.

use gantry_scheduler_core::facts::{Volume, claim_class};
use gantry_scheduler_core::volume::ClaimUse;
use gantry_scheduler_core::{Facts, PodInfo, Shape};
use gantry_types::quantity::Quantity;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use std::sync::Arc;

/// `persistentvolumeclaim "x" not found`, as the API says it.
pub(crate) fn claim_missing(name: &str) -> String {
    format!("persistentvolumeclaim {name:?} not found")
}

pub(crate) fn key(pod: &Shape, claim: &str) -> String {
    format!("{}/{claim}", pod.namespace)
}

/// Whether an ephemeral volume's claim is the pod's own.
///
/// # Errors
/// In upstream's words where it is not.
pub(crate) fn owned(pod: &PodInfo, used: &ClaimUse, claim: &PersistentVolumeClaim) -> Result<(), String> {
    if used.owner.is_none() {
        return Ok(());
    }
    let owner = claim.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    if owner.is_some_and(|o| *o.uid == *pod.uid) {
        return Ok(());
    }
    Err(format!(
        "PVC {}/{} was not created for pod {} (pod is not owner)",
        pod.namespace,
        used.name,
        pod.key()
    ))
}

pub(crate) fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Quantity::try_from(requests.get("storage")?).ok()
}

fn capacity(volume: &PersistentVolume) -> Option<Quantity> {
    Quantity::try_from(volume.spec.as_ref()?.capacity.as_ref()?.get("storage")?).ok()
}

/// Whether a claim waits for its first consumer.
pub(crate) fn is_delayed(claim: &PersistentVolumeClaim, facts: &Facts) -> bool {
    let class = facts.classes.get(claim_class(claim));
    class.is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// Whether a volume is set aside for a claim; `None`: for nobody.
fn set_aside(
    volume: &Volume,
    name: &str,
    claim: &PersistentVolumeClaim,
    key: &str,
    facts: &Facts,
) -> Option<bool> {
    if let Some(given) = facts.given(name) {
        return Some(given == key);
    }
    let to = volume.object.spec.as_ref()?.claim_ref.as_ref()?;
    let uid = to.uid.as_deref().unwrap_or_default();
    Some(
        to.name == claim.metadata.name
            && to.namespace == claim.metadata.namespace
            && (uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref()),
    )
}

/// The smallest volume that does for a claim on a node, leaving out those in `taken`.
pub(crate) fn matching<'f>(
    claim: &Arc<PersistentVolumeClaim>,
    key: &str,
    node: &gantry_scheduler_core::NodeInfo,
    taken: &[&str],
    facts: &'f Facts,
) -> Option<&'f str> {
    let spec = claim.spec.as_ref()?;
    let wanted = requested(claim);
    let selector = spec.selector.as_ref();
    let selector = selector.map(|s| gantry_machinery::selector::Selector::from_struct(Some(s)));
    let mut smallest: Option<(Quantity, &str)> = None;
    for (name, volume) in facts.volumes.iter().filter(|(n, _)| !taken.contains(&n.as_str())) {
        let aside = set_aside(volume, name, claim, key, facts);
        let Some(has) = volume.object.spec.as_ref().filter(|_| aside != Some(false)) else { continue };
        let Some(size) = capacity(&volume.object) else { continue };
        let mode = |m: &Option<String>| m.as_deref().unwrap_or("Filesystem").to_owned();
        let attributes = |a: &Option<String>| a.as_deref().unwrap_or_default().to_owned();
        if wanted.as_ref().is_some_and(|w| size < *w)
            || mode(&spec.volume_mode) != mode(&has.volume_mode)
            || attributes(&spec.volume_attributes_class_name) != attributes(&has.volume_attributes_class_name)
            || volume.object.metadata.deletion_timestamp.is_some()
        {
            continue;
        }
        let reaches = volume.reaches(&node.labels);
        if aside == Some(true) {
            return reaches.then_some(name);
        }
        let phase = volume.object.status.as_ref().and_then(|s| s.phase.as_deref());
        let labels = &volume.object.metadata.labels;
        let selected = match &selector {
            None => true,
            Some(Ok(s)) => s.matches(labels),
            Some(Err(_)) => false,
        };
        let modes = has.access_modes.as_deref().unwrap_or_default();
        let accessible = spec.access_modes.iter().flatten().all(|m| modes.contains(m));
        if phase == Some("Available")
            && selected
            && volume.class() == claim_class(claim)
            && reaches
            && accessible
            && smallest.as_ref().is_none_or(|(least, _)| size < *least)
        {
            smallest = Some((size, name));
        }
    }
    smallest.map(|(_, name)| name)
}

/// Whether an event's claim is one of the pod's.
pub(crate) fn uses(pod: &PodInfo, claim: &PersistentVolumeClaim, ephemeral: bool) -> bool {
    claim.metadata.namespace.as_deref() == Some(&*pod.namespace)
        && pod
            .volumes
            .claims
            .iter()
            .any(|c| (ephemeral || c.owner.is_none()) && Some(&*c.name) == claim.metadata.name.as_deref())
}
