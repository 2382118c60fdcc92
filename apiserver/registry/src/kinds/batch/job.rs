//! `batch/v1` Job.

use super::{job_spec, job_status};
use crate::kinds::core::{equal, pod_defaults};
use crate::kinds::prelude::*;
use crate::kinds::template;
use crate::kinds::validate::options::PodOptions;
use crate::kinds::validate::{meta, selector};
use crate::kinds::{go_types, print};
use gantry_types::k8s_openapi::api::batch::v1::{Job, JobSpec};
use gantry_types::k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use std::collections::BTreeMap;

/// A job selects its pods by its UID unless told otherwise, and never changes what it runs once it has started.
pub struct Jobs;

const NAME: &str = "batch.kubernetes.io/job-name";
const UID: &str = "batch.kubernetes.io/controller-uid";
const OLD_NAME: &str = "job-name";
const OLD_UID: &str = "controller-uid";

/// The generation of a job about to be created that has its template's labels for want of its own: it also gets
/// those the server adds there, once nobody can be taken to own them. Real generations begin at 1.
const SHARED_LABELS: i64 = 0;

fn template_labels(s: &JobSpec) -> BTreeMap<String, String> {
    s.template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default()
}

/// Labels the template and selects by them; what the client set stays, and is judged later.
fn generate_selector(job: &mut Job) {
    let (name, uid) = (text(&job.metadata.name).to_owned(), text(&job.metadata.uid).to_owned());
    let spec = job.spec.get_or_insert_default();
    let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
    for (label, value) in [(OLD_NAME, &name), (NAME, &name), (OLD_UID, &uid), (UID, &uid)] {
        labels.entry(label.to_owned()).or_insert_with(|| value.clone());
    }
    let selector = spec.selector.get_or_insert_default().match_labels.get_or_insert_default();
    selector.entry(UID.to_owned()).or_insert(uid);
}

/// Where the selector is the server's, it and the labels must be as generated. Jobs of older versions have no
/// prefixed labels.
fn generated_selector(job: &Job, s: &JobSpec, prefixed: bool) -> ErrorList {
    let mut errs = ErrorList::new();
    let Some(selector) = s.selector.as_ref().filter(|_| !flag(s.manual_selector)) else { return errs };
    let (name, uid) = (text(&job.metadata.name), text(&job.metadata.uid));
    if uid.is_empty() {
        errs.push(Error::required(&Path::new("metadata").child("uid"), ""));
    }
    let mut expected = vec![(OLD_UID, uid), (OLD_NAME, name)];
    if prefixed {
        expected.extend([(UID, uid), (NAME, name)]);
    }
    let labels = template_labels(s);
    let path = Path::new("spec").child("template").child("metadata").child("labels");
    for (label, value) in &expected {
        let why = format!("must be '{value}'");
        match labels.get(*label) {
            None => errs.push(Error::required(&path.key(label), why)),
            Some(v) if v != value => errs.push(Error::invalid(&path.key(label), &labels, why)),
            Some(_) => {}
        }
    }
    let at = Path::new("spec").child("selector");
    let readable = selector::label_selector(Some(selector), selector::Options::default(), &at).is_empty();
    let expected = expected.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    if readable && !selector::matches(selector, &expected) {
        errs.push(invalid_raw(&at, selector::go_json(Some(selector)), "`selector` not auto-generated"));
    }
    errs
}

fn validate_spec(s: &JobSpec, options: &PodOptions, invalid_values: bool) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = job_spec::validate(s, options, &path);
    let at = path.child("selector");
    let selector = s.selector.as_ref();
    if selector.is_none() {
        errs.push(Error::required(&at, ""));
    }
    let allowed = selector::Options { allow_invalid_values: invalid_values };
    errs.extend(selector::label_selector(selector, allowed, &at));
    let readable = selector::label_selector(selector, selector::Options::default(), &at).is_empty();
    if readable && !selector.is_some_and(|s_| selector::matches(s_, &template_labels(s))) {
        let at = path.child("template").child("metadata").child("labels");
        let labels = s.template.metadata.as_ref().and_then(|m| m.labels.as_ref());
        errs.push(Error::invalid(&at, &labels, "`selector` does not match template `labels`"));
    }
    errs
}

