//! What is measured, phase by phase.

use crate::api::{Api, IN_FLIGHT};
use crate::load;
use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use gantry_bench::report::Report;
use gantry_bench::usage::Usage;
use gantry_client::informer::{Informer, Kind, Scope};
use http::Method;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::core::PartialObjectMeta;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

/// No phase may take longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a process has used between two looks.
struct Meter {
    pid: u32,
    before: Usage,
    begin: Instant,
}

impl Meter {
    fn start(pid: u32) -> anyhow::Result<Self> {
        Ok(Self { pid, before: Usage::of(pid)?, begin: Instant::now() })
    }

    /// Seconds of wall and of CPU since the start, and the use as it is now.
    fn stop(&self) -> anyhow::Result<(f64, f64, Usage)> {
        let now = Usage::of(self.pid)?;
        Ok((self.begin.elapsed().as_secs_f64(), now.cpu - self.before.cpu, now))
    }
}

/// Waits until the process hardly works any more: it has taken in what there is.
pub async fn settle(pid: u32) -> anyhow::Result<()> {
    let mut calm = 0;
    for _ in 0..120 {
        let before = Usage::of(pid)?.cpu;
        tokio::time::sleep(Duration::from_millis(500)).await;
        calm = if Usage::of(pid)?.cpu - before < 0.03 { calm + 1 } else { 0 };
        if calm == 6 {
            return Ok(());
        }
    }
    eprintln!("process {pid} does not come to rest");
    Ok(())
}

async fn next<T>(changes: &mut UnboundedReceiver<T>, what: &str) -> anyhow::Result<T> {
    match tokio::time::timeout(PATIENCE, changes.recv()).await {
        Ok(Some(change)) => Ok(change),
        Ok(None) => bail!("{what}: the watch ended"),
        Err(_) => bail!("{what}: nothing changed for {} s", PATIENCE.as_secs()),
    }
}

fn watch<K: Kind>(
    api: &Api,
    scope: Scope,
) -> anyhow::Result<(UnboundedReceiver<gantry_client::Delta<K>>, CancellationToken)> {
    let informer: Informer<K> = api.informer(scope)?;
    let changes = informer.subscribe();
    let stop = CancellationToken::new();
    informer.start(&stop);
    Ok((changes, stop))
}

fn within(namespace: &str, field_selector: Option<&str>) -> Scope {
    Scope {
        namespace: namespace.into(),
        field_selector: field_selector.map(str::to_owned),
        ..Scope::default()
    }
}

/// Makes the pods that a scheduler, started later, finds waiting.
pub async fn pending(api: &Api, namespace: &str, count: usize, shape: load::Shape) -> anyhow::Result<()> {
    load::namespace(api, namespace).await?;
    api.fill(&format!("/api/v1/namespaces/{namespace}/pods"), count, |i| load::pod(i, shape)).await
}

/// Waits until `count` pods are bound; the scheduler's CPU counts from its start.
pub async fn bound(
    api: &Api,
    report: &Report,
    name: &str,
    namespace: &str,
    count: usize,
    pid: u32,
) -> anyhow::Result<()> {
    let (mut changes, stop) =
        watch::<PartialObjectMeta<Pod>>(api, within(namespace, Some("spec.nodeName!=")))?;
    let (mut seen, mut first) = (0, None);
    while seen < count {
        if !next(&mut changes, "binding").await?.is_deleted() {
            first.get_or_insert_with(Instant::now);
            seen += 1;
        }
    }
    let wall = first.map_or(0.0, |f| f.elapsed().as_secs_f64());
    stop.cancel();
    settle(pid).await?;
    let usage = Usage::of(pid)?;
    #[expect(clippy::cast_precision_loss, reason = "pods are few")]
    let thousands = count as f64 / 1000.0;
    report.add(&format!("{name}-cpu"), usage.cpu / thousands)?;
    report.add(&format!("{name}-rate"), thousands * 1000.0 / wall)?;
    report.add(&format!("{name}-resident"), usage.resident)
}

