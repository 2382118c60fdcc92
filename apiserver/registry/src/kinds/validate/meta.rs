//! Rules of `metadata`, on create and on update.

use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};
use gantry_types::names::NameCheck;
use serde::Serialize;
use std::collections::BTreeMap;

pub const IMMUTABLE: &str = "field is immutable";
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// Names of most objects.
pub fn subdomain_name(name: &str, prefix: bool) -> Vec<String> {
    names::name_is_dns_subdomain(name, prefix)
}

/// Names of namespaces.
pub fn label_name(name: &str, prefix: bool) -> Vec<String> {
    names::name_is_dns_label(name, prefix)
}

fn metadata() -> Path {
    Path::new("metadata")
}

/// The common rules, for kinds whose finalizers may be any qualified name.
pub fn object_meta_plain(meta: &ObjectMeta, namespaced: bool, check: NameCheck) -> ErrorList {
    let path = metadata();
    let mut errs = ErrorList::new();
    let generate = text(&meta.generate_name);
    if !generate.is_empty() {
        errs.extend(invalid_each(&path.child("generateName"), generate, check(generate, true)));
    }
    let name = text(&meta.name);
    if name.is_empty() {
        errs.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        errs.extend(invalid_each(&path.child("name"), name, check(name, false)));
    }
    let namespace = text(&meta.namespace);
    let ns_path = path.child("namespace");
    if !namespaced {
        if !namespace.is_empty() {
            errs.push(Error::forbidden(&ns_path, "not allowed on this type"));
        }
    } else if namespace.is_empty() {
        errs.push(Error::required(&ns_path, ""));
    } else {
        errs.extend(invalid_each(&ns_path, namespace, label_name(namespace, false)));
    }
    if let Some(g) = meta.generation.filter(|g| *g < 0) {
        errs.push(Error::invalid(&path.child("generation"), &g, "must be greater than or equal to 0"));
    }
    errs.extend(labels(meta.labels.as_ref(), &path.child("labels")));
    errs.extend(annotations(meta.annotations.as_ref(), &path.child("annotations")));
    errs.extend(owner_references(list(&meta.owner_references), &path.child("ownerReferences")));
    errs.extend(finalizers(list(&meta.finalizers), &path.child("finalizers")));
    errs.extend(managed_fields(list(&meta.managed_fields), &path.child("managedFields")));
    errs
}

/// The common rules with the core API's on finalizers: a standard name or a qualified one.
pub fn object_meta(meta: &ObjectMeta, namespaced: bool, check: NameCheck) -> ErrorList {
    let mut errs = object_meta_plain(meta, namespaced, check);
    errs.extend(kube_finalizers(meta));
    errs
}

fn kube_finalizers(meta: &ObjectMeta) -> ErrorList {
    let path = metadata().child("finalizers");
    let each = list(&meta.finalizers).iter().enumerate();
    each.flat_map(|(i, f)| kube_finalizer(f, &path.index(i))).collect()
}

/// A finalizer without a slash must be one Kubernetes knows.
pub fn kube_finalizer(name: &str, path: &Path) -> Option<Error> {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    (!name.contains('/') && !STANDARD.contains(&name)).then(|| {
        Error::invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified")
    })
}

/// A namespace's own finalizer.
pub fn finalizer_name(name: &str, path: &Path) -> ErrorList {
    let mut errs: ErrorList = invalid_each(path, name, names::finalizer_name(name)).collect();
    errs.extend(kube_finalizer(name, path));
    errs
}

pub fn labels(labels: Option<&BTreeMap<String, String>>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (k, v) in labels.into_iter().flatten() {
        errs.extend(invalid_each(path, k, names::qualified_name(k)));
        errs.extend(invalid_each(path, v, names::label_value(v)));
    }
    errs
}

pub fn annotations(annotations: Option<&BTreeMap<String, String>>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut size = 0;
    for (k, v) in annotations.into_iter().flatten() {
        errs.extend(invalid_each(path, k, names::qualified_name(&k.to_lowercase())));
        size += k.len() + v.len();
    }
    if size > ANNOTATIONS_MAX {
        errs.push(Error::too_long(path, ANNOTATIONS_MAX));
    }
    errs
}

/// An owner reference in Go's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GoOwner<'a> {
    api_version: &'a str,
    kind: &'a str,
    name: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_owner_deletion: Option<bool>,
}

impl<'a> From<&'a OwnerReference> for GoOwner<'a> {
    fn from(r: &'a OwnerReference) -> Self {
        Self {
            api_version: &r.api_version,
            kind: &r.kind,
            name: &r.name,
            uid: &r.uid,
            controller: r.controller,
            block_owner_deletion: r.block_owner_deletion,
        }
    }
}

