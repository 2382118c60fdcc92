//! Upstream's metric names for what the loop does.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

pub struct Metrics {
    pub attempts: IntCounterVec,
    pub seconds: HistogramVec,
    pub pending: IntGaugeVec,
}

impl Metrics {
    /// # Errors
    /// Where a name is taken.
    pub fn register() -> anyhow::Result<Self> {
        let buckets = prometheus::exponential_buckets(0.000_01, 2.0, 20)?;
        let metrics = Self {
            attempts: IntCounterVec::new(
                Opts::new("scheduler_schedule_attempts_total", "Attempts to schedule pods, by result."),
                &["profile", "result"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new(
                    "scheduler_scheduling_attempt_duration_seconds",
                    "Time one decision takes.",
                )
                .buckets(buckets),
                &["profile", "result"],
            )?,
            pending: IntGaugeVec::new(
                Opts::new("scheduler_pending_pods", "Pods that wait, by queue."),
                &["queue"],
            )?,
        };
        let registry = gantry_daemon::metrics::registry();
        registry.register(Box::new(metrics.attempts.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.pending.clone()))?;
        Ok(metrics)
    }
}
