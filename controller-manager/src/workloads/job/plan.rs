//! What a job's pods come to, and which to create or delete.

use super::backoff::{self, Record};
use super::index::{Index, Indexes};
use super::policy::{self, Verdict};
use super::removal;
use super::spec::{self, Spec, condition, has_finalizer, new_condition};
use gantry_reconcile::conditions;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// No more than this many creations or deletions in one go.
const BURST: usize = 500;

/// What a decision needs.
pub(super) struct Snapshot {
    pub job: Arc<Job>,
    /// Those the job controls, the ended and the deleted ones too.
    pub pods: Vec<Arc<Pod>>,
    pub backoff: Record,
}

/// What to do about the number of pods.
#[derive(Debug, Default)]
pub(super) enum Manage {
    #[default]
    Keep,
    /// With `release`, pods lose their tracking finalizer first: they are not to be counted.
    Delete { pods: Vec<Arc<Pod>>, release: bool },
    /// One entry a pod; with its index where the job is indexed.
    Create(Vec<Option<Index>>),
}

/// The indexes of an indexed job.
#[derive(Debug)]
pub(super) struct Done {
    /// As the status has it.
    pub before: Indexes,
    /// With pods that have succeeded since.
    pub succeeded: Indexes,
    /// Where the job limits failures by index.
    pub failed: Option<Indexes>,
}

/// What the pods say, before anything is changed.
#[derive(Debug)]
pub(super) struct Assessment {
    pub manage: Manage,
    /// Whether numbers of pods were looked after, and the suspended condition with them.
    pub managed: bool,
    /// The condition that ends the job: interim, or final where the interim one is there already.
    pub finished: Option<JobCondition>,
    pub status: JobStatus,
    pub active: Vec<Arc<Pod>>,
    pub ready: i32,
    pub terminating: i32,
    pub succeeded: i32,
    pub indexes: Option<Done>,
    /// By index: the failed pod whose failure count the index's next pod is to carry on.
    pub awaiting: BTreeMap<Index, Arc<Pod>>,
    pub backoff: Record,
    /// When to look again without being asked.
    pub next: Option<Duration>,
}

pub(super) fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Judges the job by its pods. `None` for a job without a spec.
pub(super) fn assess(snapshot: &Snapshot, now: Timestamp) -> Option<Assessment> {
    let job = &*snapshot.job;
    let spec = Spec(job.spec.as_ref()?);
    let pods = &snapshot.pods;
    let mut status = job.status.clone().unwrap_or_default();
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default().clone();
    let counted = |list: &Option<Vec<String>>, pod: &Pod| {
        list.iter().flatten().any(|u| Some(u.as_str()) == pod.metadata.uid.as_deref())
    };
    let valid = |p: &Arc<Pod>| has_finalizer(p) && (!spec.indexed() || spec.index(p).is_some());
    let fresh = |list: &Option<Vec<String>>, matching: &dyn Fn(&Pod) -> bool| -> Vec<Arc<Pod>> {
        pods.iter().filter(|p| valid(p) && !counted(list, p) && matching(p)).cloned().collect()
    };
    let succeeded = fresh(&uncounted.succeeded, &|p| conditions::phase(p) == "Succeeded");
    let failed = fresh(&uncounted.failed, &|p| spec.failed(p));
    let blamed = failed.iter().filter(|p| policy::judge(spec, p) != Verdict::Ignore).count();
    let listed = |list: &Option<Vec<String>>| count(list.as_ref().map_or(0, Vec::len));
    let failures = status.failed.unwrap_or(0) + count(blamed) + listed(&uncounted.failed);
    let successes = status.succeeded.unwrap_or(0) + count(succeeded.len()) + listed(&uncounted.succeeded);
    if status.start_time.is_none() && !spec.suspended() {
        status.start_time = Some(Time(now));
    }
    let active: Vec<_> = pods.iter().filter(|p| conditions::is_active(p)).cloned().collect();
    let mut seen = Assessment {
        manage: Manage::Keep,
        managed: false,
        finished: None,
        ready: count(active.iter().filter(|p| conditions::is_ready(p)).count()),
        terminating: count(pods.iter().filter(|p| spec::is_terminating(p)).count()),
        succeeded: successes,
        active,
        indexes: None,
        awaiting: BTreeMap::new(),
        backoff: snapshot.backoff.after(&succeeded, &failed),
        next: None,
        status,
    };
    seen.finished = ending(spec, &mut seen, pods, failures, now);
    if spec.indexed() {
        look_at_indexes(spec, &mut seen, pods, now);
    }
    if seen.finished.is_some() {
        seen.manage = Manage::Delete { pods: seen.active.clone(), release: false };
    } else if job.metadata.deletion_timestamp.is_none() {
        seen.managed = true;
        manage(spec, &mut seen, pods, now);
    }
    Some(seen)
}

