//! `storage.k8s.io/v1` StorageClass.

use crate::kinds::core::pod_warnings::deprecated_label;
use crate::kinds::prelude::*;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::core::v1::TopologySelectorTerm;
use gantry_types::k8s_openapi::api::storage::v1::StorageClass;
use std::collections::{BTreeMap, BTreeSet};

/// What makes volumes and where; only expansion, mount options and topologies may change later.
pub struct StorageClasses;

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_MAX_BYTES: usize = 256 * 1024;
const DEFAULT_MARKS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// Whether the class is marked as the one for claims that name none.
fn is_default(meta: &ObjectMeta) -> bool {
    let marks = meta.annotations.as_ref();
    DEFAULT_MARKS.iter().any(|k| marks.and_then(|m| m.get(*k)).is_some_and(|v| v == "true"))
}

fn parameters(all: Option<&BTreeMap<String, String>>, path: &Path) -> ErrorList {
    let count = all.map_or(0, BTreeMap::len);
    if count > PARAMETERS_MAX {
        return vec![Error::too_long(path, PARAMETERS_MAX)];
    }
    let mut errs = ErrorList::new();
    let mut size = 0;
    for (k, v) in all.into_iter().flatten() {
        if k.is_empty() {
            errs.push(Error::invalid(path, k, "field can not be empty."));
        }
        size += k.len() + v.len();
    }
    if size > PARAMETERS_MAX_BYTES {
        errs.push(Error::too_long(path, PARAMETERS_MAX_BYTES));
    }
    errs
}

type Term<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn topology_term<'a>(term: &'a TopologySelectorTerm, path: &Path, errs: &mut ErrorList) -> Term<'a> {
    let mut out = Term::new();
    for (i, r) in list(&term.match_label_expressions).iter().enumerate() {
        let at = path.child("matchLabelExpressions").index(i);
        let mut values = BTreeSet::new();
        if r.values.is_empty() {
            errs.push(Error::required(&at.child("values"), ""));
        }
        for (j, v) in r.values.iter().enumerate() {
            if !values.insert(v.as_str()) {
                errs.push(Error::duplicate(&at.child("values").index(j), v));
            }
        }
        errs.extend(invalid_each(&at.child("key"), &r.key, names::qualified_name(&r.key)));
        if out.insert(&r.key, values).is_some() {
            errs.push(Error::duplicate(&at.child("key"), &r.key));
        }
    }
    out
}

fn topologies(all: &[TopologySelectorTerm], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen: Vec<Term<'_>> = Vec::new();
    for (i, term) in all.iter().enumerate() {
        let at = path.index(i);
        let found = topology_term(term, &at, &mut errs);
        // A term without requirements counts as a repetition, even alone.
        if found.is_empty() || seen.contains(&found) {
            errs.push(Error::duplicate(&at.child("matchLabelExpressions"), ""));
        }
        seen.push(found);
    }
    errs
}

fn validate(class: &StorageClass) -> ErrorList {
    let mut errs = meta::object_meta(&class.metadata, false, meta::subdomain_name);
    let (provisioner, at) = (&class.provisioner, Path::new("provisioner"));
    if provisioner.is_empty() {
        errs.push(Error::required(&at, ""));
    } else {
        let lower = provisioner.to_lowercase();
        errs.extend(invalid_each(&at, &lower, names::qualified_name(&lower)));
    }
    errs.extend(parameters(class.parameters.as_ref(), &Path::new("parameters")));
    let policy = text(&class.reclaim_policy);
    if !matches!(policy, "" | "Delete" | "Retain") {
        errs.push(unsupported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]));
    }
    let at = Path::new("volumeBindingMode");
    match class.volume_binding_mode.as_deref() {
        None => errs.push(Error::required(&at, "")),
        Some("Immediate" | "WaitForFirstConsumer") => {}
        Some(mode) => errs.push(unsupported(&at, mode, &["Immediate", "WaitForFirstConsumer"])),
    }
    errs.extend(topologies(list(&class.allowed_topologies), &Path::new("allowedTopologies")));
    errs
}

impl Strategy for StorageClasses {
    type Kind = StorageClass;

    fn default(&self, class: &mut StorageClass) {
        class.reclaim_policy.get_or_insert_with(|| "Delete".to_owned());
        class.volume_binding_mode.get_or_insert_with(|| "Immediate".to_owned());
    }

    fn validate_create(&self, _cx: &Context<'_>, class: &StorageClass) -> ErrorList {
        validate(class)
    }

    fn validate_update(&self, _cx: &Context<'_>, class: &StorageClass, old: &StorageClass) -> ErrorList {
        let mut errs = validate(class);
        errs.extend(meta::object_meta_update(&class.metadata, &old.metadata));
        if !same(&class.parameters, &old.parameters) {
            errs.extend(meta::immutable(&class.parameters, &old.parameters, &Path::new("parameters")));
        }
        errs.extend(meta::immutable(&class.provisioner, &old.provisioner, &Path::new("provisioner")));
        let at = Path::new("reclaimPolicy");
        errs.extend(meta::immutable(&class.reclaim_policy, &old.reclaim_policy, &at));
        let at = Path::new("volumeBindingMode");
        errs.extend(meta::immutable(&class.volume_binding_mode, &old.volume_binding_mode, &at));
        errs
    }

    fn warnings(&self, _cx: &Context<'_>, class: &StorageClass, _old: Option<&StorageClass>) -> Vec<String> {
        let mut out = Vec::new();
        for (i, term) in list(&class.allowed_topologies).iter().enumerate() {
            for (j, r) in list(&term.match_label_expressions).iter().enumerate() {
                if let Some(m) = deprecated_label(&r.key) {
                    let at = Path::new("allowedTopologies").index(i).child("matchLabelExpressions").index(j);
                    out.push(format!("{}: {m}", at.child("key")));
                }
            }
        }
        out
    }

    fn row(&self, class: &StorageClass, now: Timestamp) -> Vec<Cell> {
        let mark = if is_default(&class.metadata) { " (default)" } else { "" };
        vec![
            format!("{}{mark}", text(&class.metadata.name)).into(),
            class.provisioner.as_str().into(),
            class.reclaim_policy.as_deref().unwrap_or("Delete").into(),
            class.volume_binding_mode.as_deref().unwrap_or("Immediate").into(),
            Cell::Bool(flag(class.allow_volume_expansion)),
            print::age(class.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
