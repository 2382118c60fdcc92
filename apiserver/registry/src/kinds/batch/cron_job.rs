//! `batch/v1` CronJob.

use super::{job, job_spec};
use crate::kinds::core::equal;
use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::template::{self, not_negative};
use crate::kinds::validate::options::PodOptions;
use crate::kinds::validate::{meta, selector};
use gantry_machinery::cron;
use gantry_types::k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, JobSpec};
use gantry_types::k8s_openapi::api::core::v1::PodTemplateSpec;

/// A job's template, and when to make jobs of it.
pub struct CronJobs;

/// Names of jobs are those of their cron jobs and a suffix of eleven letters, and labels have 63.
const NAME: usize = 52;

fn job_spec_of(s: &CronJobSpec) -> JobSpec {
    s.job_template.spec.clone().unwrap_or_default()
}

fn template_of(s: &CronJobSpec) -> Option<&PodTemplateSpec> {
    s.job_template.spec.as_ref().map(|j| &j.template)
}

/// Schedules of older versions may name their own time zone.
fn schedule(s: &CronJobSpec, old: Option<&CronJobSpec>, path: &Path) -> ErrorList {
    let text = &s.schedule;
    if text.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errs = ErrorList::new();
    if let Err(why) = cron::Schedule::parse(text) {
        errs.push(Error::invalid(path, text, why.to_string()));
    }
    let allowed = old.is_some_and(|o| o.schedule.contains("TZ"));
    if text.contains("TZ") && !allowed {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errs.push(Error::invalid(path, text, why));
    } else if text.contains("TZ") && s.time_zone.is_some() {
        let why = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        errs.push(Error::invalid(path, text, why));
    }
    errs
}

fn time_zone(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return vec![Error::invalid(path, name, "timeZone must be nil or non-empty string")];
    }
    let is_part = |part: &str| {
        (1..=14).contains(&part.len())
            && !part.starts_with('-')
            && !matches!(part, "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
    };
    if !name.split('/').all(is_part) {
        return vec![Error::invalid(path, name, format!("unknown time zone {name}"))];
    }
    let mut errs = ErrorList::new();
    if name.eq_ignore_ascii_case("Local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errs.push(Error::invalid(path, name, why));
    }
    if let Err(why) = cron::time_zone(name) {
        errs.push(Error::invalid(path, name, why.to_string()));
    }
    errs
}

fn validate_spec(s: &CronJobSpec, old: Option<&CronJobSpec>, options: &PodOptions) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = schedule(s, old, &path.child("schedule"));
    errs.extend(not_negative(s.starting_deadline_seconds, &path.child("startingDeadlineSeconds")));
    if let Some(name) = s.time_zone.as_deref().filter(|_| old.is_none_or(|o| o.time_zone != s.time_zone)) {
        errs.extend(time_zone(name, &path.child("timeZone")));
    }
    let at = path.child("concurrencyPolicy");
    match text(&s.concurrency_policy) {
        "" => errs.push(Error::required(&at, "")),
        "Allow" | "Forbid" | "Replace" => {}
        other => errs.push(Error::not_supported(&at, other, &["Allow", "Forbid", "Replace"])),
    }
    let job = job_spec_of(s);
    let at = path.child("jobTemplate").child("spec");
    errs.extend(job_spec::validate(&job, options, &at));
    if job.selector.is_some() {
        let value = selector::go_json(job.selector.as_ref());
        errs.push(invalid_raw(&at.child("selector"), value, "`selector` will be auto-generated"));
    }
    if flag(job.manual_selector) {
        errs.push(Error::not_supported(&at.child("manualSelector"), &true, &["nil", "false"]));
    }
    for (field, n) in [
        ("successfulJobsHistoryLimit", s.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", s.failed_jobs_history_limit),
    ] {
        errs.extend(not_negative(n.map(i64::from), &path.child(field)));
    }
    errs
}

