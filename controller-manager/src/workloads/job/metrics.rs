//! What the job controller counts, under upstream's names.

use super::plan::Manage;
use super::spec::Spec;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use prometheus::{
    HistogramVec, IntCounterVec, exponential_buckets, register_histogram_vec, register_int_counter_vec,
};
use std::sync::LazyLock;
use std::time::Duration;

struct Metrics {
    durations: HistogramVec,
    syncs: IntCounterVec,
    jobs: IntCounterVec,
    pods: IntCounterVec,
}

static METRICS: LazyLock<Option<Metrics>> = LazyLock::new(|| {
    let by_action = ["completion_mode", "result", "action"];
    Some(Metrics {
        durations: register_histogram_vec!(
            "job_controller_job_sync_duration_seconds",
            "How long one look at a job took",
            &by_action,
            exponential_buckets(0.004, 2.0, 15).ok()?
        )
        .ok()?,
        syncs: register_int_counter_vec!(
            "job_controller_job_syncs_total",
            "How often jobs were looked at",
            &by_action
        )
        .ok()?,
        jobs: register_int_counter_vec!(
            "job_controller_jobs_finished_total",
            "How many jobs have ended",
            &["completion_mode", "result", "reason"]
        )
        .ok()?,
        pods: register_int_counter_vec!(
            "job_controller_job_pods_finished_total",
            "How many pods of jobs have ended and are counted",
            &["completion_mode", "result"]
        )
        .ok()?,
    })
});

fn mode(job: &Job) -> &'static str {
    if job.spec.as_ref().is_some_and(|s| Spec(s).indexed()) { "Indexed" } else { "NonIndexed" }
}

/// What a look did about the number of pods.
pub(super) fn action(managed: bool, manage: &Manage) -> &'static str {
    match manage {
        _ if !managed => "reconciling",
        Manage::Keep => "tracking",
        Manage::Create(_) => "pods_created",
        Manage::Delete { .. } => "pods_deleted",
    }
}

pub(super) fn synced(job: &Job, action: &str, good: bool, took: Duration) {
    let Some(metrics) = &*METRICS else { return };
    let labels = [mode(job), if good { "success" } else { "error" }, action];
    metrics.syncs.with_label_values(&labels).inc();
    metrics.durations.with_label_values(&labels).observe(took.as_secs_f64());
}

/// Counts what a written status says beyond the one before.
pub(super) fn counted(job: &Job, before: Option<&JobStatus>, after: &JobStatus) {
    let Some(metrics) = &*METRICS else { return };
    let grown = |of: fn(&JobStatus) -> Option<i32>| {
        let (old, new) = (before.and_then(of).unwrap_or(0), of(after).unwrap_or(0));
        u64::try_from(new.saturating_sub(old)).unwrap_or(0)
    };
    let labels = |result| [mode(job), result];
    metrics.pods.with_label_values(&labels("succeeded")).inc_by(grown(|s| s.succeeded));
    metrics.pods.with_label_values(&labels("failed")).inc_by(grown(|s| s.failed));
}

pub(super) fn ended(job: &Job, last: &JobCondition) {
    let Some(metrics) = &*METRICS else { return };
    let result = if last.type_ == "Complete" { "succeeded" } else { "failed" };
    metrics.jobs.with_label_values(&[mode(job), result, last.reason.as_deref().unwrap_or("")]).inc();
}
