//! `apps/v1` Deployment.

use crate::kinds::core::{equal, pod_defaults, pod_warnings};
use crate::kinds::prelude::*;
use crate::kinds::template::{self, amount, at_most_all, count_or_percent, not_negative, present};
use crate::kinds::validate::options::PodOptions;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment,
};
use gantry_types::{Document, StatusResult};

/// The selector never changes; annotations count as part of the desired state.
pub struct Deployments;

fn rolling_update(r: &RollingUpdateDeployment, path: &Path) -> ErrorList {
    let zero = IntOrString::Int(0);
    let unavailable = r.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = r.max_surge.as_ref().unwrap_or(&zero);
    let at = path.child("maxUnavailable");
    let mut errs = count_or_percent(unavailable, &at);
    errs.extend(count_or_percent(surge, &path.child("maxSurge")));
    if amount(unavailable) == 0 && amount(surge) == 0 {
        errs.push(Error::invalid(&at, unavailable, "may not be 0 when `maxSurge` is 0"));
    }
    errs.extend(at_most_all(unavailable, &at));
    errs
}

fn strategy(s: &DeploymentStrategy, path: &Path) -> ErrorList {
    let at = path.child("rollingUpdate");
    match text(&s.type_) {
        "Recreate" => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            s.rolling_update.iter().map(|_| Error::forbidden(&at, why)).collect()
        }
        "RollingUpdate" => match &s.rolling_update {
            None => vec![Error::required(&at, "this should be defaulted and never be nil")],
            Some(r) => rolling_update(r, &at),
        },
        other => {
            let mut e = Error::not_supported(path, other, &["Recreate", "RollingUpdate"]);
            // The whole strategy is the bad value, printed as Go's internal type.
            let rolling = s.rolling_update.as_ref().map_or("null".to_owned(), |r| {
                let show = |v: &Option<IntOrString>| {
                    v.as_ref().map_or("0".to_owned(), |v| serde_json::to_string(v).unwrap_or_default())
                };
                format!(
                    "{{\"MaxUnavailable\":{},\"MaxSurge\":{}}}",
                    show(&r.max_unavailable),
                    show(&r.max_surge)
                )
            });
            let kind = gantry_types::field::go_quote(other);
            e.value = Some(format!("{{\"Type\":{kind},\"RollingUpdate\":{rolling}}}"));
            vec![e]
        }
    }
}

fn validate_spec(s: &DeploymentSpec, options: &PodOptions) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = ErrorList::new();
    errs.extend(not_negative(s.replicas.map(i64::from), &path.child("replicas")));
    errs.extend(super::selector_and_template(present(&s.selector), &s.template, options, &path));
    errs.extend(strategy(&s.strategy.clone().unwrap_or_default(), &path.child("strategy")));
    let ready = s.min_ready_seconds.unwrap_or(0);
    errs.extend(not_negative(Some(i64::from(ready)), &path.child("minReadySeconds")));
    let at = path.child("revisionHistoryLimit");
    errs.extend(not_negative(s.revision_history_limit.map(i64::from), &at));
    let at = path.child("progressDeadlineSeconds");
    errs.extend(not_negative(s.progress_deadline_seconds.map(i64::from), &at));
    if let Some(n) = s.progress_deadline_seconds.filter(|n| *n <= ready) {
        errs.push(Error::invalid(&at, &n, "must be greater than minReadySeconds"));
    }
    errs
}

fn validate_status(s: &DeploymentStatus, old: &DeploymentStatus) -> ErrorList {
    let path = Path::new("status");
    let mut errs = ErrorList::new();
    let counts = [
        ("replicas", s.replicas),
        ("updatedReplicas", s.updated_replicas),
        ("readyReplicas", s.ready_replicas),
        ("availableReplicas", s.available_replicas),
        ("unavailableReplicas", s.unavailable_replicas),
        ("terminatingReplicas", s.terminating_replicas),
        ("collisionCount", s.collision_count),
    ];
    errs.extend(not_negative(s.observed_generation, &path.child("observedGeneration")));
    for (field, n) in counts {
        errs.extend(not_negative(n.map(i64::from), &path.child(field)));
    }
    let total = s.replicas.unwrap_or(0);
    for (field, n) in &counts[1..4] {
        let n = n.unwrap_or(0);
        if n > total {
            errs.push(Error::invalid(&path.child(field), &n, "cannot be greater than status.replicas"));
        }
    }
    let available = s.available_replicas.unwrap_or(0);
    if available > s.ready_replicas.unwrap_or(0) {
        let why = "cannot be greater than readyReplicas";
        errs.push(Error::invalid(&path.child("availableReplicas"), &available, why));
    }
    let collisions = s.collision_count.unwrap_or(0);
    if template::decremented(s.collision_count, old.collision_count) {
        errs.push(Error::invalid(&path.child("collisionCount"), &collisions, "cannot be decremented"));
    }
    errs
}

