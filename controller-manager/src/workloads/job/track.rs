//! Counting each ended pod once, across crashes.
//!
//! A pod's end is first written to `status.uncountedTerminatedPods`; then its finalizer goes; then its entry
//! becomes part of the counters. At every point the status and the finalizers together say what is counted.

use super::plan::{Assessment, Snapshot, count};
use super::policy::{self, Verdict};
use super::removal;
use super::spec::{self, Spec, condition, has_finalizer, new_condition, set_condition};
use gantry_client::EventType;
use gantry_reconcile::conditions;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeSet;
use std::sync::Arc;

/// No more than this many pods are on their way into the counters at once: their identities are in the status.
pub(super) const MOST_UNCOUNTED: usize = 500;

/// How the changes that were decided on went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub created: usize,
    pub deleted: usize,
    /// How many of the deleted were ready.
    pub deleted_ready: usize,
}

pub(super) type Event = (EventType, String, String);

/// The status on its way.
#[derive(Debug)]
pub(super) struct Tracking {
    pub status: JobStatus,
    /// Whether the status must be written.
    pub flush: bool,
    pub events: Vec<Event>,
    /// Pods to take the finalizer from once the status is written.
    pub strip: Vec<Arc<Pod>>,
    /// `Complete` or `Failed`, to be written once nothing is left to count.
    pub last: Option<JobCondition>,
    /// Identities of pods that still have their finalizer.
    tracked: BTreeSet<String>,
    terminating: i32,
    capped: bool,
}

/// What to write first, and which pods are counted by it.
pub(super) fn track(snapshot: &Snapshot, seen: Assessment, outcome: Outcome, now: Timestamp) -> Tracking {
    let job = &*snapshot.job;
    let owned = job.spec.clone().unwrap_or_default();
    let spec = Spec(&owned);
    let active = count(seen.active.len() + outcome.created).saturating_sub(count(outcome.deleted));
    let ready = seen.ready - count(outcome.deleted_ready);
    let terminating = seen.terminating + count(outcome.deleted);
    let old = job.status.as_ref();
    let mut new = Tracking {
        flush: active != old.and_then(|s| s.active).unwrap_or(0)
            || Some(ready) != old.and_then(|s| s.ready)
            || Some(terminating) != old.and_then(|s| s.terminating),
        status: seen.status.clone(),
        events: Vec::new(),
        strip: Vec::new(),
        last: None,
        tracked: BTreeSet::new(),
        terminating,
        capped: false,
    };
    let finished = finish_or_suspend(spec, &seen, outcome, active, &mut new, now);
    new.status.active = (active != 0).then_some(active);
    new.status.ready = Some(ready);
    new.status.terminating = Some(terminating);
    let pods = if spec.indexed() { removal::in_order(&snapshot.pods) } else { snapshot.pods.clone() };
    new.tracked = pods.iter().filter(|p| has_finalizer(p)).map(|p| uid(p).to_owned()).collect();
    new.settle();
    collect(spec, &seen, job.metadata.deletion_timestamp.is_some(), &pods, &finished, &mut new);
    if let Some(done) = &seen.indexes {
        let text = done.succeeded.to_string();
        new.flush |= text != old.and_then(|s| s.completed_indexes.as_deref()).unwrap_or("");
        new.status.succeeded = nonzero(i32::try_from(done.succeeded.total()).unwrap_or(i32::MAX));
        new.status.completed_indexes = (!text.is_empty()).then_some(text);
        let failed = done.failed.as_ref().map(ToString::to_string);
        new.flush |= failed.as_deref() != old.and_then(|s| s.failed_indexes.as_deref());
        new.status.failed_indexes = failed;
    }
    if let Some(interim) = finished {
        new.end(interim, now);
    }
    new.status.conditions = new.status.conditions.take().filter(|list| !list.is_empty());
    new
}

fn nonzero(n: i32) -> Option<i32> {
    (n != 0).then_some(n)
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or("")
}

/// The condition that ends the job now, after what was done; else what suspension says.
fn finish_or_suspend(
    spec: Spec<'_>,
    seen: &Assessment,
    outcome: Outcome,
    active: i32,
    new: &mut Tracking,
    now: Timestamp,
) -> Option<JobCondition> {
    if let Some(condition) = &seen.finished {
        // Not while a pod may go on unseen.
        return (outcome.deleted == seen.active.len()).then(|| condition.clone());
    }
    let reached = match spec.0.completions {
        None => seen.succeeded > 0,
        Some(completions) => seen.succeeded >= completions,
    };
    if reached && active == 0 {
        let message = "Reached expected number of succeeded pods";
        return Some(new_condition("SuccessCriteriaMet", "True", "CompletionsReached", message, now));
    }
    if !seen.managed {
        return None;
    }
    let list = new.status.conditions.get_or_insert_default();
    if spec.suspended() {
        if set_condition(list, new_condition("Suspended", "True", "JobSuspended", "Job suspended", now)) {
            new.flush = true;
            new.status.start_time = None;
            new.events.push((EventType::Normal, "Suspended".into(), "Job suspended".into()));
        }
    } else if set_condition(list, new_condition("Suspended", "False", "JobResumed", "Job resumed", now)) {
        new.flush = true;
        new.status.start_time = Some(Time(now));
        new.events.push((EventType::Normal, "Resumed".into(), "Job resumed".into()));
    }
    None
}

