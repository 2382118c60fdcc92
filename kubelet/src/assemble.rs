//! Putting the parts together, starting them, and stopping.

use crate::config::Config;
use crate::ctx::Ctx;
use crate::images::Images;
use crate::objects::Objects;
use crate::statuses::Statuses;
use crate::table::Table;
use crate::{bootstrap, collect, lease, nodes, relist, statics};
use anyhow::Context as _;
use gantry_client::informer::{Informer, Scope};
use gantry_client::{ClientConfig, Delta, Recorder};
use gantry_kubelet_core::pods;
use gantry_kubelet_cri::{Client, Runtime};
use gantry_kubelet_host::cgroup::{Cgroups, Limits};
use gantry_kubelet_host::facts;
use gantry_kubelet_volumes::Volumes;
use k8s_openapi::api::core::v1::Pod;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs until `stop`. Containers keep running after it.
///
/// # Errors
/// Where the kubelet cannot start: a bad kubeconfig, no cgroups, swap where it is refused.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    if config.fail_swap_on && facts::swap_on() {
        anyhow::bail!(
            "running with swap on is not supported, please disable swap or set --fail-swap-on flag to false"
        );
    }
    let client = client(&config).await?;
    let runtime: Arc<dyn Runtime> =
        Arc::new(Client::new(&config.runtime_endpoint, Some(config.runtime_timeout)));
    let version = first_answer(&*runtime, &stop).await?;
    let cgroups = Cgroups::detect().context("cannot find cgroups")?;
    make_roots(&config, &cgroups)?;
    let recorder = match &client {
        Some(c) => Recorder::new(c.clone(), "kubelet", &config.node_name),
        None => Recorder::discarding(),
    };
    let objects = Arc::new(Objects::new(client.clone(), &stop));
    let ctx = Arc::new(Ctx {
        volumes: Volumes::new(config.root_dir.clone(), objects.clone()),
        images: Images::new(config.parallel_pulls),
        statuses: Statuses::new(client.clone()),
        memory_capacity: facts::meminfo("MemTotal").unwrap_or(0),
        runtime_name: version.runtime_name.clone(),
        started: jiff::Timestamp::now(),
        stop: stop.clone(),
        node: Default::default(),
        allocatable: Default::default(),
        client: client.clone(),
        runtime,
        recorder,
        objects,
        cgroups,
        config,
    });
    let table = Table::new(ctx.clone());
    let look = Arc::new(tokio::sync::Notify::new());
    tokio::spawn(nodes::run(ctx.clone(), nodes::Fixed::gather(&version), look.clone()));
    tokio::spawn(lease::run(ctx.clone(), look));
    tokio::spawn(follow(ctx.clone(), table.clone(), stop.clone()));
    tokio::spawn(collect::run(ctx.clone(), table.clone()));
    tokio::spawn(relist::run(ctx.clone(), table.clone()));
    if let Some(client) = ctx.client.clone().filter(|_| ctx.config.rotate) {
        let (manager, stop) = (bootstrap::manager(&ctx.config), stop.clone());
        // A certificate somebody else put into the kubeconfig is not ours to renew.
        if manager.held().is_some() {
            tokio::spawn(async move { manager.keep(client, stop).await });
        }
    }
    if let (Some(client), Some(manager)) = (ctx.client.clone(), ctx.config.serving()) {
        let stop = stop.clone();
        tokio::spawn(async move { manager.keep(client, stop).await });
    }
    health(&ctx.config, &stop).await;
    crate::serve::run(&ctx, &table).await?;
    if let Some(dir) = ctx.config.static_pod_path.clone() {
        tokio::spawn(statics::run(ctx.clone(), table.clone(), dir));
    }
    stop.cancelled().await;
    Ok(())
}

/// The plain health port, for the machine's own watchdogs.
async fn health(config: &Config, stop: &CancellationToken) {
    let Ok(ip) = config.healthz_address.parse::<std::net::IpAddr>() else { return };
    let Some(port) = u16::try_from(config.healthz_port).ok().filter(|p| *p > 0) else { return };
    match gantry_daemon::serving::bind((ip, port).into()).await {
        Ok(listener) => {
            tokio::spawn(gantry_daemon::ops::Ops::new().serve(listener, None, stop.clone()));
        }
        Err(error) => tracing::error!(%error, port, "failed to start healthz server"),
    }
}

async fn client(config: &Config) -> anyhow::Result<Option<kube::Client>> {
    let Some(path) = &config.kubeconfig else { return Ok(None) };
    bootstrap::ensure(config).await?;
    let found = ClientConfig::from_kubeconfig(path).await?;
    Ok(Some(found.user_agent(gantry_daemon::version::user_agent("kubelet")).build()?))
}

/// The runtime may come up after us.
async fn first_answer(
    runtime: &dyn Runtime,
    stop: &CancellationToken,
) -> anyhow::Result<gantry_kubelet_cri::cri::VersionResponse> {
    let mut told = false;
    loop {
        match runtime.version().await {
            Ok(v) => return Ok(v),
            Err(error) if !told => {
                told = true;
                tracing::warn!(%error, "waiting for the container runtime");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => anyhow::bail!("stopped while waiting for the container runtime"),
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
}

/// The cgroups all pods live under.
fn make_roots(config: &Config, cgroups: &Cgroups) -> anyhow::Result<()> {
    std::fs::create_dir_all(config.root_dir.join("pods")).context("cannot make the root directory")?;
    std::fs::create_dir_all(&config.pod_logs_dir).context("cannot make the pod log directory")?;
    if !config.cgroups_per_qos {
        return Ok(());
    }
    let root = config.pods_cgroup();
    let shares = u64::try_from(facts::cpus()).unwrap_or(1) * 1024;
    cgroups.ensure(&root, &Limits { cpu_shares: Some(shares), ..Limits::default() })?;
    for class in ["burstable", "besteffort"] {
        cgroups.ensure(&format!("{root}/{class}"), &Limits { cpu_shares: Some(2), ..Limits::default() })?;
    }
    Ok(())
}

/// Follows the pods bound to this node; once they are all known, what else runs here is cleared away.
async fn follow(ctx: Arc<Ctx>, table: Arc<Table>, stop: CancellationToken) {
    if let Some(client) = ctx.client.clone() {
        // The node's own object decides about admission: it comes first.
        while ctx.node.read().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let scope = Scope {
            field_selector: Some(format!("spec.nodeName={}", ctx.config.node_name)),
            ..Scope::default()
        };
        let informer: Informer<Pod> = Informer::new(client, scope);
        let to = table.clone();
        informer.on(move |delta: &Delta<Pod>| match delta {
            Delta::Added(p) | Delta::Modified { new: p, .. } => to.apply(p.clone()),
            Delta::Deleted(p) => to.remove(p),
        });
        informer.start(&stop);
        informer.synced().await;
    }
    if ctx.config.static_pod_path.is_some() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    table.complete();
    let mut known = HashMap::new();
    if let Err(error) = relist::look(&ctx, &table, &mut known).await {
        tracing::warn!(%error, "cannot list pods of the runtime");
    }
    let active: HashSet<String> =
        table.pods().iter().map(|p| pods::uid(p).to_owned()).chain(known.into_keys()).collect();
    for uid in ctx.volumes.orphans(&active) {
        tracing::info!(uid, "clearing away what a pod left behind");
        table.clear_files(&uid).await;
    }
}
