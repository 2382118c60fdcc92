//! `v1` PersistentVolumeClaim.

use super::equal;
use super::persistent_volume::{CLASS_ANNOTATION, short_modes, shown_phase};
use super::pod_defaults::resource_list;
use crate::kinds::prelude::*;
use crate::kinds::validate::resources::{self, ResourceList};
use crate::kinds::validate::{claim_template, meta, persistent_volume, selector};
use crate::kinds::{go_types, print};
use gantry_types::k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, TypedLocalObjectReference,
    TypedObjectReference,
};
use gantry_types::quantity::Quantity;

/// A request for storage: once made only its volume is filled in, and once bound it may grow.
pub struct PersistentVolumeClaims;

fn spec(claim: &PersistentVolumeClaim) -> PersistentVolumeClaimSpec {
    claim.spec.clone().unwrap_or_default()
}

fn annotation<'a>(claim: &'a PersistentVolumeClaim, key: &str) -> Option<&'a str> {
    claim.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn requested(s: &PersistentVolumeClaimSpec) -> Option<&ResourceList> {
    s.resources.as_ref()?.requests.as_ref()
}

fn amount(l: Option<&ResourceList>) -> Quantity {
    l.and_then(|l| l.get("storage")).and_then(resources::parse).unwrap_or_default()
}