/// The rules of a job whole, new or changed.
fn validate(job: &Job, options: &PodOptions, invalid_values: bool, prefixed: bool) -> ErrorList {
    let spec = job.spec.clone().unwrap_or_default();
    let mut errs = meta::object_meta(&job.metadata, true, meta::subdomain_name);
    errs.extend(generated_selector(job, &spec, prefixed));
    errs.extend(validate_spec(&spec, options, invalid_values));
    if let Some(completions) = spec.completions.filter(|n| *n > 0 && job_spec::is_indexed(&spec)) {
        let name = text(&job.metadata.name);
        // The longest hostname its pods will have.
        let host = format!("{name}-{}", completions - 1);
        if !names::dns1123_label(&host).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {host}");
            errs.push(Error::invalid(&Path::new("metadata").child("name"), name, why));
        }
    }
    errs
}

/// Whether where and with what the pods run may change: nothing of the job runs or ever ran, or all of it has
/// been suspended.
fn may_move(old: &Job) -> bool {
    let status = old.status.clone().unwrap_or_default();
    let suspended = old.spec.as_ref().is_some_and(|s| flag(s.suspend));
    let stopped = status.start_time.is_none() || job_status::has(&status, "Suspended", "True");
    suspended && stopped && status.active.unwrap_or(0) == 0
}

/// The old template with what a stopped job may change taken from the new one.
fn with_directives(new: &PodTemplateSpec, old: &PodTemplateSpec) -> PodTemplateSpec {
    let mut out = old.clone();
    let wanted = new.spec.clone().unwrap_or_default();
    let spec = out.spec.get_or_insert_default();
    let nodes = wanted.affinity.as_ref().and_then(|a| a.node_affinity.clone());
    match (&wanted.affinity, &mut spec.affinity) {
        (None, Some(had)) => {
            had.node_affinity = None;
            if had.pod_affinity.is_none() && had.pod_anti_affinity.is_none() {
                spec.affinity = None;
            }
        }
        (Some(_), had) => had.get_or_insert_default().node_affinity = nodes,
        (None, None) => {}
    }
    spec.node_selector = wanted.node_selector;
    spec.tolerations = wanted.tolerations;
    spec.scheduling_gates = wanted.scheduling_gates;
    let given = new.metadata.clone().unwrap_or_default();
    let metadata = out.metadata.get_or_insert_default();
    (metadata.annotations, metadata.labels) = (given.annotations, given.labels);
    out
}

/// The old pod with the resources of the new one's containers, where these go by the same names.
fn with_resources(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut out = old.clone();
    let (init, old_init) = (list(&new.init_containers), out.init_containers.iter_mut().flatten());
    let pairs = out.containers.iter_mut().zip(&new.containers);
    if old.containers.len() == new.containers.len() {
        for (had, new) in pairs.filter(|(had, new)| had.name == new.name) {
            had.resources.clone_from(&new.resources);
        }
    }
    if list(&old.init_containers).len() == init.len() {
        for (had, new) in old_init.zip(init).filter(|(had, new)| had.name == new.name) {
            had.resources.clone_from(&new.resources);
        }
    }
    out
}

fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let none = PodSpec::default();
    let metadata = |t: &PodTemplateSpec| t.metadata.clone().unwrap_or_default();
    equal::values(&metadata(a), &metadata(b))
        && equal::specs(a.spec.as_ref().unwrap_or(&none), b.spec.as_ref().unwrap_or(&none))
}

fn template_update(s: &JobSpec, old: &JobSpec, may_move: bool) -> Option<Error> {
    let path = Path::new("spec");
    if !may_move {
        let printed = || go_types::print("PodTemplateSpec", &s.template);
        let at = path.child("template");
        return (!same_template(&s.template, &old.template))
            .then(|| invalid_raw(&at, printed(), meta::IMMUTABLE));
    }
    let kept = with_directives(&s.template, &old.template);
    let spec = s.template.spec.clone().unwrap_or_default();
    let kept = with_resources(&spec, &kept.spec.unwrap_or_default());
    let at = path.child("template.spec");
    (!equal::specs(&spec, &kept))
        .then(|| invalid_raw(&at, go_types::print("PodSpec", &spec), meta::IMMUTABLE))
}

