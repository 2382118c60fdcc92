//! The node's own object: registering it, keeping its status true.

use crate::ctx::Ctx;
use gantry_client::error::{ApiError, message};
use gantry_client::informer::{Informer, Scope};
use gantry_client::{Delta, EventType};
use gantry_kubelet_core::node::{self, Facts};
use gantry_kubelet_host::facts;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    ContainerImage, Node, NodeSpec, NodeStatus, NodeSystemInfo, ObjectReference, Taint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Everything about this machine that does not change while we run.
pub struct Fixed {
    info: NodeSystemInfo,
    cpus: i64,
    hugepages: BTreeMap<String, i64>,
}

impl Fixed {
    pub fn gather(runtime: &gantry_kubelet_cri::cri::VersionResponse) -> Self {
        let info = NodeSystemInfo {
            architecture: facts::architecture().into(),
            boot_id: facts::boot_id(),
            container_runtime_version: format!("{}://{}", runtime.runtime_name, runtime.runtime_version),
            kernel_version: facts::kernel(),
            kube_proxy_version: String::new(),
            kubelet_version: gantry_daemon::version::GIT_VERSION.into(),
            machine_id: facts::machine_id(),
            operating_system: "linux".into(),
            os_image: facts::os_image(),
            system_uuid: facts::system_uuid(),
            swap: None,
        };
        Self { info, cpus: facts::cpus(), hugepages: facts::hugepages() }
    }
}

async fn gather(ctx: &Ctx, fixed: &Fixed, with_images: bool) -> Facts {
    let problems = match ctx.runtime.status().await {
        Ok(answer) => {
            let conditions = answer.status.unwrap_or_default().conditions;
            let failing = |kind: &str, words: &str| {
                let c = conditions.iter().find(|c| c.r#type == kind);
                match c {
                    Some(c) if c.status => None,
                    Some(c) => {
                        Some(format!("{words}: {} reason:{} message:{}", c.r#type, c.reason, c.message))
                    }
                    None => Some(format!("{words}: {kind} is not set")),
                }
            };
            let runtime = failing("RuntimeReady", "container runtime not ready");
            let network = failing("NetworkReady", "container runtime network not ready");
            runtime.into_iter().chain(network).collect()
        }
        Err(_) => vec!["container runtime is down".to_owned()],
    };
    let images = if with_images { images(ctx).await } else { Vec::new() };
    let fs = facts::filesystem(&ctx.config.root_dir).unwrap_or_default();
    let usage = ctx.cgroups.usage("/");
    let used = i64::try_from(usage.working_set.unwrap_or(0)).unwrap_or(0);
    let available = match usage.working_set {
        Some(_) => ctx.memory_capacity - used,
        None => facts::meminfo("MemAvailable").unwrap_or(ctx.memory_capacity),
    };
    let mut pressure = ctx.config.pressure(
        (available, ctx.memory_capacity),
        (fs.available, fs.capacity),
        (fs.inodes_free, fs.inodes),
    );
    pressure.pid = facts::pids().is_some_and(|(now, max)| now * 100 > max * 95);
    Facts {
        cpus: fixed.cpus,
        memory: ctx.memory_capacity,
        ephemeral_storage: fs.capacity,
        max_pods: ctx.config.max_pods,
        hugepages: fixed.hugepages.clone(),
        reserved: ctx.config.reserved.clone(),
        info: fixed.info.clone(),
        hostname: ctx.config.hostname.clone(),
        ips: ctx.host_ips(),
        port: ctx.config.port,
        images,
        pressure,
        problems,
    }
}

/// The largest images, at most fifty.
async fn images(ctx: &Ctx) -> Vec<ContainerImage> {
    let mut all = ctx.runtime.list_images().await.unwrap_or_default();
    all.sort_by_key(|i| std::cmp::Reverse(i.size));
    all.truncate(50);
    all.into_iter()
        .map(|i| {
            let names: Vec<String> = i.repo_digests.into_iter().chain(i.repo_tags).take(5).collect();
            ContainerImage { names: Some(names), size_bytes: i64::try_from(i.size).ok() }
        })
        .collect()
}

fn initial(ctx: &Ctx) -> Node {
    let arch = facts::architecture();
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), ctx.config.hostname.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), arch.to_owned()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("beta.kubernetes.io/arch".to_owned(), arch.to_owned()),
    ]);
    labels.extend(ctx.config.labels.clone());
    let mut taints: Vec<Taint> = ctx.config.taints.clone();
    taints.dedup();
    Node {
        metadata: ObjectMeta {
            name: Some(ctx.config.node_name.clone()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            provider_id: ctx.config.provider_id.clone(),
            taints: (!taints.is_empty()).then_some(taints),
            ..NodeSpec::default()
        }),
        status: None,
    }
}

