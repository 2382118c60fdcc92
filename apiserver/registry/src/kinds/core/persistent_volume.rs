//! `v1` PersistentVolume.

use super::equal;
use super::pod_warnings::deprecated_label;
use crate::kinds::prelude::*;
use crate::kinds::validate::{affinity, meta, persistent_volume as validate};
use crate::kinds::{go_types, print};
use gantry_types::k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus,
    VolumeNodeAffinity,
};

/// A piece of storage: its source, mode and place never change, the phase is the controller's.
pub struct PersistentVolumes;

/// The class of a volume or claim, as it was named before there was a field.
pub const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const OPTIONS_ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

fn spec(pv: &PersistentVolume) -> PersistentVolumeSpec {
    pv.spec.clone().unwrap_or_default()
}

/// The source alone.
fn source(s: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    PersistentVolumeSpec {
        access_modes: None,
        capacity: None,
        claim_ref: None,
        mount_options: None,
        node_affinity: None,
        persistent_volume_reclaim_policy: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        ..s.clone()
    }
}

fn takes_mount_options(s: &PersistentVolumeSpec) -> bool {
    s.gce_persistent_disk.is_some()
        || s.aws_elastic_block_store.is_some()
        || s.glusterfs.is_some()
        || s.nfs.is_some()
        || s.rbd.is_some()
        || s.quobyte.is_some()
        || s.iscsi.is_some()
        || s.cinder.is_some()
        || s.cephfs.is_some()
        || s.azure_file.is_some()
        || s.vsphere_volume.is_some()
        || s.azure_disk.is_some()
        || s.photon_persistent_disk.is_some()
}

fn judge(pv: &PersistentVolume, old: Option<&PersistentVolume>) -> ErrorList {
    let s = spec(pv);
    let had = old.and_then(|o| o.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref());
    let lenient = had.is_some_and(affinity::has_invalid_values);
    let mut errs = meta::object_meta(&pv.metadata, false, meta::subdomain_name);
    errs.extend(validate::spec(&s, text(&pv.metadata.name), lenient, &Path::new("spec")));
    if !takes_mount_options(&s) && annotation(&pv.metadata, OPTIONS_ANNOTATION).is_some() {
        let at = Path::new("metadata").child("annotations").child(OPTIONS_ANNOTATION);
        errs.push(Error::forbidden(&at, "may not specify mount options for this volume type"));
    }
    errs
}

