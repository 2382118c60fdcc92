//! What to do next about a claim or a volume: one write at a time, so that each is made from what the one
//! before it left behind.

use super::heritage::{self, MIGRATED_TO, PROVISIONED_BY, PROVISIONER};
use super::matching::{complaint, find, modes_differ, names_claim, storage};
use crate::storage::shared::{annotation, requested_class};
use gantry_client::EventType;
use gantry_client::events::reference;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ObjectMeta;
use std::sync::Arc;

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const SIZE_BEFORE_RESIZE: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";

/// An object as it is to be, in itself or in its status.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    Volume(Box<PersistentVolume>),
    VolumeStatus(Box<PersistentVolume>),
    Claim(Box<PersistentVolumeClaim>),
    ClaimStatus(Box<PersistentVolumeClaim>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Claim,
    Volume,
}

/// An event to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    pub about: About,
    pub kind: EventType,
    pub reason: &'static str,
    pub message: String,
}

/// The next step; where it writes, look again after it. What it tells is told once the write is made.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub write: Option<Write>,
    pub tell: Vec<Telling>,
    /// Whether the volume's claim is to be looked at.
    pub claim_next: bool,
}

impl Plan {
    fn telling(about: About, kind: EventType, reason: &'static str, message: impl Into<String>) -> Self {
        let tell = vec![Telling { about, kind, reason, message: message.into() }];
        Self { tell, ..Self::default() }
    }

    /// First the write, if there is one to make; the event only when there is none any more.
    fn after(self, write: Option<Write>) -> Self {
        if write.is_some() { Self { write, ..Self::default() } } else { self }
    }
}

impl From<Option<Write>> for Plan {
    fn from(write: Option<Write>) -> Self {
        Self { write, ..Self::default() }
    }
}

/// A claim and what decides about it.
pub struct ClaimView<'a> {
    pub claim: &'a PersistentVolumeClaim,
    /// The volumes of its class and those reserved for it.
    pub candidates: &'a [Arc<PersistentVolume>],
    /// The volume it names.
    pub named: Option<&'a PersistentVolume>,
    /// The class it names.
    pub class: Option<&'a StorageClass>,
    /// The name of the class for claims that name none.
    pub default_class: Option<&'a str>,
    /// Pods that use it and have no node yet.
    pub waiting: &'a [String],
    pub provisioning: bool,
}

fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default()
}

