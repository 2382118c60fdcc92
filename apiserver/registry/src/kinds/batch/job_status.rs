//! A job's status: what it may say, and how it may change. Rules hold only for what a change touches, so that
//! a status that broke one before can still be written.

use super::indexes;
use super::job_policy::invalid_unshown;
use super::job_spec::is_indexed;
use crate::kinds::core::equal;
use crate::kinds::go_types;
use crate::kinds::prelude::*;
use crate::kinds::template::not_negative;
use gantry_types::k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use std::collections::BTreeSet;

/// Whether a condition has that status.
pub fn has(status: &JobStatus, condition: &str, value: &str) -> bool {
    list(&status.conditions).iter().any(|c| c.type_ == condition && c.status == value)
}

/// The conditions a status has, as far as rules speak of them.
#[derive(Clone, Copy, PartialEq)]
struct Ends {
    complete: bool,
    failed: bool,
    failure_target: bool,
    success_criteria: bool,
}

impl Ends {
    fn of(s: &JobStatus) -> Self {
        let is = |condition| has(s, condition, "True");
        Self {
            complete: is("Complete"),
            failed: is("Failed"),
            failure_target: is("FailureTarget"),
            success_criteria: is("SuccessCriteriaMet"),
        }
    }

    fn finished(self) -> bool {
        self.complete || self.failed
    }
}

struct Change<'a> {
    spec: &'a JobSpec,
    new: &'a JobStatus,
    old: &'a JobStatus,
    is: Ends,
    was: Ends,
}