impl Strategy for Deployments {
    type Kind = Deployment;

    fn read(&self, object: &mut Document) -> StatusResult<()> {
        template::mark_selector(object);
        Ok(())
    }

    fn default(&self, d: &mut Deployment) {
        d.status.get_or_insert_default();
        let s = d.spec.get_or_insert_default();
        s.replicas.get_or_insert(1);
        s.revision_history_limit.get_or_insert(10);
        s.progress_deadline_seconds.get_or_insert(600);
        let strategy = s.strategy.get_or_insert_default();
        default_text(&mut strategy.type_, "RollingUpdate");
        if text(&strategy.type_) == "RollingUpdate" {
            let r = strategy.rolling_update.get_or_insert_default();
            r.max_unavailable.get_or_insert_with(|| IntOrString::String("25%".to_owned()));
            r.max_surge.get_or_insert_with(|| IntOrString::String("25%".to_owned()));
        }
        pod_defaults::template(&mut s.template);
    }

    fn prepare_create(&self, _cx: &Context<'_>, d: &mut Deployment) {
        d.status = None;
        d.metadata.generation = Some(1);
        if let Some(spec) = &mut d.spec {
            template::drop_disabled(&mut spec.template, None);
        }
    }

    fn prepare_update(&self, cx: &Context<'_>, d: &mut Deployment, old: &Deployment) {
        if cx.subresource == "status" {
            d.spec.clone_from(&old.spec);
            d.metadata.labels.clone_from(&old.metadata.labels);
            return;
        }
        d.status.clone_from(&old.status);
        if let Some(spec) = &mut d.spec {
            template::drop_disabled(&mut spec.template, old.spec.as_ref().map(|s| &s.template));
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, d: &Deployment) -> ErrorList {
        let mut errs = meta::object_meta(&d.metadata, true, meta::subdomain_name);
        errs.extend(validate_spec(&d.spec.clone().unwrap_or_default(), &template::options(None)));
        errs
    }

    fn validate_update(&self, cx: &Context<'_>, d: &Deployment, old: &Deployment) -> ErrorList {
        let mut errs = meta::object_meta_update(&d.metadata, &old.metadata);
        if cx.subresource == "status" {
            let had = old.status.clone().unwrap_or_default();
            errs.extend(validate_status(&d.status.clone().unwrap_or_default(), &had));
            return errs;
        }
        let (spec, had) = (d.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        errs.extend(validate_spec(&spec, &template::options(Some(&had.template))));
        errs.extend(super::selector_kept(Some(&spec.selector), Some(&had.selector)));
        errs
    }

    fn warnings(&self, cx: &Context<'_>, d: &Deployment, old: Option<&Deployment>) -> Vec<String> {
        let mut out = Vec::new();
        match old {
            None => out.extend(template::name_warning(&d.metadata)),
            Some(old) if cx.subresource == "status" || self.spec_changed(d, old) != Some(true) => return out,
            Some(_) => {}
        }
        if let Some(s) = &d.spec {
            out.extend(pod_warnings::on_template(&s.template, &Path::new("spec").child("template")));
        }
        out
    }

    fn spec_changed(&self, d: &Deployment, old: &Deployment) -> Option<bool> {
        let annotations = same(&d.metadata.annotations, &old.metadata.annotations);
        Some(!annotations || !equal::values(&d.spec, &old.spec))
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec", "metadata.labels"] } else { &["status"] }
    }

    fn row(&self, d: &Deployment, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (d.spec.clone().unwrap_or_default(), d.status.clone().unwrap_or_default());
        let [names, images] = template::container_cells(Some(&spec.template));
        vec![
            print::name(&d.metadata),
            format!("{}/{}", status.ready_replicas.unwrap_or(0), spec.replicas.unwrap_or(0)).into(),
            status.updated_replicas.unwrap_or(0).into(),
            status.available_replicas.unwrap_or(0).into(),
            print::age(d.metadata.creation_timestamp.as_ref(), now).into(),
            names,
            images,
            print::selector_terms(&spec.selector).unwrap_or_else(|| "<invalid>".to_owned()).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