/// Enters ended pods into the status.
fn collect(
    spec: Spec<'_>,
    seen: &Assessment,
    going: bool,
    pods: &[Arc<Pod>],
    finished: &Option<JobCondition>,
    new: &mut Tracking,
) {
    let fails_rest = finished.as_ref().is_some_and(|c| c.type_ != "SuccessCriteriaMet");
    let uncounted = new.status.uncounted_terminated_pods.get_or_insert_default();
    let mut known: BTreeSet<String> = uncounted.failed.iter().flatten().cloned().collect();
    let known_succeeded: BTreeSet<String> = uncounted.succeeded.iter().flatten().cloned().collect();
    let mut size = known.len() + known_succeeded.len();
    for pod in pods.iter().filter(|p| has_finalizer(p)) {
        let failed = spec.failed(pod);
        let succeeded = conditions::phase(pod) == "Succeeded";
        let ended = going || finished.is_some() || succeeded;
        let awaited =
            spec::index(pod).and_then(|i| seen.awaiting.get(&i)).is_some_and(|p| uid(p) == uid(pod));
        if !ended && (!failed || awaited) {
            continue;
        }
        new.strip.push(pod.clone());
        let index = spec.index(pod);
        if succeeded && !known.contains(uid(pod)) {
            if spec.indexed() {
                let before = seen.indexes.as_ref().map(|d| &d.before);
                // The index alone keeps it from being counted again.
                if index.is_some_and(|i| before.is_some_and(|b| !b.has(i))) {
                    size += 1;
                    new.flush = true;
                }
            } else if !known_succeeded.contains(uid(pod)) {
                uncounted.succeeded.get_or_insert_default().push(uid(pod).to_owned());
                size += 1;
                new.flush = true;
            }
        } else if (failed || fails_rest)
            && (!spec.indexed() || index.is_some())
            && policy::judge(spec, pod) != Verdict::Ignore
            && known.insert(uid(pod).to_owned())
        {
            uncounted.failed.get_or_insert_default().push(uid(pod).to_owned());
            size += 1;
            new.flush = true;
        }
        if size >= MOST_UNCOUNTED {
            new.capped = true;
            break;
        }
    }
}

impl Tracking {
    /// Adds to the counters what has been counted: entries whose pods have lost their finalizer.
    fn settle(&mut self) {
        let Some(uncounted) = &mut self.status.uncounted_terminated_pods else { return };
        for (list, counter) in [
            (&mut uncounted.succeeded, &mut self.status.succeeded),
            (&mut uncounted.failed, &mut self.status.failed),
        ] {
            let Some(entries) = list else { continue };
            let before = entries.len();
            entries.retain(|uid| self.tracked.contains(uid));
            if entries.len() != before {
                *counter = Some(counter.unwrap_or(0) + count(before - entries.len()));
                self.flush = true;
            }
            if entries.is_empty() {
                *list = None;
            }
        }
    }

    /// Writes the interim condition and notes the final one.
    fn end(&mut self, found: JobCondition, now: Timestamp) {
        let list = self.status.conditions.get_or_insert_default();
        let last = match found.type_.as_str() {
            "FailureTarget" => "Failed",
            "SuccessCriteriaMet" => "Complete",
            _ => {
                self.last = Some(found);
                return;
            }
        };
        if condition(Some(list), &found.type_).is_none_or(|c| c.status != "True") {
            list.push(found.clone());
            self.flush = true;
        }
        let (reason, message) = (found.reason.unwrap_or_default(), found.message.unwrap_or_default());
        self.last = Some(new_condition(last, "True", &reason, &message, now));
    }

    /// After the first write and the loss of these pods' finalizers: what to write then, and to tell once it
    /// is written. The job ends where `all` that were to lose it did. `completions` is the spec's.
    pub(super) fn conclude(
        &mut self,
        stripped: &[&str],
        completions: Option<i32>,
        all: bool,
        now: Timestamp,
    ) -> Vec<Event> {
        for uid in stripped {
            self.tracked.remove(*uid);
        }
        self.settle();
        let uncounted = self.status.uncounted_terminated_pods.as_ref();
        let open = uncounted.is_some_and(|u| u.succeeded.is_some() || u.failed.is_some());
        if !all || self.capped || open || self.terminating > 0 {
            return Vec::new();
        }
        let Some(mut last) = self.last.take() else { return Vec::new() };
        self.flush = true;
        (last.last_probe_time, last.last_transition_time) = (Some(Time(now)), Some(Time(now)));
        let complete = last.type_ == "Complete";
        let failure = (last.reason.clone().unwrap_or_default(), last.message.clone().unwrap_or_default());
        set_condition(self.status.conditions.get_or_insert_default(), last);
        if !complete {
            return vec![(EventType::Warning, failure.0, failure.1)];
        }
        self.status.completion_time = Some(Time(now));
        let mut events = Vec::new();
        if completions.is_some_and(|c| self.status.succeeded.unwrap_or(0) > c) {
            let message = "Too many succeeded pods running after completion count reached";
            events.push((EventType::Warning, "TooManySucceededPods".into(), message.into()));
        }
        events.push((EventType::Normal, "Completed".into(), "Job completed".into()));
        events
    }
}