/// How many completions there are to be changes only with how many run at once.
fn completions_update(s: &JobSpec, old: &JobSpec) -> Option<Error> {
    let at = Path::new("spec").child("completions");
    if !job_spec::is_indexed(s) {
        return meta::immutable(&s.completions, &old.completions, &at);
    }
    let n = s.completions.filter(|n| Some(*n) != old.completions && Some(*n) != s.parallelism)?;
    Some(Error::invalid(&at, &n, "can only be modified in tandem with spec.parallelism"))
}

fn spec_update(s: &JobSpec, old: &JobSpec, may_move: bool) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = ErrorList::new();
    errs.extend(completions_update(s, old));
    if !equal::values(&s.selector, &old.selector) {
        let value = selector::go_json(s.selector.as_ref());
        errs.push(invalid_raw(&path.child("selector"), value, meta::IMMUTABLE));
    }
    errs.extend(template_update(s, old, may_move));
    errs.extend(meta::immutable(&s.completion_mode, &old.completion_mode, &path.child("completionMode")));
    let print = |kind, is_some: bool, text: String| {
        let at = path.child(kind);
        invalid_raw(&at, if is_some { text } else { "null".to_owned() }, meta::IMMUTABLE)
    };
    if !equal::values(&s.pod_failure_policy, &old.pod_failure_policy) {
        let text = go_types::print("PodFailurePolicy", &s.pod_failure_policy);
        errs.push(print("podFailurePolicy", s.pod_failure_policy.is_some(), text));
    }
    let at = path.child("backoffLimitPerIndex");
    errs.extend(meta::immutable(&s.backoff_limit_per_index, &old.backoff_limit_per_index, &at));
    errs.extend(meta::immutable(&s.managed_by, &old.managed_by, &path.child("managedBy")));
    if !equal::values(&s.success_policy, &old.success_policy) {
        let text = go_types::print("SuccessPolicy", &s.success_policy);
        errs.push(print("successPolicy", s.success_policy.is_some(), text));
    }
    errs
}

/// Defaults a template of a job lacks: only jobs themselves have them.
fn default_spec(s: &mut JobSpec) {
    if s.parallelism.is_none() {
        s.completions.get_or_insert(1);
        s.parallelism = Some(1);
    }
    let retries = if s.backoff_limit_per_index.is_some() { i32::MAX } else { 6 };
    s.backoff_limit.get_or_insert(retries);
    s.completion_mode.get_or_insert_with(|| "NonIndexed".to_owned());
    s.suspend.get_or_insert(false);
    s.manual_selector.get_or_insert(false);
    let replacement = if s.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    s.pod_replacement_policy.get_or_insert_with(|| replacement.to_owned());
}

/// Defaults of a job's parts, its own or in a cron job.
pub fn default_parts(s: &mut JobSpec) {
    let rules = s.pod_failure_policy.iter_mut().flat_map(|p| p.rules.iter_mut());
    for pattern in rules.flat_map(|r| r.on_pod_conditions.iter_mut().flatten()) {
        default_text(&mut pattern.status, "True");
    }
    pod_defaults::template(&mut s.template);
}

