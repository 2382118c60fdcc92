//! The claim template of an ephemeral volume.

use super::{meta, persistent_volume, resources, selector};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{
    PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate, TypedLocalObjectReference, TypedObjectReference,
};

pub fn template(t: &PersistentVolumeClaimTemplate, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if let Some(m) = &t.metadata {
        let at = path.child("metadata");
        errs.extend(meta::annotations(m.annotations.as_ref(), &at.child("annotations")));
        errs.extend(meta::labels(m.labels.as_ref(), &at.child("labels")));
        for (field, set) in [
            ("name", m.name.is_some()),
            ("generateName", m.generate_name.is_some()),
            ("namespace", m.namespace.is_some()),
            ("selfLink", m.self_link.is_some()),
            ("uID", m.uid.is_some()),
            ("resourceVersion", m.resource_version.is_some()),
            ("generation", m.generation.is_some()),
            ("creationTimestamp", m.creation_timestamp.is_some()),
            ("deletionTimestamp", m.deletion_timestamp.is_some()),
            ("deletionGracePeriodSeconds", m.deletion_grace_period_seconds.is_some()),
            ("ownerReferences", m.owner_references.is_some()),
            ("finalizers", m.finalizers.is_some()),
            ("managedFields", m.managed_fields.is_some()),
        ] {
            if set {
                errs.push(Error::forbidden(&at.child(field), "cannot be set"));
            }
        }
    }
    errs.extend(spec(&t.spec, &path.child("spec")));
    errs
}

/// The spec of a claim.
pub fn spec(s: &PersistentVolumeClaimSpec, path: &Path) -> ErrorList {
    spec_with(s, Options::default(), path)
}

/// What a stored claim may already have that today's rules would refuse.
#[derive(Clone, Copy, Default)]
pub struct Options {
    pub allow_invalid_values: bool,
    pub allow_invalid_group: bool,
}

/// The spec of a claim, as lenient as the stored one demands.
pub fn spec_with(s: &PersistentVolumeClaimSpec, options: Options, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let modes = list(&s.access_modes);
    let at = path.child("accessModes");
    if modes.is_empty() {
        errs.push(Error::required(&at, "at least 1 access mode is required"));
    }
    let selects = selector::Options { allow_invalid_values: options.allow_invalid_values };
    errs.extend(selector::label_selector(s.selector.as_ref(), selects, &path.child("selector")));
    errs.extend(persistent_volume::access_modes(modes, &at));
    let at = path.child("resources").key("storage");
    let requests = s.resources.as_ref().and_then(|r| r.requests.as_ref());
    match requests.and_then(|r| r.get("storage")) {
        None => errs.push(Error::required(&at, "")),
        Some(q) => match resources::parse(q) {
            Some(amount) if amount.sign() <= 0 => {
                errs.push(Error::invalid(&at, &amount.to_string(), "must be greater than zero"));
            }
            _ => errs.extend(resources::quantity_value("storage", q, &at)),
        },
    }
    let class = text(&s.storage_class_name);
    if !class.is_empty() {
        let messages = meta::subdomain_name(class, false);
        errs.extend(invalid_each(&path.child("storageClassName"), class, messages));
    }
    if let Some(mode) = s.volume_mode.as_deref().filter(|m| !matches!(*m, "Block" | "Filesystem")) {
        errs.push(Error::not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]));
    }
    if let Some(source) = &s.data_source {
        let TypedLocalObjectReference { api_group, kind, name } = source;
        errs.extend(data_source(text(api_group), kind, name, options, &path.child("dataSource")));
    }
    if let Some(source) = &s.data_source_ref {
        let TypedObjectReference { api_group, kind, name, namespace } = source;
        let at = path.child("dataSourceRef");
        errs.extend(data_source(text(api_group), kind, name, options, &at));
        let namespace = text(namespace);
        if !namespace.is_empty() {
            let messages = meta::label_name(namespace, false);
            errs.extend(invalid_each(&at.child("namespace"), namespace, messages));
        }
    }
    if let (Some(source), Some(reference)) = (&s.data_source, &s.data_source_ref) {
        // The bad value is the path itself, which has no exported fields to print.
        if !text(&reference.namespace).is_empty() {
            errs.push(invalid_raw(
                path,
                "{}",
                "may not be specified when dataSourceRef.namespace is specified",
            ));
        } else if source.api_group != reference.api_group
            || (&source.kind, &source.name) != (&reference.kind, &reference.name)
        {
            errs.push(invalid_raw(path, "{}", "must match dataSourceRef"));
        }
    }
    let class = text(&s.volume_attributes_class_name);
    if !class.is_empty() {
        let messages = meta::subdomain_name(class, false);
        errs.extend(invalid_each(&path.child("volumeAttributesClassName"), class, messages));
    }
    errs
}

/// Warnings on the spec of a claim: storage comes in whole bytes.
pub fn warnings(s: &PersistentVolumeClaimSpec, path: &Path) -> Vec<String> {
    let Some(r) = &s.resources else { return Vec::new() };
    let mut out = Vec::new();
    for (field, amounts) in [("requests", &r.requests), ("limits", &r.limits)] {
        let amount = amounts.as_ref().and_then(|l| l.get("storage")).and_then(resources::parse);
        if let Some(q) = amount.filter(|q| q.milli_value() % 1000 != 0) {
            let at = path.child("resources").child(field).key("storage");
            out.push(format!("{at}: fractional byte value \"{q}\" is invalid, must be an integer"));
        }
    }
    out
}

fn data_source(group: &str, kind: &str, name: &str, options: Options, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if name.is_empty() {
        errs.push(Error::required(&path.child("name"), ""));
    }
    if kind.is_empty() {
        errs.push(Error::required(&path.child("kind"), ""));
    }
    if group.is_empty() {
        if kind != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errs.push(Error::invalid(path, kind, why));
        }
    } else if !options.allow_invalid_group {
        errs.extend(invalid_each(&path.child("apiGroup"), group, names::dns1123_subdomain(group)));
    }
    errs
}