fn phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// Whether claims of the class wait for a pod's node before they are bound.
pub fn is_delayed(class: Option<&StorageClass>) -> bool {
    class.is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// Whether the claim has been bound once.
pub fn is_settled(claim: &PersistentVolumeClaim) -> bool {
    annotation(&claim.metadata, BIND_COMPLETED).is_some()
}

/// What to do next about a claim.
pub fn claim(view: &ClaimView<'_>) -> Plan {
    if let Some(marked) = heritage::claim(view.claim) {
        Some(Write::Claim(Box::new(marked))).into()
    } else if is_settled(view.claim) {
        settled(view)
    } else if volume_name(view.claim).is_empty() {
        open(view)
    } else {
        asking(view)
    }
}

/// A claim that was bound before.
fn settled(view: &ClaimView<'_>) -> Plan {
    let claim = view.claim;
    let lost = |reason, message: &str| {
        let told = Plan::telling(About::Claim, EventType::Warning, reason, message);
        match claim_status(claim, "Lost", None) {
            // Told when it changes, not whenever somebody looks.
            Some(write) if claim_phase(claim) != "Lost" => Plan { write: Some(write), ..told },
            _ => Plan::default(),
        }
    };
    if volume_name(claim).is_empty() {
        let why = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lost("ClaimLost", why);
    }
    let Some(volume) = view.named else {
        let why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return lost("ClaimLost", why);
    };
    let holder = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
    match holder {
        Some(r) if r.uid != claim.metadata.uid => {
            let why = "Two claims are bound to the same volume, this one is bound incorrectly";
            lost("ClaimMisbound", why)
        }
        _ => bind(volume, claim).into(),
    }
}

/// A claim that takes any volume that fits.
fn open(view: &ClaimView<'_>) -> Plan {
    let (claim, delayed) = (view.claim, is_delayed(view.class));
    if let Some(volume) = find(claim, view.candidates, delayed) {
        return bind(volume, claim).into();
    }
    if let (None, Some(class)) = (requested_class(claim), view.default_class) {
        let mut with = claim.clone();
        with.spec.get_or_insert_default().storage_class_name = Some(class.to_owned());
        return Some(Write::Claim(Box::new(with))).into();
    }
    if delayed && annotation(&claim.metadata, SELECTED_NODE).is_none() {
        let (reason, message) = match view.waiting {
            [] => {
                ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned())
            }
            [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
            many => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", many.join(","))),
        };
        let told = Plan::telling(About::Claim, EventType::Normal, reason, message);
        return told.after(claim_status(claim, "Pending", None));
    }
    let class = requested_class(claim).unwrap_or_default();
    if !class.is_empty() {
        return if view.provisioning { provision(view, class) } else { Plan::default() };
    }
    let why = "no persistent volumes available for this claim and no storage class is set";
    let told = Plan::telling(About::Claim, EventType::Normal, "FailedBinding", why);
    told.after(claim_status(claim, "Pending", None))
}

/// Marks the claim for the provisioner of its class.
fn provision(view: &ClaimView<'_>, class: &str) -> Plan {
    let failed = |why: String| Plan::telling(About::Claim, EventType::Warning, "ProvisioningFailed", why);
    let Some(found) = view.class else {
        return failed(format!("storageclass.storage.k8s.io {class:?} not found"));
    };
    let given = found.provisioner.as_str();
    let provisioner = heritage::driver_of(given).unwrap_or(given);
    if heritage::is_within(provisioner) {
        return failed(format!("no volume plugin matched name: {provisioner}"));
    }
    let marked = annotation(&view.claim.metadata, PROVISIONER[0]) == Some(provisioner);
    let mark = (!marked).then(|| {
        let mut claim = view.claim.clone();
        let annotations = claim.metadata.annotations.get_or_insert_default();
        annotations.extend(PROVISIONER.map(|key| (key.to_owned(), provisioner.to_owned())));
        Write::Claim(Box::new(claim))
    });
    let why = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    Plan::telling(About::Claim, EventType::Normal, "ExternalProvisioning", why).after(mark)
}

/// A claim that asks for a volume by name.
fn asking(view: &ClaimView<'_>) -> Plan {
    let claim = view.claim;
    let Some(volume) = view.named else { return claim_status(claim, "Pending", None).into() };
    if names_claim(volume, claim) {
        return bind(volume, claim).into();
    }
    if volume.spec.as_ref().is_none_or(|s| s.claim_ref.is_none()) {
        let Some(why) = complaint(volume, claim) else { return bind(volume, claim).into() };
        let why = format!("Cannot bind to requested volume {:?}: {why}", name(&volume.metadata));
        let told = Plan::telling(About::Claim, EventType::Warning, "VolumeMismatch", why);
        return told.after(claim_status(claim, "Pending", None));
    }
    let why = format!("volume {:?} already bound to a different claim.", name(&volume.metadata));
    let told = Plan::telling(About::Claim, EventType::Warning, "FailedBinding", why);
    if annotation(&claim.metadata, BOUND_BY_CONTROLLER).is_some() {
        return told;
    }
    told.after(claim_status(claim, "Pending", None))
}

/// The next step of binding: the volume, its phase, the claim, its status.
fn bind(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<Write> {
    let held = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
    let exact = names_claim(volume, claim) && held.is_some_and(|r| r.uid == claim.metadata.uid);
    if !exact {
        let mut bound = volume.clone();
        bound.spec.get_or_insert_default().claim_ref = Some(reference(claim));
        if !names_claim(volume, claim) {
            mark(&mut bound.metadata, BOUND_BY_CONTROLLER);
        }
        return Some(Write::Volume(Box::new(bound)));
    }
    if let Some(write) = volume_phase(volume, "Bound", "") {
        return Some(write);
    }
    let other = volume_name(claim) != name(&volume.metadata);
    if other || !is_settled(claim) {
        let mut bound = claim.clone();
        if other {
            bound.spec.get_or_insert_default().volume_name.clone_from(&volume.metadata.name);
            mark(&mut bound.metadata, BOUND_BY_CONTROLLER);
        }
        mark(&mut bound.metadata, BIND_COMPLETED);
        return Some(Write::Claim(Box::new(bound)));
    }
    claim_status(claim, "Bound", Some(volume))
}

fn mark(meta: &mut ObjectMeta, key: &str) {
    let annotations = meta.annotations.get_or_insert_default();
    annotations.entry(key.to_owned()).or_insert_with(|| "yes".to_owned());
}

fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// The claim in a phase, showing what its volume is like; `None` where it is so already.
fn claim_status(
    claim: &PersistentVolumeClaim,
    phase: &str,
    volume: Option<&PersistentVolume>,
) -> Option<Write> {
    let old = claim.status.clone().unwrap_or_default();
    let mut new = old.clone();
    let changes = claim_phase(claim) != phase;
    if changes {
        new.phase = Some(phase.to_owned());
    }
    match volume {
        None => {
            new.access_modes = None;
            new.capacity = None;
            new.current_volume_attributes_class_name = None;
        }
        Some(volume) => {
            let spec = volume.spec.clone().unwrap_or_default();
            new.access_modes = spec.access_modes;
            // Only while it becomes bound: later a file system may lag behind its device on purpose.
            if changes {
                if let Some(before) = annotation(&volume.metadata, SIZE_BEFORE_RESIZE) {
                    let amount = k8s_openapi::apimachinery::pkg::api::resource::Quantity(before.to_owned());
                    new.capacity.get_or_insert_default().insert("storage".to_owned(), amount);
                } else if storage(old.capacity.as_ref()) != storage(spec.capacity.as_ref()) {
                    new.capacity = spec.capacity;
                }
                if claim_phase(claim) == "Pending" && phase == "Bound" {
                    new.current_volume_attributes_class_name = spec.volume_attributes_class_name;
                }
            }
        }
    }
    (new != old)
        .then(|| Write::ClaimStatus(Box::new(PersistentVolumeClaim { status: Some(new), ..claim.clone() })))
}

/// The volume in a phase; `None` where it is in it already.
fn volume_phase(volume: &PersistentVolume, to: &str, message: &str) -> Option<Write> {
    if phase(volume) == to {
        return None;
    }
    let mut next = volume.clone();
    let status = next.status.get_or_insert_default();
    status.phase = Some(to.to_owned());
    status.message = (!message.is_empty()).then(|| message.to_owned());
    Some(Write::VolumeStatus(Box::new(next)))
}

/// What to do next about a volume. `claim` is the one it names by uid, where that is still there.
pub fn volume(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Plan {
    if let Some(marked) = heritage::volume(volume) {
        return Some(Write::Volume(Box::new(marked))).into();
    }
    let held = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
    // Free, or reserved for a claim that has not taken it yet.
    if held.is_none_or(|r| r.uid.as_ref().is_none_or(String::is_empty)) {
        return volume_phase(volume, "Available", "").into();
    }
    let Some(claim) = claim else { return release(volume) };
    let bound = volume_name(claim);
    if bound.is_empty() {
        if !modes_differ(claim, volume) {
            return Plan { claim_next: true, ..Plan::default() };
        }
        let of_volume = format!(
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim {:?} due to incompatible volumeMode.",
            name(&claim.metadata)
        );
        let of_claim = format!(
            "Cannot bind PersistentVolume {:?} to requested PersistentVolumeClaim due to incompatible volumeMode.",
            name(&volume.metadata)
        );
        let mut plan = Plan::telling(About::Volume, EventType::Warning, "VolumeMismatch", of_volume);
        plan.tell.extend(Plan::telling(About::Claim, EventType::Warning, "VolumeMismatch", of_claim).tell);
        return plan;
    }
    if bound == name(&volume.metadata) {
        return volume_phase(volume, "Bound", "").into();
    }
    let made = annotation(&volume.metadata, PROVISIONED_BY).is_some();
    if made && policy(volume) == "Delete" {
        return release(volume);
    }
    Some(Write::Volume(Box::new(unbound(volume)))).into()
}

fn policy(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref()).unwrap_or_default()
}

/// The volume without its claim, or still reserved for it where a user has reserved it.
fn unbound(volume: &PersistentVolume) -> PersistentVolume {
    let mut free = volume.clone();
    let by_us = annotation(&free.metadata, BOUND_BY_CONTROLLER).is_some();
    let spec = free.spec.get_or_insert_default();
    if by_us {
        spec.claim_ref = None;
        let left = free.metadata.annotations.as_mut().is_some_and(|a| {
            a.remove(BOUND_BY_CONTROLLER);
            !a.is_empty()
        });
        if !left {
            free.metadata.annotations = None;
        }
    } else if let Some(r) = &mut spec.claim_ref {
        r.uid = None;
    }
    free
}

/// The claim has gone: the volume says so, then its reclaim policy counts.
fn release(volume: &PersistentVolume) -> Plan {
    if !matches!(phase(volume), "Released" | "Failed") {
        return volume_phase(volume, "Released", "").into();
    }
    let fail = |reason, why: String| match volume_phase(volume, "Failed", &why) {
        None => Plan::default(),
        write => Plan { write, ..Plan::telling(About::Volume, EventType::Warning, reason, why) },
    };
    if annotation(&volume.metadata, MIGRATED_TO).is_some_and(|to| !to.is_empty()) {
        return Plan::default();
    }
    match policy(volume) {
        "Retain" => Plan::default(),
        "Delete" => match no_deleter(volume) {
            None => Plan::default(),
            Some(why) => fail("VolumeFailedDelete", why),
        },
        "Recycle" => fail("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned()),
        _ => fail(
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy".to_owned(),
        ),
    }
}

/// Why the storage cannot be deleted; `None` where that is the work of whoever made it.
fn no_deleter(volume: &PersistentVolume) -> Option<String> {
    let maker = annotation(&volume.metadata, PROVISIONED_BY).unwrap_or_default();
    if heritage::is_within(maker) {
        return Some(format!("no volume plugin matched name: {maker}"));
    }
    let spec = volume.spec.as_ref();
    if !maker.is_empty() || spec.is_some_and(|s| s.csi.is_some()) {
        return None;
    }
    // This process deletes nothing on the machine it happens to run on.
    if let Some(path) = spec.and_then(|s| s.host_path.as_ref()).filter(|p| !p.path.starts_with("/tmp/")) {
        let path = &path.path;
        return Some(format!("host_path deleter only supports /tmp/.+ but received provided {path}"));
    }
    let name = name(&volume.metadata);
    Some(format!(
        "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
    ))
}
