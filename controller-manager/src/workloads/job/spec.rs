//! What a job says and what its pods carry, with the API's defaults.

use super::index::Index;
use gantry_reconcile::conditions;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// On a pod, the promise that it is counted before it goes.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label of an indexed job's pod.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the pod's index has failed before it.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How often it did in ways the failure policy ignores.
pub(super) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// The job controller's name in `spec.managedBy`.
const OURS: &str = "kubernetes.io/job-controller";

/// A job's spec with the defaults the API gives.
#[derive(Clone, Copy)]
pub(super) struct Spec<'a>(pub &'a JobSpec);

impl Spec<'_> {
    pub(super) fn indexed(self) -> bool {
        self.0.completion_mode.as_deref() == Some("Indexed")
    }

    pub(super) fn parallelism(self) -> i32 {
        self.0.parallelism.unwrap_or(1)
    }

    /// Of an indexed job.
    pub(super) fn completions(self) -> Index {
        Index::try_from(self.0.completions.unwrap_or(1)).unwrap_or(0)
    }

    pub(super) fn backoff_limit(self) -> i32 {
        self.0.backoff_limit.unwrap_or(6)
    }

    pub(super) fn suspended(self) -> bool {
        self.0.suspend == Some(true)
    }

    /// Whether pods are replaced once they have ended, not once they are being deleted.
    pub(super) fn replaces_only_failed(self) -> bool {
        self.0.pod_replacement_policy.as_deref() == Some("Failed") || self.0.pod_failure_policy.is_some()
    }

    /// Whether a pod counts as failed: ended so, or going where that is enough.
    pub(super) fn failed(self, pod: &Pod) -> bool {
        match conditions::phase(pod) {
            "Failed" => true,
            "Succeeded" => false,
            _ => !self.replaces_only_failed() && pod.metadata.deletion_timestamp.is_some(),
        }
    }

    /// A pod's index, where it is one of the job's.
    pub(super) fn index(self, pod: &Pod) -> Option<Index> {
        index(pod).filter(|i| *i < self.completions())
    }
}

/// Another controller's name, where the job is left to it.
pub(super) fn managed_elsewhere(job: &Job) -> Option<&str> {
    job.spec.as_ref()?.managed_by.as_deref().filter(|name| *name != OURS)
}

/// The condition of this type.
pub(super) fn condition<'a>(list: Option<&'a Vec<JobCondition>>, kind: &str) -> Option<&'a JobCondition> {
    list.into_iter().flatten().find(|c| c.type_ == kind)
}

/// `Complete` or `Failed`, where true.
pub(crate) fn finished(job: &Job) -> Option<&JobCondition> {
    let list = job.status.as_ref()?.conditions.as_ref()?;
    list.iter().find(|c| (c.type_ == "Complete" || c.type_ == "Failed") && c.status == "True")
}

pub(super) fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

/// The pod's completion index, whether or not the job still has it.
pub(super) fn index(pod: &Pod) -> Option<Index> {
    annotation(pod, INDEX)?.parse().ok()
}

pub(super) fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// How often the pod's index has failed before, without what was ignored.
pub(super) fn index_failures(pod: &Pod) -> i32 {
    counted(pod, FAILURES)
}

pub(super) fn ignored_index_failures(pod: &Pod) -> i32 {
    counted(pod, IGNORED_FAILURES)
}

fn counted(pod: &Pod, name: &str) -> i32 {
    annotation(pod, name).and_then(|v| v.parse().ok()).filter(|n| *n >= 0).unwrap_or(0)
}

/// Deleted, but not ended yet.
pub(super) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && !conditions::is_terminal(pod)
}

/// A condition as of now.
pub(super) fn new_condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> JobCondition {
    JobCondition {
        type_: kind.into(),
        status: status.into(),
        reason: (!reason.is_empty()).then(|| reason.into()),
        message: (!message.is_empty()).then(|| message.into()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Sets a condition; whether that changed anything. One that is not there is not added as false.
pub(super) fn set_condition(list: &mut Vec<JobCondition>, new: JobCondition) -> bool {
    match list.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) if old.status == new.status && old.reason == new.reason && old.message == new.message => {
            false
        }
        Some(old) => {
            *old = new;
            true
        }
        None if new.status == "False" => false,
        None => {
            list.push(new);
            true
        }
    }
}