/// Serializes in declaration order.
pub fn go_json<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn owner_references(refs: &[OwnerReference], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut controller: Option<String> = None;
    for r in refs {
        let version_ok = match r.api_version.split_once('/') {
            Some((_, v)) => !v.is_empty() && !v.contains('/'),
            None => !r.api_version.is_empty(),
        };
        if !version_ok {
            errs.push(Error::invalid(&path.child("apiVersion"), &r.api_version, "version must not be empty"));
        }
        for (field, value) in [("kind", &r.kind), ("name", &r.name), ("uid", &r.uid)] {
            if value.is_empty() {
                errs.push(Error::invalid(&path.child(field), value, "must not be empty"));
            }
        }
        if r.api_version == "v1" && r.kind == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errs.push(invalid_raw(path, go_json(&GoOwner::from(r)), why));
        }
        if flag(r.controller) {
            let current = format!("{}/{}", r.kind, r.name);
            if let Some(first) = &controller {
                let all: Vec<GoOwner<'_>> = refs.iter().map(GoOwner::from).collect();
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {current}"
                );
                errs.push(invalid_raw(path, go_json(&all), why));
            } else {
                controller = Some(current);
            }
        }
    }
    errs
}

fn finalizers(all: &[String], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for f in all {
        errs.extend(invalid_each(path, f, names::finalizer_name(f)));
    }
    if all.iter().any(|f| f == "orphan") && all.iter().any(|f| f == "foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errs.push(Error::invalid(path, all, why));
    }
    errs
}

fn managed_fields(entries: &[ManagedFieldsEntry], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, e) in entries.iter().enumerate() {
        let at = path.index(i);
        let operation = text(&e.operation);
        if !matches!(operation, "Apply" | "Update") {
            errs.push(Error::invalid(&at.child("operation"), operation, "must be `Apply` or `Update`"));
        }
        let fields_type = text(&e.fields_type);
        if !fields_type.is_empty() && fields_type != "FieldsV1" {
            errs.push(Error::invalid(&at.child("fieldsType"), fields_type, "must be `FieldsV1`"));
        }
        let manager = text(&e.manager);
        if manager.len() > 128 {
            errs.push(Error::too_long(&at.child("manager"), 128));
        }
        if text(&e.subresource).len() > 256 {
            errs.push(Error::too_long(&at.child("subresource"), 256));
        }
    }
    errs
}

/// Keeps of the metadata what an update of the status may not touch.
pub fn reset_for_status(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    new.generation = old.generation;
    new.self_link.clone_from(&old.self_link);
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
    new.finalizers.clone_from(&old.finalizers);
    new.owner_references.clone_from(&old.owner_references);
}

/// A field that may not change.
pub fn immutable<T: PartialEq + Serialize + ?Sized>(new: &T, old: &T, path: &Path) -> Option<Error> {
    (new != old).then(|| Error::invalid(path, new, IMMUTABLE))
}

/// What may not change in `metadata`, with the core API's rule on finalizers.
pub fn object_meta_update(new: &ObjectMeta, old: &ObjectMeta) -> ErrorList {
    let mut errs = object_meta_update_plain(new, old);
    errs.extend(kube_finalizers(new));
    errs
}

/// What may not change in `metadata`.
pub fn object_meta_update_plain(new: &ObjectMeta, old: &ObjectMeta) -> ErrorList {
    let path = metadata();
    let mut errs = ErrorList::new();
    if old.deletion_timestamp.is_some() {
        let had = list(&old.finalizers);
        let mut extra: Vec<&str> =
            list(&new.finalizers).iter().filter(|f| !had.contains(f)).map(String::as_str).collect();
        if !extra.is_empty() {
            extra.sort_unstable();
            extra.dedup();
            let quoted: Vec<String> = extra.iter().map(|f| gantry_types::field::go_quote(f)).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                quoted.join(", ")
            );
            errs.push(Error::forbidden(&path.child("finalizers"), why));
        }
    }
    if text(&new.resource_version).is_empty() {
        errs.push(Error::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    if new.generation.unwrap_or(0) < old.generation.unwrap_or(0) {
        let g = new.generation.unwrap_or(0);
        errs.push(Error::invalid(&path.child("generation"), &g, "must not be decremented"));
    }
    errs.extend(immutable(text(&new.name), text(&old.name), &path.child("name")));
    errs.extend(immutable(text(&new.namespace), text(&old.namespace), &path.child("namespace")));
    errs.extend(immutable(text(&new.uid), text(&old.uid), &path.child("uid")));
    let created = path.child("creationTimestamp");
    errs.extend(immutable(&new.creation_timestamp, &old.creation_timestamp, &created));
    let deleted = path.child("deletionTimestamp");
    errs.extend(immutable(&new.deletion_timestamp, &old.deletion_timestamp, &deleted));
    let grace = path.child("deletionGracePeriodSeconds");
    errs.extend(immutable(&new.deletion_grace_period_seconds, &old.deletion_grace_period_seconds, &grace));
    errs.extend(labels(new.labels.as_ref(), &path.child("labels")));
    errs.extend(annotations(new.annotations.as_ref(), &path.child("annotations")));
    errs.extend(owner_references(list(&new.owner_references), &path.child("ownerReferences")));
    errs.extend(managed_fields(list(&new.managed_fields), &path.child("managedFields")));
    errs
}