impl Strategy for CronJobs {
    type Kind = CronJob;

    fn default(&self, cron: &mut CronJob) {
        cron.status.get_or_insert_default();
        let s = &mut cron.spec;
        default_text(&mut s.concurrency_policy, "Allow");
        s.suspend.get_or_insert(false);
        s.successful_jobs_history_limit.get_or_insert(3);
        s.failed_jobs_history_limit.get_or_insert(1);
        s.job_template.metadata.get_or_insert_default();
        job::default_parts(s.job_template.spec.get_or_insert_default());
    }

    fn prepare_create(&self, _cx: &Context<'_>, cron: &mut CronJob) {
        cron.status = None;
        cron.metadata.generation = Some(1);
        if let Some(job) = &mut cron.spec.job_template.spec {
            template::drop_disabled(&mut job.template, None);
        }
    }

    fn prepare_update(&self, cx: &Context<'_>, cron: &mut CronJob, old: &CronJob) {
        if cx.subresource == "status" {
            cron.spec.clone_from(&old.spec);
            return;
        }
        cron.status.clone_from(&old.status);
        if let Some(job) = &mut cron.spec.job_template.spec {
            template::drop_disabled(&mut job.template, template_of(&old.spec));
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, cron: &CronJob) -> ErrorList {
        let mut errs = meta::object_meta(&cron.metadata, true, meta::subdomain_name);
        errs.extend(validate_spec(&cron.spec, None, &template::options(None)));
        let name = text(&cron.metadata.name);
        if name.len() > NAME {
            let why = format!("must be no more than {NAME} characters");
            errs.push(Error::invalid(&Path::new("metadata").child("name"), name, why));
        }
        errs
    }

    fn validate_update(&self, cx: &Context<'_>, cron: &CronJob, old: &CronJob) -> ErrorList {
        if cx.subresource == "status" {
            return ErrorList::new();
        }
        let mut errs = meta::object_meta_update(&cron.metadata, &old.metadata);
        let options = template::options(template_of(&old.spec));
        errs.extend(validate_spec(&cron.spec, Some(&old.spec), &options));
        errs
    }

    fn warnings(&self, cx: &Context<'_>, cron: &CronJob, old: Option<&CronJob>) -> Vec<String> {
        let mut out = Vec::new();
        if cx.subresource == "status" {
            return out;
        }
        if old.is_none() {
            out.extend(template::name_warning(&cron.metadata));
        }
        if old.is_none_or(|old| self.spec_changed(cron, old) == Some(true)) {
            let path = Path::new("spec").child("jobTemplate").child("spec");
            out.extend(job_spec::warnings(&job_spec_of(&cron.spec), &path));
        }
        if old.is_some() && cron.spec.schedule.contains("TZ") {
            out.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        out
    }

    fn spec_changed(&self, cron: &CronJob, old: &CronJob) -> Option<bool> {
        Some(!equal::values(&cron.spec, &old.spec))
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, cron: &CronJob, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&cron.spec, cron.status.clone().unwrap_or_default());
        let active = i64::try_from(list(&status.active).len()).unwrap_or(i64::MAX);
        let suspend = match spec.suspend {
            None => "<unset>",
            Some(true) => "True",
            Some(false) => "False",
        };
        let last = status.last_schedule_time.as_ref();
        let [names, images] = template::container_cells(template_of(spec));
        let selector = spec.job_template.spec.as_ref().and_then(|j| j.selector.as_ref());
        vec![
            print::name(&cron.metadata),
            spec.schedule.as_str().into(),
            spec.time_zone.as_deref().unwrap_or("<none>").into(),
            suspend.into(),
            active.into(),
            last.map_or_else(|| "<none>".to_owned(), |t| print::age(Some(t), now)).into(),
            print::age(cron.metadata.creation_timestamp.as_ref(), now).into(),
            names,
            images,
            print::selector(selector).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
