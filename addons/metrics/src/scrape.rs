//! The rounds: every kubelet is asked once a resolution, and what they say goes into the book.

use crate::book::{Batch, Book};
use crate::exposition::{self, Reading};
use crate::kinds::{Node, Pod};
use crate::kubelets::{Error, Kubelets};
use futures::StreamExt;
use gantry_client::{Informer, Key, Store};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How many kubelets are asked at a time.
const AT_ONCE: usize = 200;

/// What metrics-server tells of itself, as far as it makes sense here.
pub struct Figures {
    requests: IntCounterVec,
    points: IntGaugeVec,
    round: Histogram,
}

impl Figures {
    /// # Errors
    /// Where they are registered already.
    pub fn register() -> prometheus::Result<Self> {
        let requests = Opts::new("metrics_server_kubelet_request_total", "Requests sent to kubelets");
        let points = Opts::new("metrics_server_storage_points", "Things whose use can be told");
        let round =
            HistogramOpts::new("metrics_server_manager_tick_duration_seconds", "How long rounds took");
        let figures = Self {
            requests: IntCounterVec::new(requests, &["success"])?,
            points: IntGaugeVec::new(points, &["type"])?,
            round: Histogram::with_opts(round)?,
        };
        let registry = gantry_daemon::metrics::registry();
        registry.register(Box::new(figures.requests.clone()))?;
        registry.register(Box::new(figures.points.clone()))?;
        registry.register(Box::new(figures.round.clone()))?;
        Ok(figures)
    }
}

pub struct Scraper {
    pub kubelets: Kubelets,
    pub nodes: Informer<Node>,
    pub pods: Informer<Pod>,
    pub book: Arc<RwLock<Book>>,
    pub resolution: Duration,
    pub timeout: Duration,
    pub figures: Figures,
    /// When the last round began.
    pub began: Arc<Mutex<Option<Instant>>>,
}

/// Leaves out pods the node does not have: a kubelet tells of its own only.
fn own(reading: &mut Reading, node: &str, pods: &Store<Pod>) {
    reading.pods.retain(|key: &Key, _| {
        let Some(pod) = pods.get(key) else { return false };
        let here = pod.spec.node_name == node;
        if !here {
            tracing::error!(pod = %key, node, expected = pod.spec.node_name, "Dropping pod metric from unauthorized node");
        }
        here
    });
}

impl Scraper {
    /// Rounds until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.resolution);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round() => {}
            }
        }
    }

    async fn round(&self) {
        let began = Instant::now();
        *self.began.lock() = Some(began);
        let nodes = self.nodes.store().list();
        let readings = futures::stream::iter(nodes)
            .map(|node| async move { (node.name().to_owned(), self.ask(&node).await) })
            .buffer_unordered(AT_ONCE);
        let readings: Vec<_> = readings.collect().await;
        let mut batch = Batch::default();
        for (node, reading) in readings {
            let Some(reading) = reading else { continue };
            if let Some(point) = reading.node {
                batch.nodes.insert(node.into(), point);
            }
            batch.pods.extend(reading.pods);
        }
        let (of_nodes, of_containers) = {
            let mut book = self.book.write();
            book.store(batch);
            book.rated()
        };
        for (kind, count) in [("node", of_nodes), ("container", of_containers)] {
            self.figures.points.with_label_values(&[kind]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.kubelets.keep(|name| self.nodes.store().get(&Key::new("", name)).is_some());
        self.figures.round.observe(began.elapsed().as_secs_f64());
    }

    async fn ask(&self, node: &Node) -> Option<Reading> {
        let name = node.name();
        let asked = tokio::time::timeout(self.timeout, self.kubelets.page(node)).await;
        let page = match asked {
            Ok(page) => page,
            Err(_) => Err(Error::Page(format!("timeout to access kubelet after {:?}", self.timeout))),
        };
        let read = page.and_then(|page| {
            exposition::read(&page, Timestamp::now()).map_err(|e| Error::Page(e.to_string()))
        });
        let success = if read.is_ok() { "true" } else { "false" };
        self.figures.requests.with_label_values(&[success]).inc();
        match read {
            Ok(mut reading) => {
                own(&mut reading, name, self.pods.store());
                Some(reading)
            }
            Err(error) if node.is_ready() => {
                tracing::error!(node = name, %error, "Failed to scrape node");
                None
            }
            Err(error) => {
                tracing::debug!(node = name, %error, "Failed to scrape node, node is not ready");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_tells_of_its_own_pods_only() {
        let pods = Store::<Pod>::default();
        for (name, node) in [("mine", "n"), ("theirs", "m")] {
            let mut pod = Pod::default();
            pod.metadata.namespace = Some("a".into());
            pod.metadata.name = Some(name.into());
            pod.spec.node_name = node.into();
            pods.insert(pod);
        }
        let page: String = ["mine", "theirs", "unknown"]
            .iter()
            .flat_map(|pod| {
                ["container_cpu_usage_seconds_total", "container_memory_working_set_bytes"]
                    .map(|name| format!("{name}{{container=\"c\",namespace=\"a\",pod=\"{pod}\"}} 1 1000\n"))
            })
            .collect();
        let mut reading = exposition::read(&page, Timestamp::now()).unwrap();
        assert_eq!(reading.pods.len(), 3);
        own(&mut reading, "n", &pods);
        assert_eq!(reading.pods.keys().map(Key::as_str).collect::<Vec<_>>(), ["a/mine"]);
    }
}
