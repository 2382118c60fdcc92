//! The apiserver's metrics, named as upstream names them.

use crate::assemble::Server;
use crate::cx::Cx;
use crate::http::respond::Answer;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};
use std::sync::Arc;
use std::time::Instant;

/// What is counted.
pub struct Metrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    inflight: IntGaugeVec,
    longrunning: IntGaugeVec,
    objects: IntGaugeVec,
    unavailable: IntGaugeVec,
    /// By name and reason: how often an APIService ceased to be available.
    pub became_unavailable: IntCounterVec,
    collecting: parking_lot::Mutex<()>,
}

const SECONDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

fn register<C: prometheus::core::Collector + Clone + 'static>(collector: C) -> C {
    // A second server in one process (tests) keeps its numbers to itself.
    let _ = gantry_daemon::metrics::registry().register(Box::new(collector.clone()));
    collector
}

impl Metrics {
    /// # Errors
    /// None in practice: the names are constants.
    pub fn new() -> prometheus::Result<Self> {
        let object = ["group", "version", "resource", "subresource", "scope", "component", "verb"];
        Ok(Self {
            requests: register(IntCounterVec::new(
                Opts::new("apiserver_request_total", "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code."),
                &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"],
            )?),
            duration: register(HistogramVec::new(
                HistogramOpts::new("apiserver_request_duration_seconds", "Response latency distribution in seconds for each verb, group, version, resource, subresource, scope and component.")
                    .buckets(SECONDS.to_vec()),
                &object,
            )?),
            inflight: register(IntGaugeVec::new(
                Opts::new("apiserver_current_inflight_requests", "Requests being worked on now, by kind."),
                &["request_kind"],
            )?),
            longrunning: register(IntGaugeVec::new(
                Opts::new("apiserver_longrunning_requests", "Long-running requests open now."),
                &["group", "version", "resource", "subresource", "scope", "component", "verb"],
            )?),
            objects: register(IntGaugeVec::new(
                Opts::new("apiserver_resource_objects", "Number of stored objects, by group and resource."),
                &["group", "resource"],
            )?),
            unavailable: register(IntGaugeVec::new(
                Opts::new("aggregator_unavailable_apiservice", "APIServices that are marked as unavailable, by name."),
                &["name"],
            )?),
            became_unavailable: register(IntCounterVec::new(
                Opts::new("aggregator_unavailable_apiservice_total", "How often APIServices were marked as unavailable, by name and reason."),
                &["name", "reason"],
            )?),
            collecting: parking_lot::Mutex::new(()),
        })
    }

    /// Brings the gauges that are read off the server up to date.
    pub fn collect(&self, server: &Arc<Server>) {
        let _one = self.collecting.lock();
        for cache in server.caches.all() {
            let resource = &cache.config().resource;
            let count = i64::try_from(cache.stats().objects).unwrap_or(i64::MAX);
            self.objects.with_label_values(&[&*resource.group, &*resource.resource]).set(count);
        }
        self.unavailable.reset();
        for (name, available) in crate::aggregation::availabilities(server) {
            self.unavailable.with_label_values(&[&name]).set((!available).into());
        }
    }

    /// Counts a request in.
    pub fn begin(&self, cx: &Cx) -> Meter {
        let kind =
            if matches!(cx.info.verb, "get" | "list" | "watch" | "head") { "readOnly" } else { "mutating" };
        let gauge = if cx.info.long_running() {
            let i = &cx.info;
            self.longrunning.with_label_values(&[
                &*i.group,
                &*i.version,
                &*i.resource,
                &*i.subresource,
                scope(cx),
                "apiserver",
                &verb(cx),
            ])
        } else {
            self.inflight.with_label_values(&[kind])
        };
        gauge.inc();
        Meter {
            open: Open(gauge),
            start: Instant::now(),
            requests: self.requests.clone(),
            duration: self.duration.clone(),
        }
    }
}

/// One request being counted.
pub struct Meter {
    open: Open,
    start: Instant,
    requests: IntCounterVec,
    duration: HistogramVec,
}

fn scope(cx: &Cx) -> &'static str {
    match (cx.info.is_resource, cx.info.name.is_empty(), cx.info.namespace.is_empty()) {
        (false, ..) => "",
        (_, false, _) => "resource",
        (_, true, false) => "namespace",
        (_, true, true) => "cluster",
    }
}

fn verb(cx: &Cx) -> String {
    match cx.info.verb {
        "create" => "POST".into(),
        "update" => "PUT".into(),
        "deletecollection" => "DELETECOLLECTION".into(),
        other => other.to_ascii_uppercase(),
    }
}

impl Meter {
    /// Counts a request out; one that streams its answer stays counted as open until the stream ends.
    pub fn end(self, cx: &Cx, answer: &mut Answer) {
        let (i, verb) = (&cx.info, verb(cx));
        let dry_run = if cx.query.get("dryRun").is_some() { "All" } else { "" };
        let object = [&*i.group, &*i.version, &*i.resource, &*i.subresource, scope(cx), "apiserver"];
        let code = answer.status();
        self.requests
            .with_label_values(&[
                &*verb,
                dry_run,
                object[0],
                object[1],
                object[2],
                object[3],
                object[4],
                object[5],
                code.as_str(),
            ])
            .inc();
        if i.verb != "watch" {
            self.duration
                .with_label_values(&[
                    object[0], object[1], object[2], object[3], object[4], object[5], &*verb,
                ])
                .observe(self.start.elapsed().as_secs_f64());
        }
        if cx.info.long_running() {
            answer.body_mut().hold(self.open);
        }
    }
}

/// Counted in a gauge for as long as it lives.
struct Open(prometheus::IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