/// Waits until the namespace has its service account: until then pods are refused.
async fn admitted(api: &Api, namespace: &str) -> anyhow::Result<()> {
    let (mut changes, stop) =
        watch::<PartialObjectMeta<ServiceAccount>>(api, within(namespace, Some("metadata.name=default")))?;
    next(&mut changes, "the default service account").await?;
    stop.cancel();
    Ok(())
}

async fn open(api: &Api, namespace: &str) -> anyhow::Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    api.create("/api/v1/namespaces", &object).await?;
    admitted(api, namespace).await
}

/// The floor under [`deployment`]: the same pods made by hand, bound and ready.
pub async fn floor(api: &Api, report: &Report, count: usize) -> anyhow::Result<()> {
    let namespace = "floor";
    open(api, namespace).await?;
    let (mut changes, stop) = watch::<Pod>(api, within(namespace, None))?;
    let begin = Instant::now();
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let ready = async {
        let mut ready = std::collections::HashSet::new();
        while ready.len() < count {
            let delta = next(&mut changes, "ready pods").await?;
            let pod = delta.object();
            let running = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
            if running && let Some(uid) = &pod.metadata.uid {
                ready.insert(uid.clone());
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(api.fill(&pods, count, |i| load::pod(i, load::Shape::Plain)), ready)?;
    report.add("deployment-floor", begin.elapsed().as_secs_f64())?;
    stop.cancel();
    gone(api, namespace).await
}

/// A Deployment from nothing to `count` ready pods.
pub async fn deployment(api: &Api, report: &Report, count: usize, pid: u32) -> anyhow::Result<()> {
    let (namespace, name) = ("rollout", "large");
    open(api, namespace).await?;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    api.create(&path, &load::deployment(name)).await?;
    settle(pid).await?;
    let (mut changes, stop) = watch::<Deployment>(api, within(namespace, None))?;
    let meter = Meter::start(pid)?;
    api.patch(&format!("{path}/{name}"), &json!({"spec": {"replicas": count}})).await?;
    let wanted = i32::try_from(count)?;
    loop {
        let delta = next(&mut changes, "the rollout").await?;
        if delta.object().status.as_ref().and_then(|s| s.ready_replicas) == Some(wanted) {
            break;
        }
    }
    let (wall, _, _) = meter.stop()?;
    stop.cancel();
    settle(pid).await?;
    let (_, cpu, usage) = meter.stop()?;
    report.add("deployment-wall", wall)?;
    #[expect(clippy::cast_precision_loss, reason = "pods are few")]
    report.add("deployment-cpu", cpu / (count as f64 / 1000.0))?;
    report.add("deployment-resident", usage.resident)?;
    gone(api, namespace).await
}

/// Deletes a namespace; resolves once it is gone.
async fn gone(api: &Api, namespace: &str) -> anyhow::Result<()> {
    let (mut changes, stop) = watch::<PartialObjectMeta<Namespace>>(
        api,
        Scope { field_selector: Some(format!("metadata.name={namespace}")), ..Scope::default() },
    )?;
    api.delete(&format!("/api/v1/namespaces/{namespace}"), &json!({})).await?;
    while !next(&mut changes, "the namespace's end").await?.is_deleted() {}
    stop.cancel();
    Ok(())
}

/// The kinds a full namespace holds, by tenths.
const KINDS: [(&str, &str, &str, usize); 4] = [
    ("v1", "configmaps", "ConfigMap", 4),
    ("v1", "secrets", "Secret", 3),
    ("v1", "serviceaccounts", "ServiceAccount", 1),
    ("coordination.k8s.io/v1", "leases", "Lease", 1),
];

/// A namespace of `count` objects, a tenth of them running pods, from its deletion until it is gone.
pub async fn namespace(api: &Api, report: &Report, count: usize, pid: u32) -> anyhow::Result<()> {
    let name = "full";
    open(api, name).await?;
    for (version, resource, kind, tenths) in KINDS {
        let root = if version == "v1" { "api" } else { "apis" };
        let path = format!("/{root}/{version}/namespaces/{name}/{resource}");
        api.fill(&path, count * tenths / 10, |i| load::small(version, kind, i, None)).await?;
    }
    let pods = count / 10;
    let (mut changes, stop) =
        watch::<PartialObjectMeta<Pod>>(api, within(name, Some("status.phase=Running")))?;
    api.fill(&format!("/api/v1/namespaces/{name}/pods"), pods, |i| load::pod(i, load::Shape::Plain)).await?;
    let mut running = 0;
    while running < pods {
        running += usize::from(!next(&mut changes, "running pods").await?.is_deleted());
    }
    stop.cancel();
    settle(pid).await?;
    let meter = Meter::start(pid)?;
    gone(api, name).await?;
    let (wall, _, _) = meter.stop()?;
    settle(pid).await?;
    let (_, cpu, usage) = meter.stop()?;
    report.add("namespace-wall", wall)?;
    report.add("namespace-cpu", cpu)?;
    report.add("namespace-resident", usage.resident)
}

/// The uid of the config map just made.
async fn owned_map(api: &Api, path: &str, i: usize, owner: Option<(&str, &str)>) -> anyhow::Result<String> {
    let mut object = load::small("v1", "ConfigMap", i, owner);
    object["metadata"]["name"] = json!(format!("owner-{i:06}"));
    let text = api.send(Method::POST, path, crate::api::JSON, Some(&object)).await?;
    let made: PartialObjectMeta<ConfigMap> = serde_json::from_str(&text)?;
    made.metadata.uid.context("a uid")
}

/// One owner of `width` owners of `width` objects each, from the deletion of the first until all are gone.
pub async fn graph(api: &Api, report: &Report, count: usize, pid: u32) -> anyhow::Result<()> {
    let name = "graph";
    open(api, name).await?;
    let path = format!("/api/v1/namespaces/{name}/configmaps");
    let width = count.isqrt();
    let root = owned_map(api, &path, 0, None).await?;
    let owners: Vec<(String, String)> = futures::stream::iter(1..=width)
        .map(|i| {
            let (root, path) = (&root, &path);
            async move {
                let uid = owned_map(api, path, i, Some(("owner-000000", root))).await?;
                anyhow::Ok((format!("owner-{i:06}"), uid))
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
    let leaves = count - width - 1;
    api.fill(&path, leaves, |i| {
        let (name, uid) = &owners[i % owners.len()];
        load::small("v1", "ConfigMap", i, Some((name, uid)))
    })
    .await?;
    let selector = Scope { label_selector: Some("app=small".into()), ..within(name, None) };
    let (mut changes, stop) = watch::<PartialObjectMeta<ConfigMap>>(api, selector)?;
    settle(pid).await?;
    while changes.try_recv().is_ok() {}
    let meter = Meter::start(pid)?;
    let options = json!({"propagationPolicy": "Background"});
    api.delete(&format!("{path}/owner-000000"), &options).await?;
    let (mut left, mut last, mut pause) = (count, Instant::now(), Duration::ZERO);
    while left > 0 {
        if next(&mut changes, "the collection").await?.is_deleted() {
            pause = pause.max(last.elapsed());
            last = Instant::now();
            left -= 1;
        }
    }
    let (wall, _, _) = meter.stop()?;
    stop.cancel();
    settle(pid).await?;
    let (_, cpu, usage) = meter.stop()?;
    report.add("graph-wall", wall)?;
    report.add("graph-pause", pause.as_secs_f64())?;
    report.add("graph-cpu", cpu)?;
    report.add("graph-resident", usage.resident)?;
    gone(api, name).await
}

/// What a process uses when nothing happens.
pub async fn idle(report: &Report, name: &str, seconds: u64, pid: u32) -> anyhow::Result<()> {
    settle(pid).await?;
    let meter = Meter::start(pid)?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (wall, cpu, usage) = meter.stop()?;
    report.add(&format!("{name}-resident"), usage.resident)?;
    report.add(&format!("{name}-cpu"), cpu / wall * 100.0)
}
