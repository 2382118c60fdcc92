//! `v1` ReplicationController.

use super::{equal, pod_defaults, pod_warnings};
use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::template::{self, not_negative};
use crate::kinds::validate::{meta, pod_spec};
use gantry_types::k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus,
};
use std::collections::BTreeMap;

/// A replica set of old: its selector is a plain map, and may change.
pub struct ReplicationControllers;

/// What a conversion from another group left behind.
const NON_CONVERTIBLE: &str = "non-convertible.kubernetes.io";

/// Upstream measures these names by another function than others, in bytes.
fn long_name(name: &str, prefix: bool) -> Vec<String> {
    let messages = meta::subdomain_name(name, prefix);
    messages.into_iter().map(|m| m.replace("no more than 253 characters", "no more than 253 bytes")).collect()
}

fn labels_of(t: &PodTemplateSpec) -> Option<&BTreeMap<String, String>> {
    t.metadata.as_ref().and_then(|m| m.labels.as_ref())
}

fn validate_template(
    t: &PodTemplateSpec,
    selector: &BTreeMap<String, String>,
    old: Option<&PodTemplateSpec>,
    path: &Path,
) -> ErrorList {
    let mut errs = ErrorList::new();
    let labels = labels_of(t);
    let has = |k: &str, v: &String| labels.and_then(|l| l.get(k)) == Some(v);
    if !selector.iter().all(|(k, v)| has(k, v)) {
        let why = "`selector` does not match template `labels`";
        errs.push(Error::invalid(&path.child("metadata").child("labels"), &labels, why));
    }
    errs.extend(pod_spec::template(t, &template::options(old), path));
    let spec = t.spec.clone().unwrap_or_default();
    let at = path.child("spec");
    if text(&spec.restart_policy) != "Always" {
        let policy = text(&spec.restart_policy);
        errs.push(Error::not_supported(&at.child("restartPolicy"), policy, &["Always"]));
    }
    if spec.active_deadline_seconds.is_some() {
        let why = "activeDeadlineSeconds in ReplicationController is not Supported";
        errs.push(Error::forbidden(&at.child("activeDeadlineSeconds"), why));
    }
    errs
}

fn validate_spec(s: &ReplicationControllerSpec, old: Option<&PodTemplateSpec>) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = ErrorList::new();
    errs.extend(not_negative(s.min_ready_seconds.map(i64::from), &path.child("minReadySeconds")));
    let selector = s.selector.clone().unwrap_or_default();
    if selector.is_empty() {
        errs.push(Error::required(&path.child("selector"), ""));
    }
    errs.extend(not_negative(s.replicas.map(i64::from), &path.child("replicas")));
    let at = path.child("template");
    match &s.template {
        None => errs.push(Error::required(&at, "")),
        Some(t) => errs.extend(validate_template(t, &selector, old, &at)),
    }
    errs
}

fn validate_status(s: &ReplicationControllerStatus) -> ErrorList {
    let counts = template::Counts {
        replicas: s.replicas,
        fully_labeled: s.fully_labeled_replicas,
        ready: s.ready_replicas,
        available: s.available_replicas,
        terminating: None,
        observed_generation: s.observed_generation,
    };
    counts.validate()
}

/// What could not be converted stays as it is.
fn non_convertible(
    new: &ReplicationControllerSpec,
    old: &ReplicationControllerSpec,
    metadata: &ObjectMeta,
) -> ErrorList {
    let mut errs = ErrorList::new();
    for (key, value) in metadata.annotations.iter().flatten().filter(|(k, _)| k.starts_with(NON_CONVERTIBLE))
    {
        let mut parts = key.split('/');
        let (Some(_), Some(field), None) = (parts.next(), parts.next(), parts.next()) else { continue };
        if !field.contains("selector") {
            let mut error = Error::not_found(&Path::new(field), value);
            error.detail = "unknown non-convertible field".to_owned();
            errs.push(error);
        } else if !same(&new.selector, &old.selector) {
            let at = Path::new("spec").child("selector");
            errs.push(Error::invalid(&at, &new.selector, "cannot update non-convertible selector"));
        }
    }
    errs
}