/// The condition that ends the job whatever its indexes say.
fn ending(
    spec: Spec<'_>,
    seen: &mut Assessment,
    pods: &[Arc<Pod>],
    failures: i32,
    now: Timestamp,
) -> Option<JobCondition> {
    let listed = |kind| condition(seen.status.conditions.as_ref(), kind).filter(|c| c.status == "True");
    if let Some(met) = listed("SuccessCriteriaMet") {
        return Some(met.clone());
    }
    if let Some(target) = listed("FailureTarget") {
        let (reason, message) = (target.reason.as_deref(), target.message.as_deref());
        return Some(new_condition("Failed", "True", reason.unwrap_or(""), message.unwrap_or(""), now));
    }
    let judged = pods.iter().filter(|p| spec.failed(p)).find_map(|p| match policy::judge(spec, p) {
        Verdict::FailJob(words) => Some(words),
        _ => None,
    });
    if let Some(words) = judged {
        return Some(failure("PodFailurePolicy", &words, now));
    }
    if failures > spec.backoff_limit() || restarted_too_often(spec, pods) {
        return Some(failure("BackoffLimitExceeded", "Job has reached the specified backoff limit", now));
    }
    let allowed = SignedDuration::from_secs(spec.0.active_deadline_seconds?);
    let started = seen.status.start_time.as_ref().filter(|_| !spec.suspended())?.0;
    let passed = now.duration_since(started);
    if passed >= allowed {
        return Some(failure("DeadlineExceeded", "Job was active longer than specified deadline", now));
    }
    seen.next = Duration::try_from(allowed - passed).ok();
    None
}

fn failure(reason: &str, message: &str, now: Timestamp) -> JobCondition {
    new_condition("FailureTarget", "True", reason, message, now)
}