/// Makes the node object, or brings the labels of the one there is up to date.
async fn register(ctx: &Ctx, facts: &Facts) -> Result<Node, kube::Error> {
    let client = ctx.client.clone().ok_or(kube::Error::LinesCodecMaxLineLengthExceeded)?;
    let api: Api<Node> = Api::all(client);
    let mut wanted = initial(ctx);
    wanted.status = Some(node::status(facts, None, Timestamp::now()));
    match api.create(&PostParams::default(), &wanted).await {
        Err(e) if e.is_already_exists() => {}
        other => return other,
    }
    let there = api.get(&ctx.config.node_name).await?;
    let old = there.metadata.labels.clone().unwrap_or_default();
    let labels = wanted.metadata.labels.unwrap_or_default();
    if labels.iter().all(|(k, v)| old.get(k) == Some(v)) {
        return Ok(there);
    }
    let patch =
        Node { metadata: ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }, ..Node::default() };
    api.patch(&ctx.config.node_name, &PatchParams::default(), &Patch::Strategic(patch)).await
}

/// Registers and then keeps the status true for ever. `look` says that somebody else may have written it.
pub async fn run(ctx: Arc<Ctx>, fixed: Fixed, look: Arc<Notify>) {
    let Some(client) = ctx.client.clone() else { return };
    let api: Api<Node> = Api::all(client.clone());
    let mut facts = gather(&ctx, &fixed, true).await;
    let mut pause = Duration::from_millis(100);
    loop {
        match register(&ctx, &facts).await {
            Ok(node) => {
                learn(&ctx, &Arc::new(node));
                break;
            }
            Err(e) => {
                tracing::warn!(node = ctx.config.node_name, error = message(&e), "cannot register the node");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(7));
            }
        }
    }
    follow(&ctx, client, look.clone());
    event(&ctx, "Starting", "Starting kubelet.");
    let mut reported = Timestamp::UNIX_EPOCH;
    let mut ready = None;
    loop {
        let now = Timestamp::now();
        // What the API holds: the node controller, too, writes there when it does not hear of us.
        let held = ctx.node.read().as_ref().and_then(|n| n.status.clone());
        let new = node::status(&facts, held.as_ref(), now);
        *ctx.allocatable.write() = new.allocatable.clone().unwrap_or_default();
        let stale = now.duration_since(reported)
            >= SignedDuration::try_from(ctx.config.status_report).unwrap_or(SignedDuration::MAX);
        let mut sent = true;
        if stale || held.as_ref().is_none_or(|h| node::differs(h, &new)) {
            match report(&ctx, &api, new, &facts).await {
                Ok(node) => {
                    reported = now;
                    learn(&ctx, &Arc::new(node));
                }
                Err(error) => {
                    tracing::warn!(error, "cannot update node status, will retry");
                    sent = false;
                }
            }
        }
        let is_ready = facts.problems.is_empty();
        if ready != Some(is_ready) {
            let reason = if is_ready { "NodeReady" } else { "NodeNotReady" };
            event(&ctx, reason, &format!("Node {} status is now: {reason}", ctx.config.node_name));
            ready = Some(is_ready);
        }
        // Until the runtime and its network are up, look often: pods wait for it.
        let wait = match (is_ready, sent) {
            (false, _) => Duration::from_millis(500),
            (true, false) => Duration::from_secs(1),
            (true, true) => ctx.config.status_update,
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = look.notified() => {}
        }
        facts = gather(&ctx, &fixed, true).await;
    }
}

/// Writes the status, or the whole node where it is gone.
async fn report(ctx: &Ctx, api: &Api<Node>, status: NodeStatus, facts: &Facts) -> Result<Node, String> {
    let patch = Patch::Strategic(Node { status: Some(status), ..Node::default() });
    let params = PatchParams::default();
    let sending = api.patch_status(&ctx.config.node_name, &params, &patch);
    let answer = match tokio::time::timeout(ctx.config.heartbeat_timeout(), sending).await {
        Ok(Err(e)) if e.is_not_found() => register(ctx, facts).await,
        Ok(answer) => answer,
        Err(_) => return Err("the API server does not answer".into()),
    };
    answer.map_err(|e| message(&e))
}

/// Keeps the node as the API holds it at hand. News of another's making wakes who keeps the status.
fn follow(ctx: &Arc<Ctx>, client: kube::Client, look: Arc<Notify>) {
    let scope =
        Scope { field_selector: Some(format!("metadata.name={}", ctx.config.node_name)), ..Scope::default() };
    let informer: Informer<Node> = Informer::new(client, scope);
    let to = ctx.clone();
    informer.on(move |delta: &Delta<Node>| match delta {
        Delta::Added(node) | Delta::Modified { new: node, .. } => {
            if learn(&to, node) {
                look.notify_one();
            }
        }
        Delta::Deleted(_) => {}
    });
    informer.start(&ctx.stop);
}

/// Takes a node the API told of, unless a newer one is known; whether it was news.
pub fn learn(ctx: &Ctx, node: &Arc<Node>) -> bool {
    let revision = |n: &Node| n.metadata.resource_version.as_deref().and_then(|r| r.parse::<u64>().ok());
    let mut known = ctx.node.write();
    let news = known.as_ref().is_none_or(|k| revision(k) < revision(node));
    if news {
        *known = Some(node.clone());
    }
    news
}

fn event(ctx: &Ctx, reason: &str, text: &str) {
    let about = ObjectReference {
        kind: Some("Node".into()),
        name: Some(ctx.config.node_name.clone()),
        uid: Some(ctx.config.node_name.clone()),
        ..ObjectReference::default()
    };
    ctx.recorder.event(&about, EventType::Normal, reason, text);
}