fn counts(s: &JobStatus, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (field, n) in [
        ("active", s.active),
        ("succeeded", s.succeeded),
        ("failed", s.failed),
        ("ready", s.ready),
        ("terminating", s.terminating),
    ] {
        errs.extend(not_negative(n.map(i64::from), &path.child(field)));
    }
    let Some(uncounted) = &s.uncounted_terminated_pods else { return errs };
    let path = path.child("uncountedTerminatedPods");
    let mut seen = BTreeSet::new();
    for (field, uids) in [("succeeded", &uncounted.succeeded), ("failed", &uncounted.failed)] {
        for (i, uid) in list(uids).iter().enumerate() {
            let at = path.child(field).index(i);
            if uid.is_empty() {
                errs.push(Error::invalid(&at, uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errs.push(Error::duplicate(&at, uid));
            }
        }
    }
    errs
}

impl Change<'_> {
    fn conditions(&self, at: &Path) -> ErrorList {
        let Self { is, was, .. } = *self;
        let complete_changed = is.complete != was.complete;
        let failed_changed = is.failed != was.failed;
        let failed_indexes_changed = self.new.failed_indexes != self.old.failed_indexes;
        let has_policy = self.spec.success_policy.is_some();
        let rules = [
            (
                (complete_changed || failed_changed) && is.complete && is.failed,
                "cannot set Complete=True and Failed=true conditions",
            ),
            (
                (complete_changed || is.failure_target != was.failure_target)
                    && is.complete
                    && is.failure_target,
                "cannot set Complete=True and FailureTarget=true conditions",
            ),
            (
                (failed_changed || failed_indexes_changed) && is.failed && !is.failure_target,
                "cannot set Failed=True condition without the FailureTarget=true condition",
            ),
            (
                (complete_changed || is.success_criteria != was.success_criteria)
                    && is.complete
                    && !is.success_criteria,
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            ),
            (
                is.success_criteria && is.failed,
                "cannot set SuccessCriteriaMet=True and Failed=true conditions",
            ),
            (
                is.success_criteria && is.failure_target,
                "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
            ),
            (
                has_policy && !is.success_criteria && is.complete,
                "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
            ),
            (was.failed && !is.failed, "cannot disable the terminal Failed=True condition"),
            (was.complete && !is.complete, "cannot disable the terminal Complete=True condition"),
            (
                was.failure_target && !is.failure_target,
                "cannot disable the terminal FailureTarget=True condition",
            ),
            (
                was.success_criteria && !is.success_criteria,
                "cannot disable the SuccessCriteriaMet=True condition",
            ),
            (
                was.complete && !was.success_criteria && is.success_criteria,
                "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
            ),
        ];
        let broken = rules.into_iter().filter(|(broken, _)| *broken);
        broken.map(|(_, why)| invalid_unshown(at, why)).collect()
    }

    fn times(&self, path: &Path) -> ErrorList {
        let Self { new, old, is, was, .. } = *self;
        let (start, end) = (new.start_time.as_ref(), new.completion_time.as_ref());
        let start_changed = !equal::times(start, old.start_time.as_ref());
        let end_changed = !equal::times(end, old.completion_time.as_ref());
        let at = path.child("completionTime");
        let mut errs = ErrorList::new();
        if is.complete != was.complete || end_changed {
            match end {
                Some(end) if !is.complete => {
                    let why = "cannot set completionTime when there is no Complete=True condition";
                    errs.push(Error::invalid(&at, end, why));
                }
                None if is.complete => {
                    errs.push(Error::required(&at, "completionTime is required for Complete jobs"));
                }
                _ => {}
            }
        }
        if let (Some(start), Some(end)) = (start, end)
            && (start_changed || end_changed)
            && end < start
        {
            errs.push(Error::invalid(&at, end, "must be equal to or after `startTime`"));
        }
        if let (Some(end), Some(_)) = (end, &old.completion_time)
            && end_changed
        {
            errs.push(Error::invalid(&at, end, "field is immutable"));
        }
        let suspended = flag(self.spec.suspend);
        let at = path.child("startTime");
        let without_work = suspended && self.spec.completions == Some(0);
        let finished_changed = is.finished() != was.finished();
        if (finished_changed || start_changed) && !without_work && start.is_none() && is.finished() {
            errs.push(Error::required(&at, "startTime is required for finished job"));
        }
        let resuming = has(old, "Suspended", "True") && has(new, "Suspended", "False");
        if start_changed && !resuming && old.start_time.is_some() && !suspended {
            let why = "field is immutable for unsuspended job once set";
            errs.push(Error::invalid(&at, &new.start_time, why));
        }
        errs
    }

    fn pods(&self, path: &Path) -> ErrorList {
        let Self { new, old, is, was, .. } = *self;
        let mut errs = ErrorList::new();
        let finished_changed = is.finished() != was.finished();
        let active = new.active.unwrap_or(0);
        let active_changed = active != old.active.unwrap_or(0);
        if (finished_changed || active_changed) && active > 0 && is.finished() {
            let why = "active>0 is invalid for finished job";
            errs.push(Error::invalid(&path.child("active"), &active, why));
        }
        let terminating_changed = new.terminating != old.terminating;
        if let Some(n) = new.terminating.filter(|n| *n > 0)
            && (finished_changed || terminating_changed)
            && is.finished()
        {
            let why = "terminating>0 is invalid for finished job";
            errs.push(Error::invalid(&path.child("terminating"), &n, why));
        }
        if let Some(n) = new.ready.filter(|n| *n > active)
            && (new.ready != old.ready || active_changed)
        {
            let why = "cannot set more ready pods than active";
            errs.push(Error::invalid(&path.child("ready"), &n, why));
        }
        let uncounted = new.uncounted_terminated_pods.as_ref();
        let uncounted_changed = !equal::values(&uncounted, &old.uncounted_terminated_pods.as_ref());
        if let Some(u) = uncounted
            && (finished_changed || uncounted_changed)
            && is.finished()
            && !(list(&u.succeeded).is_empty() && list(&u.failed).is_empty())
        {
            let value = go_types::print("UncountedTerminatedPods", u);
            let at = path.child("uncountedTerminatedPods");
            errs.push(invalid_raw(&at, value, "must be empty for finished job"));
        }
        let failed = new.failed.unwrap_or(0);
        if failed < old.failed.unwrap_or(0) {
            let why = "cannot decrease the failed counter";
            errs.push(Error::invalid(&path.child("failed"), &failed, why));
        }
        // An elastic indexed job may be scaled down.
        let elastic = is_indexed(self.spec) && self.spec.completions == self.spec.parallelism;
        let succeeded = new.succeeded.unwrap_or(0);
        if !elastic && succeeded < old.succeeded.unwrap_or(0) {
            let why = "cannot decrease the succeeded counter";
            errs.push(Error::invalid(&path.child("succeeded"), &succeeded, why));
        }
        errs
    }

    fn indexes(&self, path: &Path) -> ErrorList {
        let Self { spec, new, old, .. } = *self;
        let (completed, failed) = (text(&new.completed_indexes), new.failed_indexes.as_deref());
        let completed_changed = completed != text(&old.completed_indexes);
        let failed_changed = failed != old.failed_indexes.as_deref();
        let (completed_at, failed_at) = (path.child("completedIndexes"), path.child("failedIndexes"));
        let mut errs = ErrorList::new();
        if let Some(completions) = spec.completions {
            if completed_changed && let Err(why) = indexes::count(completed, completions) {
                let why = format!("error parsing completedIndexes: {why}");
                errs.push(Error::invalid(&completed_at, completed, why));
            }
            if let Some(failed) = failed.filter(|_| spec.backoff_limit_per_index.is_some())
                && failed_changed
                && let Err(why) = indexes::count(failed, completions)
            {
                let why = format!("error parsing failedIndexes: {why}");
                errs.push(Error::invalid(&failed_at, failed, why));
            }
            if let Some(failed) = failed.filter(|_| failed_changed || completed_changed)
                && let Some(index) = indexes::overlap(completed, failed, completions)
            {
                let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
                errs.push(Error::invalid(&failed_at, failed, why));
            }
        }
        if completed_changed && !completed.is_empty() && !is_indexed(spec) {
            let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errs.push(Error::invalid(&completed_at, completed, why));
        }
        if let Some(failed) = failed.filter(|_| failed_changed && spec.backoff_limit_per_index.is_none()) {
            let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errs.push(Error::invalid(&failed_at, failed, why));
        }
        errs
    }
}

pub fn update(job: &Job, old: &Job) -> ErrorList {
    let path = Path::new("status");
    let spec = job.spec.clone().unwrap_or_default();
    let (new, old) = (job.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    let (is, was) = (Ends::of(&new), Ends::of(&old));
    let change = Change { spec: &spec, new: &new, old: &old, is, was };
    let mut errs = counts(&new, &path);
    errs.extend(change.conditions(&path.child("conditions")));
    errs.extend(change.times(&path));
    errs.extend(change.pods(&path));
    errs.extend(change.indexes(&path));
    errs
}