/// Drops references a claim may not have: across namespaces while that gate is off, and old-style ones to
/// anything but claims and snapshots.
fn settle_sources(new: &mut PersistentVolumeClaimSpec, old: Option<&PersistentVolumeClaimSpec>) {
    let abroad = new.data_source_ref.as_ref().is_some_and(|r| !text(&r.namespace).is_empty());
    if abroad && old.is_none_or(|o| o.data_source_ref.is_none()) {
        new.data_source_ref = None;
    }
    let had = old.is_some_and(|o| o.data_source.is_some() || o.data_source_ref.is_some());
    let known = |s: &TypedLocalObjectReference| {
        matches!(
            (text(&s.api_group), s.kind.as_str()),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    };
    if !had && new.data_source_ref.is_none() && !new.data_source.as_ref().is_some_and(known) {
        new.data_source = None;
    }
    normalize_sources(new);
}

/// Fills in each of the two forms of a data source from the other.
fn normalize_sources(s: &mut PersistentVolumeClaimSpec) {
    match (&s.data_source, &s.data_source_ref) {
        (Some(source), None) => {
            s.data_source_ref = Some(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        (None, Some(r)) if text(&r.namespace).is_empty() => {
            s.data_source = Some(TypedLocalObjectReference {
                api_group: r.api_group.clone(),
                kind: r.kind.clone(),
                name: r.name.clone(),
            });
        }
        _ => {}
    }
}

fn options(old: &PersistentVolumeClaimSpec) -> claim_template::Options {
    let strict = selector::Options::default();
    let group = |g: Option<&Option<String>>| g.is_some_and(Option::is_some);
    claim_template::Options {
        allow_invalid_values: !selector::label_selector(old.selector.as_ref(), strict, &Path::root())
            .is_empty(),
        allow_invalid_group: group(old.data_source.as_ref().map(|s| &s.api_group))
            || group(old.data_source_ref.as_ref().map(|s| &s.api_group)),
    }
}

fn judge(claim: &PersistentVolumeClaim, options: claim_template::Options) -> ErrorList {
    let mut errs = meta::object_meta(&claim.metadata, true, meta::subdomain_name);
    errs.extend(claim_template::spec_with(&spec(claim), options, &Path::new("spec")));
    errs
}

fn canonical(s: &PersistentVolumeClaimSpec) -> PersistentVolumeClaimSpec {
    let mut s = s.clone();
    if let Some(r) = &mut s.resources {
        for q in r.limits.iter_mut().chain(&mut r.requests).flat_map(|l| l.values_mut()) {
            if let Some(amount) = resources::parse(q) {
                q.0 = format!("{}n", amount.scaled_value(-9));
            }
        }
    }
    s
}

/// What of a claim's spec an update may not touch, as a difference of the specs once what it may is alike.
fn spec_changes(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> ErrorList {
    let mut errs = ErrorList::new();
    let (mut now, mut was) = (spec(new), spec(old));
    normalize_sources(&mut was);
    if text(&was.volume_name).is_empty() {
        was.volume_name.clone_from(&now.volume_name);
    }
    let had_class = annotation(old, CLASS_ANNOTATION);
    let has_class = annotation(new, CLASS_ANNOTATION);
    let class = now.storage_class_name.clone();
    let from_nothing = was.storage_class_name.is_none();
    if had_class.is_some()
        && from_nothing
        && class.as_deref() == had_class
        && (has_class.is_none() || has_class == had_class)
    {
        now.storage_class_name = None;
    } else {
        if has_class.unwrap_or_default() != had_class.unwrap_or_default() {
            let at = Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
            errs.push(Error::invalid(&at, has_class.unwrap_or_default(), meta::IMMUTABLE));
        }
        if class.is_some() && from_nothing && (had_class.is_none() || class.as_deref() == had_class) {
            now.storage_class_name.clone_from(&was.storage_class_name);
        }
    }
    if new.status.as_ref().is_some_and(|s| text(&s.phase) == "Bound") {
        if let Some(requests) = now.resources.as_mut().and_then(|r| r.requests.as_mut())
            && let Some(size) = requested(&was).and_then(|r| r.get("storage"))
        {
            requests.insert("storage".to_owned(), size.clone());
        }
        now.volume_attributes_class_name.clone_from(&was.volume_attributes_class_name);
    }
    if !equal::values(&canonical(&now), &canonical(&was)) {
        let diff = go_types::diff("PersistentVolumeClaimSpec", &was, &now);
        let why = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{diff}"
        );
        errs.push(Error::forbidden(&Path::new("spec"), why));
    }
    errs
}

fn changes(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> ErrorList {
    let mut errs = spec_changes(new, old);
    let (now, was) = (spec(new), spec(old));
    let path = Path::new("spec");
    let size = amount(requested(&now));
    let status = old.status.clone().unwrap_or_default();
    if size < amount(requested(&was)) && size <= amount(status.capacity.as_ref()) {
        let at = path.child("resources").child("requests").child("storage");
        errs.push(Error::forbidden(&at, "field can not be less than status.capacity"));
    }
    errs.extend(meta::immutable(&now.volume_mode, &was.volume_mode, &Path::new("volumeMode")));
    let class = now.volume_attributes_class_name.as_deref();
    if class != was.volume_attributes_class_name.as_deref()
        && status.current_volume_attributes_class_name.is_some()
        && class.is_none_or(str::is_empty)
    {
        let to = if class.is_none() { "nil" } else { "empty string" };
        let why =
            format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
        errs.push(Error::forbidden(&path.child("volumeAttributesClassName"), why));
    }
    errs
}

/// The name of a resource whose growth a status tells of.
fn resource_key(key: &str, path: &Path) -> ErrorList {
    let errs: ErrorList = invalid_each(path, key, names::qualified_name(key)).collect();
    let native = !key.contains('/') || key.contains("kubernetes.io/");
    if errs.is_empty() && native && key != "storage" {
        return vec![Error::not_supported(path, key, &["storage"])];
    }
    errs
}

fn status_changes(claim: &PersistentVolumeClaim) -> ErrorList {
    const STATES: &[&str] = &[
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let mut errs = ErrorList::new();
    if list(&spec(claim).access_modes).is_empty() {
        errs.push(Error::required(&Path::new("Spec").child("accessModes"), ""));
    }
    let status = claim.status.clone().unwrap_or_default();
    let path = Path::new("status");
    let basic = |q, at: &Path| resources::parse(q).and_then(|amount| persistent_volume::basic(&amount, at));
    for (name, q) in status.capacity.iter().flatten() {
        errs.extend(basic(q, &path.child("capacity").key(name)));
    }
    for (name, state) in status.allocated_resource_statuses.iter().flatten() {
        let at = path.child("allocatedResourceStatuses");
        errs.extend(resource_key(name, &at));
        if !STATES.contains(&state.as_str()) {
            errs.push(unsupported(&at, name, STATES));
        }
    }
    for (name, q) in status.allocated_resources.iter().flatten() {
        let at = path.child("allocatedResources");
        let wrong = resource_key(name, &at);
        if !wrong.is_empty() {
            errs.extend(wrong);
            continue;
        }
        let at = at.key(name);
        match basic(q, &at) {
            Some(e) => errs.push(e),
            None => errs.extend(resources::quantity_value("storage", q, &at)),
        }
    }
    errs
}

impl Strategy for PersistentVolumeClaims {
    type Kind = PersistentVolumeClaim;

    fn default(&self, claim: &mut PersistentVolumeClaim) {
        let status = claim.status.get_or_insert_default();
        default_text(&mut status.phase, "Pending");
        resource_list(&mut status.capacity);
        resource_list(&mut status.allocated_resources);
        let s = claim.spec.get_or_insert_default();
        s.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
        let r = s.resources.get_or_insert_default();
        resource_list(&mut r.limits);
        resource_list(&mut r.requests);
    }

    fn prepare_create(&self, _cx: &Context<'_>, claim: &mut PersistentVolumeClaim) {
        claim.status = Some(PersistentVolumeClaimStatus::default());
        settle_sources(claim.spec.get_or_insert_default(), None);
    }

    fn prepare_update(
        &self,
        cx: &Context<'_>,
        claim: &mut PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
    ) {
        if cx.subresource == "status" {
            claim.spec.clone_from(&old.spec);
        } else {
            claim.status.clone_from(&old.status);
            settle_sources(claim.spec.get_or_insert_default(), old.spec.as_ref());
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, claim: &PersistentVolumeClaim) -> ErrorList {
        judge(claim, claim_template::Options::default())
    }

    fn validate_update(
        &self,
        cx: &Context<'_>,
        claim: &PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
    ) -> ErrorList {
        let mut errs = meta::object_meta_update(&claim.metadata, &old.metadata);
        if cx.subresource == "status" {
            errs.extend(status_changes(claim));
        } else {
            errs.extend(judge(claim, options(&spec(old))));
            errs.extend(changes(claim, old));
        }
        errs
    }

    fn warnings(
        &self,
        cx: &Context<'_>,
        claim: &PersistentVolumeClaim,
        _old: Option<&PersistentVolumeClaim>,
    ) -> Vec<String> {
        let mut out = Vec::new();
        if cx.subresource == "status" {
            return out;
        }
        if annotation(claim, CLASS_ANNOTATION).is_some() {
            let at = Path::new("metadata").child("annotations").key(CLASS_ANNOTATION);
            out.push(format!("{at}: deprecated since v1.8; use \"storageClassName\" attribute instead"));
        }
        out.extend(claim_template::warnings(&spec(claim), &Path::new("spec")));
        out
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, claim: &PersistentVolumeClaim, now: Timestamp) -> Vec<Cell> {
        let (s, status) = (spec(claim), claim.status.clone().unwrap_or_default());
        let volume = text(&s.volume_name);
        let (mut capacity, mut modes) = (String::new(), String::new());
        if !volume.is_empty() {
            modes = short_modes(list(&status.access_modes));
            capacity = amount(status.capacity.as_ref()).to_string();
        }
        let class = annotation(claim, CLASS_ANNOTATION).unwrap_or(text(&s.storage_class_name));
        vec![
            print::name(&claim.metadata),
            shown_phase(&claim.metadata, status.phase.as_deref()).into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            class.into(),
            s.volume_attributes_class_name.as_deref().unwrap_or("<unset>").into(),
            print::age(claim.metadata.creation_timestamp.as_ref(), now).into(),
            s.volume_mode.as_deref().unwrap_or("<unset>").into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
