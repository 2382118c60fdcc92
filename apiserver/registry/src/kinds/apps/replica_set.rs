//! `apps/v1` ReplicaSet.

use crate::kinds::core::{equal, pod_defaults, pod_warnings};
use crate::kinds::prelude::*;
use crate::kinds::template::{self, not_negative, present};
use crate::kinds::validate::options::PodOptions;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use gantry_types::{Document, StatusResult};

/// The selector never changes.
pub struct ReplicaSets;

fn validate_spec(s: &ReplicaSetSpec, options: &PodOptions) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = ErrorList::new();
    errs.extend(not_negative(s.replicas.map(i64::from), &path.child("replicas")));
    errs.extend(not_negative(s.min_ready_seconds.map(i64::from), &path.child("minReadySeconds")));
    let template = s.template.clone().unwrap_or_default();
    errs.extend(super::selector_and_template(present(&s.selector), &template, options, &path));
    errs
}

fn validate_status(s: &ReplicaSetStatus) -> ErrorList {
    let counts = template::Counts {
        replicas: s.replicas,
        fully_labeled: s.fully_labeled_replicas,
        ready: s.ready_replicas,
        available: s.available_replicas,
        terminating: s.terminating_replicas,
        observed_generation: s.observed_generation,
    };
    counts.validate()
}

impl Strategy for ReplicaSets {
    type Kind = ReplicaSet;

    fn read(&self, object: &mut Document) -> StatusResult<()> {
        template::mark_selector(object);
        Ok(())
    }

    fn default(&self, rs: &mut ReplicaSet) {
        rs.status.get_or_insert_default();
        let s = rs.spec.get_or_insert_default();
        s.replicas.get_or_insert(1);
        pod_defaults::template(s.template.get_or_insert_default());
    }

    fn prepare_create(&self, _cx: &Context<'_>, rs: &mut ReplicaSet) {
        rs.status = None;
        rs.metadata.generation = Some(1);
        if let Some(t) = rs.spec.as_mut().and_then(|s| s.template.as_mut()) {
            template::drop_disabled(t, None);
        }
    }

    fn prepare_update(&self, cx: &Context<'_>, rs: &mut ReplicaSet, old: &ReplicaSet) {
        if cx.subresource == "status" {
            rs.spec.clone_from(&old.spec);
            return;
        }
        rs.status.clone_from(&old.status);
        if let Some(t) = rs.spec.as_mut().and_then(|s| s.template.as_mut()) {
            template::drop_disabled(t, old.spec.as_ref().and_then(|s| s.template.as_ref()));
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, rs: &ReplicaSet) -> ErrorList {
        let mut errs = meta::object_meta(&rs.metadata, true, meta::subdomain_name);
        errs.extend(validate_spec(&rs.spec.clone().unwrap_or_default(), &template::options(None)));
        errs
    }

    fn validate_update(&self, cx: &Context<'_>, rs: &ReplicaSet, old: &ReplicaSet) -> ErrorList {
        let mut errs = meta::object_meta_update(&rs.metadata, &old.metadata);
        if cx.subresource == "status" {
            errs.extend(validate_status(&rs.status.clone().unwrap_or_default()));
            return errs;
        }
        let (spec, had) = (rs.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        errs.extend(validate_spec(&spec, &template::options(had.template.as_ref())));
        errs.extend(super::selector_kept(Some(&spec.selector), Some(&had.selector)));
        errs
    }

    fn warnings(&self, cx: &Context<'_>, rs: &ReplicaSet, old: Option<&ReplicaSet>) -> Vec<String> {
        let mut out = Vec::new();
        match old {
            None => out.extend(template::name_warning(&rs.metadata)),
            Some(old) if cx.subresource == "status" || self.spec_changed(rs, old) != Some(true) => {
                return out;
            }
            Some(_) => {}
        }
        if let Some(template) = rs.spec.as_ref().and_then(|s| s.template.as_ref()) {
            out.extend(pod_warnings::on_template(template, &Path::new("spec").child("template")));
        }
        out
    }

    fn spec_changed(&self, rs: &ReplicaSet, old: &ReplicaSet) -> Option<bool> {
        Some(!equal::values(&rs.spec, &old.spec))
    }

    fn fields(&self, rs: &ReplicaSet) -> Vec<(&'static str, String)> {
        vec![("status.replicas", rs.status.as_ref().map_or(0, |s| s.replicas).to_string())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, rs: &ReplicaSet, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (rs.spec.clone().unwrap_or_default(), rs.status.clone().unwrap_or_default());
        let [names, images] = template::container_cells(spec.template.as_ref());
        vec![
            print::name(&rs.metadata),
            spec.replicas.unwrap_or(0).into(),
            status.replicas.into(),
            status.ready_replicas.unwrap_or(0).into(),
            print::age(rs.metadata.creation_timestamp.as_ref(), now).into(),
            names,
            images,
            print::selector(Some(&spec.selector)).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