impl Strategy for ReplicationControllers {
    type Kind = ReplicationController;

    fn default(&self, rc: &mut ReplicationController) {
        rc.status.get_or_insert_default();
        let s = rc.spec.get_or_insert_default();
        s.replicas.get_or_insert(1);
        // The schema declares a default that Go does not write.
        s.min_ready_seconds = s.min_ready_seconds.filter(|n| *n != 0);
        let Some(template) = &mut s.template else { return };
        let empty = |l: &Option<BTreeMap<String, String>>| l.as_ref().is_none_or(BTreeMap::is_empty);
        if let Some(labels) = labels_of(template).cloned() {
            if empty(&s.selector) {
                s.selector = Some(labels.clone());
            }
            if empty(&rc.metadata.labels) {
                rc.metadata.labels = Some(labels);
            }
        }
        pod_defaults::template(template);
    }

    fn prepare_create(&self, _cx: &Context<'_>, rc: &mut ReplicationController) {
        rc.status = None;
        rc.metadata.generation = Some(1);
        if let Some(t) = rc.spec.as_mut().and_then(|s| s.template.as_mut()) {
            template::drop_disabled(t, None);
        }
    }

    fn prepare_update(&self, cx: &Context<'_>, rc: &mut ReplicationController, old: &ReplicationController) {
        if cx.subresource == "status" {
            rc.spec.clone_from(&old.spec);
            return;
        }
        rc.status.clone_from(&old.status);
        if let Some(t) = rc.spec.as_mut().and_then(|s| s.template.as_mut()) {
            template::drop_disabled(t, old.spec.as_ref().and_then(|s| s.template.as_ref()));
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, rc: &ReplicationController) -> ErrorList {
        let mut errs = meta::object_meta(&rc.metadata, true, long_name);
        errs.extend(validate_spec(&rc.spec.clone().unwrap_or_default(), None));
        errs
    }

    fn validate_update(
        &self,
        cx: &Context<'_>,
        rc: &ReplicationController,
        old: &ReplicationController,
    ) -> ErrorList {
        let mut errs = meta::object_meta_update(&rc.metadata, &old.metadata);
        if cx.subresource == "status" {
            errs.extend(validate_status(&rc.status.clone().unwrap_or_default()));
            return errs;
        }
        let (spec, had) = (rc.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        errs.extend(validate_spec(&spec, had.template.as_ref()));
        errs.extend(non_convertible(&spec, &had, &old.metadata));
        errs
    }

    fn warnings(
        &self,
        cx: &Context<'_>,
        rc: &ReplicationController,
        old: Option<&ReplicationController>,
    ) -> Vec<String> {
        let mut out = Vec::new();
        let warned = match old {
            None => {
                out.extend(template::name_warning(&rc.metadata));
                rc
            }
            Some(old) if cx.subresource == "status" || self.spec_changed(rc, old) != Some(true) => {
                return out;
            }
            // Upstream warns of the template that was.
            Some(old) => old,
        };
        if let Some(t) = warned.spec.as_ref().and_then(|s| s.template.as_ref()) {
            out.extend(pod_warnings::on_template(t, &Path::new("spec").child("template")));
        }
        out
    }

    fn spec_changed(&self, rc: &ReplicationController, old: &ReplicationController) -> Option<bool> {
        Some(!equal::values(&rc.spec, &old.spec))
    }

    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn fields(&self, rc: &ReplicationController) -> Vec<(&'static str, String)> {
        vec![("status.replicas", rc.status.as_ref().map_or(0, |s| s.replicas).to_string())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, rc: &ReplicationController, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (rc.spec.clone().unwrap_or_default(), rc.status.clone().unwrap_or_default());
        let [names, images] = template::container_cells(spec.template.as_ref());
        vec![
            print::name(&rc.metadata),
            spec.replicas.unwrap_or(0).into(),
            status.replicas.into(),
            status.ready_replicas.unwrap_or(0).into(),
            print::age(rc.metadata.creation_timestamp.as_ref(), now).into(),
            names,
            images,
            print::labels(spec.selector.as_ref()).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        long_name(name, prefix)
    }
}
