//! Upstream's metric names for what the loop does.

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, exponential_buckets,
};

#[derive(Clone)]
pub struct Metrics {
    pub attempts: IntCounterVec,
    pub seconds: HistogramVec,
    pub algorithm: Histogram,
    pub pending: IntGaugeVec,
    pub victims: Histogram,
    pub preemptions: IntCounter,
    pub tries: Histogram,
    pub latency: HistogramVec,
    pub incoming: IntCounterVec,
    pub unschedulable: IntGaugeVec,
    pub cache: IntGaugeVec,
    pub after_flush: IntCounter,
}

fn put<C: Collector + Clone + 'static>(metric: C) -> anyhow::Result<C> {
    gantry_daemon::metrics::registry().register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> anyhow::Result<IntCounterVec> {
    put(IntCounterVec::new(Opts::new(format!("scheduler_{name}"), help), labels)?)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> anyhow::Result<IntGaugeVec> {
    put(IntGaugeVec::new(Opts::new(format!("scheduler_{name}"), help), labels)?)
}

fn options(name: &str, help: &str, start: f64, count: usize) -> anyhow::Result<HistogramOpts> {
    Ok(HistogramOpts::new(format!("scheduler_{name}"), help).buckets(exponential_buckets(start, 2.0, count)?))
}

impl Metrics {
    /// The process's one set.
    ///
    /// # Errors
    /// Where a name is taken.
    pub fn register() -> anyhow::Result<Self> {
        static REGISTERED: Mutex<Option<Metrics>> = Mutex::new(None);
        let mut registered = REGISTERED.lock();
        if let Some(metrics) = &*registered {
            return Ok(metrics.clone());
        }
        Ok(registered.insert(Self::make()?).clone())
    }

    fn make() -> anyhow::Result<Self> {
        let both = ["result", "profile"];
        let seconds = options("scheduling_attempt_duration_seconds", "Time one attempt takes.", 0.001, 15)?;
        let algorithm =
            options("scheduling_algorithm_duration_seconds", "Time one decision takes.", 0.001, 15)?;
        let latency =
            options("pod_scheduling_sli_duration_seconds", "Time from first attempt to bound.", 0.01, 20)?;
        Ok(Self {
            attempts: counters("schedule_attempts_total", "Attempts to schedule pods, by result.", &both)?,
            seconds: put(HistogramVec::new(seconds, &both)?)?,
            algorithm: put(Histogram::with_opts(algorithm)?)?,
            pending: gauges("pending_pods", "Pods that wait, by queue.", &["queue"])?,
            victims: put(Histogram::with_opts(options(
                "preemption_victims",
                "Victims of a preemption.",
                1.0,
                7,
            )?)?)?,
            preemptions: put(IntCounter::new("scheduler_preemption_attempts_total", "Preemptions tried.")?)?,
            tries: put(Histogram::with_opts(options(
                "pod_scheduling_attempts",
                "Attempts until a pod was scheduled.",
                1.0,
                5,
            )?)?)?,
            latency: put(HistogramVec::new(latency, &["attempts"])?)?,
            incoming: counters("queue_incoming_pods_total", "Pods put into queues.", &["queue", "event"])?,
            unschedulable: gauges(
                "unschedulable_pods",
                "Pods a plugin refused, among those that wait.",
                &["plugin", "profile"],
            )?,
            cache: gauges("cache_size", "What the scheduler holds, by kind.", &["type"])?,
            after_flush: put(IntCounter::new(
                "scheduler_pod_scheduled_after_flush_total",
                "Pods scheduled after waiting long with nothing to wake them.",
            )?)?,
        })
    }
}
