//! Which volume fits a claim, and which fits best.

use crate::storage::shared::{requested_class, volume_class};
use gantry_reconcile::selector;
use gantry_types::quantity::Quantity;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The storage in a list of amounts; nothing where it is not among them.
pub fn storage(amounts: Option<&BTreeMap<String, Amount>>) -> Quantity {
    let amount = amounts.and_then(|a| a.get("storage"));
    amount.and_then(|q| Quantity::try_from(q).ok()).unwrap_or_default()
}

fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    let spec = claim.spec.as_ref();
    storage(spec.and_then(|s| s.resources.as_ref()?.requests.as_ref()))
}

fn size(spec: &PersistentVolumeSpec) -> Quantity {
    storage(spec.capacity.as_ref())
}

fn modes(modes: Option<&Vec<String>>) -> BTreeSet<&str> {
    modes.into_iter().flatten().map(String::as_str).collect()
}

fn has_modes(spec: &PersistentVolumeSpec, claim: &PersistentVolumeClaim) -> bool {
    let wanted = claim.spec.as_ref().and_then(|s| s.access_modes.as_ref());
    modes(wanted).is_subset(&modes(spec.access_modes.as_ref()))
}

/// Whether one is a block device and the other a file system.
pub fn modes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let wanted = claim.spec.as_ref().and_then(|s| s.volume_mode.as_deref());
    let found = volume.spec.as_ref().and_then(|s| s.volume_mode.as_deref());
    wanted.unwrap_or("Filesystem") != found.unwrap_or("Filesystem")
}

fn attributes_differ(claim: &PersistentVolumeClaim, spec: &PersistentVolumeSpec) -> bool {
    let wanted = claim.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref());
    wanted.unwrap_or_default() != spec.volume_attributes_class_name.as_deref().unwrap_or_default()
}

/// Whether the volume names this claim: by name alone while it is merely reserved, else by uid too.
pub fn names_claim(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) else { return false };
    let meta = &claim.metadata;
    reference.name == meta.name
        && reference.namespace == meta.namespace
        && reference.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == meta.uid.as_ref())
}

/// What keeps a volume the claim asks for by name from being bound to it, in upstream's words.
pub fn complaint(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    let spec = volume.spec.clone().unwrap_or_default();
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    if volume.metadata.deletion_timestamp.is_some() {
        return Some(format!("the volume is marked for deletion {name:?}"));
    }
    let why = if size(&spec).value() < requested(claim).value() {
        "requested PV is too small"
    } else if volume_class(volume) != requested_class(claim).unwrap_or_default() {
        "storageClassName does not match"
    } else if attributes_differ(claim, &spec) {
        "volumeAttributesClassName does not match"
    } else if modes_differ(claim, volume) {
        "incompatible volumeMode"
    } else if !has_modes(&spec, claim) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// The best of the volumes for the claim: of those with the fewest modes beyond the ones asked for, the one
/// reserved for it, else the smallest. With `delayed` only reserved ones count: the scheduler chooses.
pub fn find<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &'a [Arc<PersistentVolume>],
    delayed: bool,
) -> Option<&'a Arc<PersistentVolume>> {
    let wanted = requested(claim);
    let class = requested_class(claim).unwrap_or_default();
    let labels = claim.spec.as_ref().and_then(|s| s.selector.as_ref());
    let fits = |volume: &&Arc<PersistentVolume>| {
        let Some(spec) = &volume.spec else { return false };
        let sound = size(spec) >= wanted
            && has_modes(spec, claim)
            && !modes_differ(claim, volume)
            && !attributes_differ(claim, spec)
            && volume.metadata.deletion_timestamp.is_none();
        if !sound || names_claim(volume, claim) {
            return sound;
        }
        let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
        spec.claim_ref.is_none()
            && !delayed
            && phase == Some("Available")
            && labels.is_none_or(|l| selector::matches(Some(l), volume.metadata.labels.as_ref()))
            && volume_class(volume) == class
    };
    volumes.iter().filter(fits).min_by_key(|volume| {
        let spec = volume.spec.as_ref();
        let width = modes(spec.and_then(|s| s.access_modes.as_ref())).len();
        let size = spec.map(size).unwrap_or_default();
        (width, !names_claim(volume, claim), size, lot(claim, volume))
    })
}

/// Draws lots among equals, each claim its own: claims that come together do not all reach for the same one.
fn lot(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&claim.metadata.uid, &volume.metadata.name).hash(&mut hasher);
    hasher.finish()
}