/// Where pods are restarted in place, their restarts count against the limit.
fn restarted_too_often(spec: Spec<'_>, pods: &[Arc<Pod>]) -> bool {
    let template = spec.0.template.spec.as_ref();
    if template.and_then(|s| s.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let running = pods.iter().filter(|p| matches!(conditions::phase(p), "Running" | "Pending"));
    let restarts: i32 = running
        .filter_map(|p| p.status.as_ref())
        .flat_map(|s| [&s.init_container_statuses, &s.container_statuses])
        .flatten()
        .flatten()
        .map(|c| c.restart_count)
        .sum();
    if spec.backoff_limit() == 0 { restarts > 0 } else { restarts >= spec.backoff_limit() }
}

/// What an indexed job's indexes say of it.
fn look_at_indexes(spec: Spec<'_>, seen: &mut Assessment, pods: &[Arc<Pod>], now: Timestamp) {
    let completions = spec.completions();
    let of = |matching: &dyn Fn(&Pod) -> bool| {
        let found = pods.iter().filter(|p| has_finalizer(p) && matching(p));
        found.filter_map(|p| spec.index(p)).collect::<Vec<_>>()
    };
    let before = Indexes::parse(seen.status.completed_indexes.as_deref().unwrap_or(""), completions);
    let succeeded = before.with(of(&|p| conditions::phase(p) == "Succeeded"));
    seen.succeeded = i32::try_from(succeeded.total()).unwrap_or(i32::MAX);
    let mut failed = None;
    if spec.0.backoff_limit_per_index.is_some() {
        let known = Indexes::parse(seen.status.failed_indexes.as_deref().unwrap_or(""), completions);
        let all = known.with(of(&|p| policy::fails_index(spec, p)));
        let total = all.total();
        let most = spec.0.max_failed_indexes.and_then(|m| u32::try_from(m).ok());
        if seen.finished.is_none() && most.is_some_and(|most| total > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            seen.finished = Some(failure("MaxFailedIndexesExceeded", message, now));
        } else if seen.finished.is_none() && total > 0 && total + succeeded.total() >= completions {
            seen.finished = Some(failure("FailedIndexes", "Job has failed indexes", now));
        }
        seen.awaiting = awaiting(spec, seen, pods, &succeeded, &all);
        failed = Some(all);
    }
    if seen.finished.is_none()
        && let Some(words) = policy::success(spec.0.success_policy.as_ref(), &succeeded, completions)
    {
        seen.finished = Some(new_condition("SuccessCriteriaMet", "True", "SuccessPolicy", &words, now));
    }
    seen.indexes = Some(Done { before, succeeded, failed });
}

/// The last failed pod of every index that is to be tried again.
fn awaiting(
    spec: Spec<'_>,
    seen: &Assessment,
    pods: &[Arc<Pod>],
    succeeded: &Indexes,
    failed: &Indexes,
) -> BTreeMap<Index, Arc<Pod>> {
    let active: Vec<_> = seen.active.iter().filter_map(|p| spec::index(p)).collect();
    let rank = |p: &Pod| {
        (spec::index_failures(p).saturating_add(spec::ignored_index_failures(p)), backoff::ended_at(p))
    };
    let mut last: BTreeMap<Index, Arc<Pod>> = BTreeMap::new();
    for pod in pods.iter().filter(|p| has_finalizer(p) && spec.failed(p)) {
        let Some(index) = spec.index(pod) else { continue };
        if succeeded.has(index) || failed.has(index) || active.contains(&index) {
            continue;
        }
        let later = |old: &Arc<Pod>| {
            let ((old_failures, old_end), (failures, end)) = (rank(old), rank(pod));
            old_failures <= failures && old_end <= end
        };
        if last.get(&index).is_none_or(later) {
            last.insert(index, pod.clone());
        }
    }
    last
}

/// Decides on the number of pods of a job that goes on.
fn manage(spec: Spec<'_>, seen: &mut Assessment, pods: &[Arc<Pod>], now: Timestamp) {
    let active = seen.active.len();
    if spec.suspended() {
        let pods = removal::choose(spec, &seen.active, active);
        if !pods.is_empty() {
            seen.manage = Manage::Delete { pods, release: true };
        }
        return;
    }
    let parallelism = usize::try_from(spec.parallelism()).unwrap_or(0);
    let wanted = match spec.0.completions {
        None if seen.succeeded > 0 => active,
        None => parallelism,
        Some(completions) => {
            usize::try_from(completions.saturating_sub(seen.succeeded)).unwrap_or(0).min(parallelism)
        }
    };
    let mut surplus = removal::choose(spec, &seen.active, active.saturating_sub(wanted));
    if !surplus.is_empty() {
        surplus.truncate(BURST);
        seen.manage = Manage::Delete { pods: surplus, release: true };
        return;
    }
    let going = if spec.replaces_only_failed() { usize::try_from(seen.terminating).unwrap_or(0) } else { 0 };
    let lacking = wanted.saturating_sub(going + active).min(BURST);
    if lacking == 0 {
        return;
    }
    let by_index = spec.0.backoff_limit_per_index.is_some();
    if !by_index && let Some(wait) = seen.backoff.remaining(now) {
        sooner(&mut seen.next, wait);
        return;
    }
    let Some(done) = &seen.indexes else {
        seen.manage = Manage::Create(vec![None; lacking]);
        return;
    };
    let mut taken = done.succeeded.with(seen.active.iter().filter_map(|p| spec::index(p)));
    if spec.replaces_only_failed() {
        let going = pods.iter().filter(|p| spec::is_terminating(p));
        taken = taken.with(going.filter_map(|p| spec::index(p)));
    }
    if let Some(failed) = &done.failed {
        taken = taken.union(failed);
    }
    let mut missing = taken.missing(lacking, spec.completions());
    if by_index {
        let wait = |index: &Index| backoff::remaining_for_index(seen.awaiting.get(index).map(|p| &**p), now);
        if let Some(wait) = missing.iter().filter_map(wait).min() {
            sooner(&mut seen.next, wait);
        }
        missing.retain(|index| wait(index).is_none());
    }
    if !missing.is_empty() {
        seen.manage = Manage::Create(missing.into_iter().map(Some).collect());
    }
}

fn sooner(next: &mut Option<Duration>, wait: Duration) {
    *next = Some(next.map_or(wait, |n| n.min(wait)));
}
