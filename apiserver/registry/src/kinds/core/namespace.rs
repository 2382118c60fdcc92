//! `v1` Namespace.

use crate::kinds::prelude::*;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};

/// Carries its name as a label and the finalizer that empties it; `/finalize` alone changes finalizers.
pub struct Namespaces;

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

fn finalizers(ns: &Namespace) -> &[String] {
    ns.spec.as_ref().map(|s| list(&s.finalizers)).unwrap_or_default()
}

fn phase(ns: &Namespace) -> &str {
    ns.status.as_ref().map(|s| text(&s.phase)).unwrap_or_default()
}

fn validate(ns: &Namespace) -> ErrorList {
    let mut errs = meta::object_meta(&ns.metadata, false, meta::label_name);
    let path = Path::new("spec").child("finalizers");
    for f in finalizers(ns) {
        errs.extend(meta::finalizer_name(f, &path));
    }
    errs
}

impl Strategy for Namespaces {
    type Kind = Namespace;

    fn default(&self, ns: &mut Namespace) {
        let name = text(&ns.metadata.name).to_owned();
        if !name.is_empty() {
            ns.metadata.labels.get_or_insert_default().insert(NAME_LABEL.to_owned(), name);
        }
        default_text(&mut ns.status.get_or_insert_default().phase, "Active");
    }

    fn prepare_create(&self, _cx: &Context<'_>, ns: &mut Namespace) {
        ns.status = Some(NamespaceStatus { phase: Some("Active".to_owned()), ..NamespaceStatus::default() });
        let all = ns.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !all.iter().any(|f| f == "kubernetes") {
            all.push("kubernetes".to_owned());
        }
    }

    fn prepare_update(&self, cx: &Context<'_>, ns: &mut Namespace, old: &Namespace) {
        match cx.subresource {
            "status" => ns.spec.clone_from(&old.spec),
            "finalize" => ns.status.clone_from(&old.status),
            _ => {
                ns.spec.clone_from(&old.spec);
                ns.status.clone_from(&old.status);
            }
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, ns: &Namespace) -> ErrorList {
        validate(ns)
    }

    fn validate_update(&self, cx: &Context<'_>, ns: &Namespace, old: &Namespace) -> ErrorList {
        let mut errs = if cx.subresource.is_empty() { validate(ns) } else { ErrorList::new() };
        errs.extend(meta::object_meta_update(&ns.metadata, &old.metadata));
        match cx.subresource {
            "status" => {
                let path = Path::new("status").child("Phase");
                let (want, why) = if ns.metadata.deletion_timestamp.is_none() {
                    ("Active", "may only be 'Active' if `deletionTimestamp` is empty")
                } else {
                    ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty")
                };
                if phase(ns) != want {
                    errs.push(Error::invalid(&path, phase(ns), why));
                }
            }
            "finalize" => {
                let path = Path::new("spec").child("finalizers");
                for (i, f) in finalizers(ns).iter().enumerate() {
                    errs.extend(meta::finalizer_name(f, &path.index(i)));
                }
            }
            _ => {}
        }
        errs
    }

    fn fields(&self, ns: &Namespace) -> Vec<(&'static str, String)> {
        vec![("status.phase", phase(ns).to_owned()), ("name", text(&ns.metadata.name).to_owned())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.phase", "name"]
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, ns: &Namespace, now: Timestamp) -> Vec<Cell> {
        let age = print::age(ns.metadata.creation_timestamp.as_ref(), now);
        vec![print::name(&ns.metadata), phase(ns).into(), age.into()]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::label_name(name, prefix)
    }
}
