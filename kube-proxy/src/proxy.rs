//! The loop: look at the stores, compute rules, send the difference.

use crate::config::Config;
use crate::health::{Health, ServiceServers};
use crate::{conntrack, health, nft};
use anyhow::Context;
use gantry_client::informer::Scope;
use gantry_client::{ClientConfig, Informer};
use gantry_daemon::ops::{Ops, Verdict};
use gantry_daemon::serving;
use gantry_kube_proxy_core::{Ruleset, ServiceMap, diff, rules, ruleset, service_map, staleness};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use prometheus::{Histogram, HistogramOpts, IntCounter};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const RETRY: Duration = Duration::from_secs(1);

struct Metrics {
    sync_seconds: Histogram,
    failures: IntCounter,
}

impl Metrics {
    fn register() -> anyhow::Result<Self> {
        let buckets = prometheus::exponential_buckets(0.001, 2.0, 15)?;
        let sync_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds",
            )
            .buckets(buckets),
        )?;
        let failures = IntCounter::new(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
            "Cumulative proxy nftables sync failures",
        )?;
        let registry = gantry_daemon::metrics::registry();
        registry.register(Box::new(sync_seconds.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self { sync_seconds, failures })
    }
}

/// What the kernel holds, as far as this process put it there.
#[derive(Default)]
struct Applied {
    map: ServiceMap,
    /// `None`: unknown; the table is made anew.
    rules: Option<Ruleset>,
}

pub async fn run(config: Config) -> anyhow::Result<()> {
    let stop = gantry_daemon::shutdown::install()?;
    let client = ClientConfig::from_flags(config.kubeconfig.as_deref(), config.master.as_deref())
        .await?
        .user_agent("kube-proxy")
        .build()?;
    let metrics = Metrics::register()?;
    let health = Health::default();
    serve_ports(&config, &health, &stop);
    let services: Informer<Service> = Informer::new(client.clone(), Scope::default());
    let slices: Informer<EndpointSlice> = Informer::new(client, Scope::default());
    let wake = Arc::new(Notify::new());
    let (bell, second) = (wake.clone(), wake.clone());
    services.on(move |_| bell.notify_one());
    slices.on(move |_| second.notify_one());
    services.start(&stop);
    slices.start(&stop);
    tokio::select! {
        () = async { tokio::join!(services.synced(), slices.synced()); } => {}
        () = stop.cancelled() => return Ok(()),
    }
    let mut applied = Applied::default();
    let mut servers = ServiceServers::default();
    loop {
        let begin = Instant::now();
        let map = {
            let (services, slices) = (services.store().list(), slices.store().list());
            service_map(services.iter().map(|s| &**s), slices.iter().map(|s| &**s), &config.node)
        };
        servers.update(&map, &health, &stop);
        let failed = match sync(&config, &mut applied, map).await {
            Ok(()) => {
                health.synced();
                false
            }
            Err(e) => {
                tracing::error!("rules are not in place: {e:#}");
                metrics.failures.inc();
                health.failing();
                applied.rules = None;
                true
            }
        };
        metrics.sync_seconds.observe(begin.elapsed().as_secs_f64());
        tokio::select! {
            () = wake.notified() => tokio::time::sleep(config.min_sync).await,
            () = tokio::time::sleep(RETRY), if failed => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

async fn sync(config: &Config, applied: &mut Applied, map: ServiceMap) -> anyhow::Result<()> {
    if applied.rules.is_some() && applied.map == map {
        return Ok(());
    }
    let wanted = ruleset(&map, &config.rules);
    let text = match &applied.rules {
        Some(now) => diff(now, &wanted),
        // One transaction replaces the table: connections keep their state, and no packet sees it half made.
        None => rules::skeleton(&config.rules) + &diff(&ruleset(&ServiceMap::new(), &config.rules), &wanted),
    };
    if !text.is_empty() {
        nft::run(&text).await?;
    }
    let stale = staleness(&applied.map, &map);
    *applied = Applied { map, rules: Some(wanted) };
    conntrack::end(&stale).await;
    Ok(())
}

fn serve_ports(config: &Config, health: &Health, stop: &CancellationToken) {
    if let Some(address) = config.healthz {
        let (health, stop) = (health.clone(), stop.clone());
        tokio::spawn(async move {
            if let Err(e) = health::serve(health, address, stop).await {
                tracing::error!("cannot serve health on {address}: {e}");
            }
        });
    }
    if let Some(address) = config.metrics {
        let stop = stop.clone();
        // Upstream serves proxy metrics to everyone who reaches the (loopback) address.
        let ops = Ops::new()
            .page("/proxyMode", || ("text/plain", b"nftables".to_vec()))
            .authorized_by(Arc::new(|_| Box::pin(async { Verdict::Allowed })));
        tokio::spawn(async move {
            match serving::bind(address).await.context("metrics") {
                Ok(listener) => ops.serve(listener, None, stop).await,
                Err(e) => tracing::error!("cannot serve metrics on {address}: {e:#}"),
            }
        });
    }
}