fn completions_cell(spec: &JobSpec, succeeded: i32) -> String {
    match (spec.completions, spec.parallelism) {
        (Some(n), _) => format!("{succeeded}/{n}"),
        (None, Some(n)) if n > 1 => format!("{succeeded}/1 of {n}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

impl Strategy for Jobs {
    type Kind = Job;

    fn default(&self, job: &mut Job) {
        job.status.get_or_insert_default();
        let s = job.spec.get_or_insert_default();
        default_spec(s);
        default_parts(s);
        let labels = s.template.metadata.as_ref().and_then(|m| m.labels.clone());
        if job.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty) && labels.is_some() {
            job.metadata.labels = labels;
            job.metadata.generation.get_or_insert(SHARED_LABELS);
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, job: &mut Job) {
        if !job.spec.as_ref().is_some_and(|s| flag(s.manual_selector)) {
            generate_selector(job);
            if job.metadata.generation == Some(SHARED_LABELS) {
                job.metadata.labels = job.spec.as_ref().map(template_labels);
            }
        }
        job.status = None;
        job.metadata.generation = Some(1);
        if let Some(spec) = &mut job.spec {
            template::drop_disabled(&mut spec.template, None);
        }
    }

    fn prepare_update(&self, cx: &Context<'_>, job: &mut Job, old: &Job) {
        if cx.subresource == "status" {
            job.spec.clone_from(&old.spec);
            return;
        }
        job.status.clone_from(&old.status);
        if let Some(spec) = &mut job.spec {
            template::drop_disabled(&mut spec.template, old.spec.as_ref().map(|s| &s.template));
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, job: &Job) -> ErrorList {
        validate(job, &template::options(None), false, true)
    }

    fn validate_update(&self, cx: &Context<'_>, job: &Job, old: &Job) -> ErrorList {
        let metadata = meta::object_meta_update(&job.metadata, &old.metadata);
        if cx.subresource == "status" {
            let mut errs = metadata;
            errs.extend(job_status::update(job, old));
            return errs;
        }
        let (spec, had) = (job.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        let options = template::options(Some(&had.template));
        let invalid_values = selector::has_invalid_values(had.selector.as_ref());
        let labels = template_labels(&had);
        let prefixed = labels.contains_key(NAME) && labels.contains_key(UID);
        let mut errs = validate(job, &options, invalid_values, prefixed);
        errs.extend(metadata);
        // Upstream judges the spec twice, and answers so.
        errs.extend(validate_spec(&spec, &options, invalid_values));
        errs.extend(spec_update(&spec, &had, may_move(old)));
        errs
    }

    fn warnings(&self, cx: &Context<'_>, job: &Job, old: Option<&Job>) -> Vec<String> {
        let mut out = Vec::new();
        match old {
            None => out.extend(template::name_warning(&job.metadata)),
            Some(old) if cx.subresource == "status" || self.spec_changed(job, old) != Some(true) => {
                return out;
            }
            Some(_) => {}
        }
        if let Some(spec) = &job.spec {
            out.extend(job_spec::warnings(spec, &Path::new("spec")));
        }
        out
    }

    fn spec_changed(&self, job: &Job, old: &Job) -> Option<bool> {
        Some(!equal::values(&job.spec, &old.spec))
    }

    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn propagation_warning(&self) -> Option<&'static str> {
        Some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
        )
    }

    fn fields(&self, job: &Job) -> Vec<(&'static str, String)> {
        let succeeded = job.status.as_ref().and_then(|s| s.succeeded).unwrap_or(0);
        vec![("status.successful", succeeded.to_string())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn field_members(&self) -> &'static [&'static str] {
        &["status.succeeded"]
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, job: &Job, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (job.spec.clone().unwrap_or_default(), job.status.clone().unwrap_or_default());
        let is = |condition| job_status::has(&status, condition, "True");
        let state = match () {
            () if is("Complete") => "Complete",
            () if is("Failed") => "Failed",
            () if job.metadata.deletion_timestamp.is_some() => "Terminating",
            () if is("Suspended") => "Suspended",
            () if is("FailureTarget") => "FailureTarget",
            () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
            () => "Running",
        };
        let end = status.completion_time.as_ref().map_or(now, |t| t.0);
        let took = status.start_time.as_ref().map(|start| print::ago(start.0, end)).unwrap_or_default();
        let [names, images] = template::container_cells(Some(&spec.template));
        vec![
            print::name(&job.metadata),
            state.into(),
            completions_cell(&spec, status.succeeded.unwrap_or(0)).into(),
            took.into(),
            print::age(job.metadata.creation_timestamp.as_ref(), now).into(),
            names,
            images,
            print::selector(spec.selector.as_ref()).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
