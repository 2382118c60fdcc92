//! What controllers count, under upstream's names; those of jobs are kept with their controller.

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, exponential_buckets, register_histogram,
    register_histogram_vec, register_int_counter, register_int_counter_vec, register_int_gauge,
};
use std::sync::LazyLock;
use std::time::Duration;

/// All of them. Registered together, at the first use of any.
pub struct Metrics {
    pub autoscalers: IntGauge,
    /// By what a look led to (`scale_up`, `scale_down`, `none`) and how it failed (`internal`, `spec`, `none`).
    pub autoscaler_looks: IntCounterVec,
    pub autoscaler_durations: HistogramVec,
    pub evicted: IntCounter,
    /// From when a pod was due to when it was deleted.
    pub eviction_delays: Histogram,
    /// From when a job was due to when it was deleted.
    pub job_deletion_delays: Histogram,
    pub claims: IntCounter,
    pub claim_failures: IntCounter,
    /// By the code of the answer.
    pub root_ca_syncs: IntCounterVec,
    pub root_ca_durations: HistogramVec,
}

static METRICS: LazyLock<Option<Metrics>> = LazyLock::new(|| register().ok());

/// The metrics, unless another of their names was registered before.
pub fn get() -> Option<&'static Metrics> {
    METRICS.as_ref()
}

fn register() -> Result<Metrics, prometheus::Error> {
    let short = || exponential_buckets(0.001, 2.0, 15);
    let by_outcome = ["action", "error"];
    Ok(Metrics {
        autoscalers: register_int_gauge!(
            "horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers",
            "How many autoscalers there are"
        )?,
        autoscaler_looks: register_int_counter_vec!(
            "horizontal_pod_autoscaler_controller_reconciliations_total",
            "How often autoscalers were looked at, by what came of it",
            &by_outcome
        )?,
        autoscaler_durations: register_histogram_vec!(
            "horizontal_pod_autoscaler_controller_reconciliation_duration_seconds",
            "How long one look at an autoscaler took",
            &by_outcome,
            short()?
        )?,
        evicted: register_int_counter!(
            "taint_eviction_controller_pod_deletions_total",
            "How many pods were deleted for their nodes' taints"
        )?,
        eviction_delays: register_histogram!(
            "taint_eviction_controller_pod_deletion_duration_seconds",
            "How long after a pod was due for its node's taints it was deleted",
            vec![0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0]
        )?,
        job_deletion_delays: register_histogram!(
            "ttl_after_finished_controller_job_deletion_duration_seconds",
            "How long after its time was up a job was deleted",
            exponential_buckets(0.1, 2.0, 14)?
        )?,
        claims: register_int_counter!(
            "ephemeral_volume_controller_create_total",
            "How many claims were to be made for ephemeral volumes"
        )?,
        claim_failures: register_int_counter!(
            "ephemeral_volume_controller_create_failures_total",
            "How many claims for ephemeral volumes could not be made"
        )?,
        root_ca_syncs: register_int_counter_vec!(
            "root_ca_cert_publisher_sync_total",
            "How often namespaces were looked at for the root certificates",
            &["code"]
        )?,
        root_ca_durations: register_histogram_vec!(
            "root_ca_cert_publisher_sync_duration_seconds",
            "How long one look at a namespace's root certificates took",
            &["code"],
            short()?
        )?,
    })
}

impl Metrics {
    pub fn autoscaler(&self, action: &str, error: &str, took: Duration) {
        self.autoscaler_looks.with_label_values(&[action, error]).inc();
        self.autoscaler_durations.with_label_values(&[action, error]).observe(took.as_secs_f64());
    }

    pub fn root_ca(&self, code: u16, took: Duration) {
        let code = code.to_string();
        self.root_ca_syncs.with_label_values(&[&code]).inc();
        self.root_ca_durations.with_label_values(&[&code]).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_registered_once_and_for_all() {
        let metrics = get().unwrap();
        metrics.autoscaler("none", "internal", Duration::from_millis(3));
        metrics.root_ca(200, Duration::from_millis(3));
        assert_eq!(metrics.autoscaler_looks.with_label_values(&["none", "internal"]).get(), 1);
        assert_eq!(metrics.root_ca_durations.with_label_values(&["200"]).get_sample_count(), 1);
        let names: Vec<String> = prometheus::gather().iter().map(|f| f.name().to_owned()).collect();
        for name in ["root_ca_cert_publisher_sync_total", "taint_eviction_controller_pod_deletions_total"] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
    }
}
