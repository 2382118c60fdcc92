//! The node's own object: registering it, keeping its status true, renewing its lease.

use crate::ctx::Ctx;
use gantry_client::EventType;
use gantry_client::error::{ApiError, message};
use gantry_kubelet_core::node::{self, Facts};
use gantry_kubelet_host::facts;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{ContainerImage, Node, NodeSpec, NodeSystemInfo, ObjectReference, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams, PostParams};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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

/// Registers and then keeps the status true for ever.
pub async fn run(ctx: Arc<Ctx>, fixed: Fixed) {
    let Some(client) = ctx.client.clone() else { return };
    let api: Api<Node> = Api::all(client);
    let mut facts = gather(&ctx, &fixed, true).await;
    let mut pause = Duration::from_millis(100);
    let there = loop {
        match register(&ctx, &facts).await {
            Ok(n) => break n,
            Err(e) => {
                tracing::warn!(node = ctx.config.node_name, error = message(&e), "cannot register the node");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(7));
            }
        }
    };
    event(&ctx, "Starting", "Starting kubelet.");
    let mut current = there;
    let mut reported = Timestamp::UNIX_EPOCH;
    let mut ready = None;
    loop {
        let now = Timestamp::now();
        let old = current.status.clone();
        let new = node::status(&facts, old.as_ref(), now);
        *ctx.allocatable.write() = new.allocatable.clone().unwrap_or_default();
        let stale = now.duration_since(reported)
            >= SignedDuration::try_from(ctx.config.status_report).unwrap_or(SignedDuration::MAX);
        if stale || old.as_ref().is_none_or(|o| node::differs(o, &new)) {
            let patch = Node { status: Some(new.clone()), ..Node::default() };
            let sent = api
                .patch_status(&ctx.config.node_name, &PatchParams::default(), &Patch::Strategic(patch))
                .await;
            match sent {
                Ok(n) => {
                    reported = now;
                    current = n;
                }
                Err(e) if e.is_not_found() => {
                    if let Ok(n) = register(&ctx, &facts).await {
                        current = n;
                    }
                }
                Err(e) => tracing::warn!(error = message(&e), "cannot update node status, will retry"),
            }
        }
        current.status = Some(new);
        *ctx.node.write() = Some(Arc::new(current.clone()));
        let is_ready = facts.problems.is_empty();
        if ready != Some(is_ready) {
            let reason = if is_ready { "NodeReady" } else { "NodeNotReady" };
            event(&ctx, reason, &format!("Node {} status is now: {reason}", ctx.config.node_name));
            ready = Some(is_ready);
        }
        // Until the runtime and its network are up, look often: pods wait for it.
        let wait = if is_ready { ctx.config.status_update } else { Duration::from_millis(500) };
        tokio::time::sleep(wait).await;
        facts = gather(&ctx, &fixed, true).await;
    }
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

/// Renews the node's lease at a quarter of its life.
pub async fn lease(ctx: Arc<Ctx>) {
    let Some(client) = ctx.client.clone() else { return };
    let api: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let name = ctx.config.node_name.clone();
    let seconds = ctx.config.lease_seconds;
    let period = Duration::from_secs(u64::try_from(seconds).unwrap_or(40)) / 4;
    let mut held: Option<Lease> = None;
    loop {
        let spec = LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(seconds),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let owner = ctx.node.read().as_ref().and_then(|n| n.metadata.uid.clone()).map(|uid| OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.clone(),
            uid,
            ..OwnerReference::default()
        });
        let outcome = match held.take() {
            Some(mut l) => {
                l.spec = Some(spec);
                if l.metadata.owner_references.is_none() {
                    l.metadata.owner_references = owner.map(|o| vec![o]);
                }
                api.replace(&name, &PostParams::default(), &l).await
            }
            None => match api.get(&name).await {
                Ok(mut l) => {
                    l.spec = Some(spec);
                    api.replace(&name, &PostParams::default(), &l).await
                }
                Err(e) if e.is_not_found() => {
                    let metadata = ObjectMeta {
                        name: Some(name.clone()),
                        owner_references: owner.map(|o| vec![o]),
                        ..ObjectMeta::default()
                    };
                    api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
                }
                Err(e) => Err(e),
            },
        };
        match outcome {
            Ok(l) => {
                held = Some(l);
                tokio::time::sleep(period).await;
            }
            Err(e) => {
                tracing::warn!(error = message(&e), "failed to renew the node lease, will retry");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