/// Whether a requirement is the old one, or the old one under its label's present name.
fn same_requirement(new: &NodeSelectorRequirement, old: &NodeSelectorRequirement) -> bool {
    const RENAMED: [(&str, &str); 5] = [
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    let key = new.key == old.key || RENAMED.contains(&(old.key.as_str(), new.key.as_str()));
    key && new.operator == old.operator && same(&new.values, &old.values)
}

fn same_affinity(new: Option<&VolumeNodeAffinity>, old: &VolumeNodeAffinity) -> bool {
    let Some(new) = new else { return false };
    let (Some(new), Some(old)) = (&new.required, &old.required) else {
        return new.required.is_none() && old.required.is_none();
    };
    let all = |n: &[NodeSelectorRequirement], o: &[NodeSelectorRequirement]| {
        n.len() == o.len() && n.iter().zip(o).all(|(n, o)| same_requirement(n, o))
    };
    let (new, old) = (&new.node_selector_terms, &old.node_selector_terms);
    new.len() == old.len()
        && new.iter().zip(old).all(|(n, o)| {
            all(list(&n.match_expressions), list(&o.match_expressions))
                && all(list(&n.match_fields), list(&o.match_fields))
        })
}

fn changes(new: &PersistentVolumeSpec, old: &PersistentVolumeSpec) -> ErrorList {
    let mut errs = ErrorList::new();
    let (mut now, was) = (source(new), source(old));
    // The secret that expansion needs may be added later.
    if was.csi.as_ref().is_some_and(|c| c.controller_expand_secret_ref.is_none())
        && let Some(csi) = &mut now.csi
    {
        csi.controller_expand_secret_ref = None;
    }
    if !equal::values(&now, &was) {
        let diff = go_types::diff("PersistentVolumeSource", &was, &now);
        let why = format!("spec.persistentvolumesource is immutable after creation\n{diff}");
        errs.push(Error::forbidden(&Path::new("spec").child("persistentvolumesource"), why));
    }
    errs.extend(meta::immutable(&new.volume_mode, &old.volume_mode, &Path::new("volumeMode")));
    if let Some(had) = &old.node_affinity
        && !same_affinity(new.node_affinity.as_ref(), had)
    {
        let printed = go_types::print("*VolumeNodeAffinity", &new.node_affinity);
        let why = "field is immutable, except for updating from beta label to GA";
        errs.push(invalid_raw(&Path::new("nodeAffinity"), printed, why));
    }
    if old.volume_attributes_class_name.is_some() && new.volume_attributes_class_name.is_none() {
        let at = Path::new("spec").child("volumeAttributesClassName");
        errs.push(Error::forbidden(&at, "update from non-nil value to nil is forbidden"));
    }
    errs
}

fn warnings(pv: &PersistentVolume) -> Vec<String> {
    let (s, path) = (spec(pv), Path::new("spec"));
    let mut out = Vec::new();
    for (key, instead) in [
        (CLASS_ANNOTATION, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        (OPTIONS_ANNOTATION, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ] {
        if annotation(&pv.metadata, key).is_some() {
            out.push(format!("{}: {instead}", Path::new("metadata").child("annotations").key(key)));
        }
    }
    if text(&s.persistent_volume_reclaim_policy) == "Recycle" {
        out.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
    }
    let required = s.node_affinity.as_ref().and_then(|n| n.required.as_ref());
    let at = path.child("nodeAffinity").child("required").child("nodeSelectorTerms");
    for (i, term) in required.iter().flat_map(|r| &r.node_selector_terms).enumerate() {
        for (j, r) in list(&term.match_expressions).iter().enumerate() {
            if let Some(m) = deprecated_label(&r.key) {
                let at = at.index(i).child("matchExpressions").index(j).child("key");
                out.push(format!("{at}: {} is {m}", r.key));
            }
        }
    }
    for (field, set, since) in [
        ("cephfs", s.cephfs.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
        (
            "photonPersistentDisk",
            s.photon_persistent_disk.is_some(),
            "deprecated in v1.11, non-functional in v1.16+",
        ),
        ("scaleIO", s.scale_io.is_some(), "deprecated in v1.16, non-functional in v1.22+"),
        ("storageOS", s.storageos.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", s.glusterfs.is_some(), "deprecated in v1.25, non-functional in v1.26+"),
        ("rbd", s.rbd.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if set {
            out.push(format!("{}: {since}", path.child(field)));
        }
    }
    out
}

/// Access modes in their short forms.
pub fn short_modes(modes: &[String]) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let found = SHORT.iter().filter(|(long, _)| modes.iter().any(|m| m == long));
    found.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// `Terminating` while it is being deleted, else the phase.
pub fn shown_phase(meta: &ObjectMeta, phase: Option<&str>) -> String {
    let phase = if meta.deletion_timestamp.is_some() { Some("Terminating") } else { phase };
    phase.unwrap_or_default().to_owned()
}

impl Strategy for PersistentVolumes {
    type Kind = PersistentVolume;

    fn default(&self, pv: &mut PersistentVolume) {
        default_text(&mut pv.status.get_or_insert_default().phase, "Pending");
        let s = pv.spec.get_or_insert_default();
        default_text(&mut s.persistent_volume_reclaim_policy, "Retain");
        s.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
        validate::default_spec(s);
    }

    fn prepare_create(&self, cx: &Context<'_>, pv: &mut PersistentVolume) {
        pv.status = Some(PersistentVolumeStatus {
            phase: Some("Pending".to_owned()),
            last_phase_transition_time: Some(Time(cx.now)),
            ..PersistentVolumeStatus::default()
        });
    }

    fn prepare_update(&self, cx: &Context<'_>, pv: &mut PersistentVolume, old: &PersistentVolume) {
        if cx.subresource != "status" {
            pv.status.clone_from(&old.status);
            return;
        }
        pv.spec.clone_from(&old.spec);
        let had = old.status.clone().unwrap_or_default();
        let status = pv.status.get_or_insert_default();
        let since = &mut status.last_phase_transition_time;
        if status.phase == had.phase {
            if since.is_none() {
                *since = had.last_phase_transition_time;
            }
        } else if since.is_none() || equal::times(since.as_ref(), had.last_phase_transition_time.as_ref()) {
            *since = Some(Time(cx.now));
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, pv: &PersistentVolume) -> ErrorList {
        judge(pv, None)
    }

    fn validate_update(&self, cx: &Context<'_>, pv: &PersistentVolume, old: &PersistentVolume) -> ErrorList {
        let mut errs = meta::object_meta_update(&pv.metadata, &old.metadata);
        if cx.subresource.is_empty() {
            errs.extend(judge(pv, Some(old)));
            errs.extend(changes(&spec(pv), &spec(old)));
        }
        errs
    }

    fn warnings(
        &self,
        cx: &Context<'_>,
        pv: &PersistentVolume,
        _old: Option<&PersistentVolume>,
    ) -> Vec<String> {
        if cx.subresource.is_empty() { warnings(pv) } else { Vec::new() }
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, pv: &PersistentVolume, now: Timestamp) -> Vec<Cell> {
        let (s, status) = (spec(pv), pv.status.clone().unwrap_or_default());
        let claim = s
            .claim_ref
            .as_ref()
            .map(|c| format!("{}/{}", text(&c.namespace), text(&c.name)))
            .unwrap_or_default();
        let size = s.capacity.as_ref().and_then(|c| c.get("storage")).map_or("0", |q| q.0.as_str());
        let class = annotation(&pv.metadata, CLASS_ANNOTATION).unwrap_or(text(&s.storage_class_name));
        vec![
            print::name(&pv.metadata),
            size.into(),
            short_modes(list(&s.access_modes)).into(),
            text(&s.persistent_volume_reclaim_policy).into(),
            shown_phase(&pv.metadata, status.phase.as_deref()).into(),
            claim.into(),
            class.into(),
            s.volume_attributes_class_name.as_deref().unwrap_or("<unset>").into(),
            text(&status.reason).into(),
            print::age(pv.metadata.creation_timestamp.as_ref(), now).into(),
            s.volume_mode.as_deref().unwrap_or("<unset>").into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
