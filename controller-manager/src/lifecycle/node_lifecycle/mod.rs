//! The node lifecycle controller's shell: notices nodes that fell silent, and taints those that are not well.

mod health;
mod plan;
#[cfg(test)]
mod tests;
mod zones;

use super::disruption;
use super::taint_eviction::{BY_NODE, pods_by_node};
use crate::context::{Context, now};
use gantry_client::error::ApiError;
use gantry_client::informer::Scope;
use gantry_client::{EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, PatchKind, Reconcile, conditions};
use health::Health;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Taint};
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use zones::Zones;

struct Controller {
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    executor: Executor,
    recorder: Recorder,
    health: Arc<Mutex<Health>>,
    zones: Mutex<Zones>,
    grace: Duration,
    startup_grace: Duration,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("node_lifecycle_controller");
    let args = &context.config.args;
    let (nodes, pods) = (context.informers.of::<Node>(), pods_by_node(context));
    let scope = Scope { namespace: "kube-node-lease".into(), ..Scope::default() };
    let leases = Informer::<Lease>::new(context.client.clone(), scope);
    let health = Arc::new(Mutex::new(Health::default()));
    let seen = health.clone();
    // A renewal only moves a mark; the check that is queued already reads it when its time comes.
    leases.on(move |delta| {
        if let Some(at) = delta.object().spec.as_ref().and_then(|s| s.renew_time.as_ref()) {
            seen.lock().renewed(delta.object().metadata.name.as_deref().unwrap_or(""), at.0);
        }
    });
    leases.start(&context.stop);
    let recorder = context.recorder("node-controller", "node-controller");
    let (to, seen, telling) = (queue.clone(), health.clone(), recorder.clone());
    nodes.on(move |delta| {
        let node = delta.object();
        let name = node.metadata.name.as_deref().unwrap_or("");
        if delta.is_deleted() {
            seen.lock().forget(name);
            tell(
                &telling,
                node,
                "RemovingNode",
                format!("Node {name} event: Removing Node {name} from Controller"),
            );
        } else if seen.lock().observe(node) {
            tell(
                &telling,
                node,
                "RegisteredNode",
                format!("Node {name} event: Registered Node {name} in Controller"),
            );
        }
        // A status heartbeat that changes nothing else needs no look.
        if delta.old().is_none_or(|old| plan::differs(old, node)) {
            to.add(Key::of(&**node));
        }
    });
    let (to, known) = (queue.clone(), nodes.clone());
    pods.on(move |delta| {
        let node = super::taint_eviction::node_of(delta.object());
        let landed =
            !node.is_empty() && delta.old().is_none_or(|old| super::taint_eviction::node_of(old) != node);
        let key = Key::new("", node);
        if landed && !delta.is_deleted() && known.store().get(&key).is_some_and(|n| plan::ready(&n) != "True")
        {
            to.add(key);
        }
    });
    let barrier = Barrier::default();
    barrier.track(&nodes);
    let controller = Controller {
        nodes,
        leases,
        pods,
        executor: context.executor("node-controller", barrier.clone()),
        recorder,
        health,
        zones: Mutex::new(Zones::new(zones::Limits {
            rate: args.node_eviction_rate,
            secondary_rate: args.secondary_node_eviction_rate,
            unhealthy_threshold: args.unhealthy_zone_threshold,
            large_cluster: args.large_cluster_size_threshold,
        })),
        grace: args.node_monitor_grace_period,
        startup_grace: args.node_startup_grace_period,
    };
    context.run("node-lifecycle-controller", 8, controller, queue, barrier);
}

fn tell(recorder: &Recorder, node: &Node, reason: &str, message: String) {
    let about = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Node".into()),
        name: node.metadata.name.clone(),
        uid: node.metadata.uid.clone(),
        ..ObjectReference::default()
    };
    recorder.event(&about, EventType::Normal, reason, message);
}

#[derive(Serialize)]
struct LabelPatch {
    metadata: LabelMeta,
}

#[derive(Serialize)]
struct LabelMeta {
    labels: std::collections::BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Patch<'a> {
    metadata: PatchMeta<'a>,
    spec: PatchSpec<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PatchMeta<'a> {
    resource_version: &'a str,
}

#[derive(Serialize)]
struct PatchSpec<'a> {
    taints: &'a [Taint],
}

impl Controller {
    /// Pods cannot be ready where the node is not.
    async fn mark_pods(&self, key: &Key) -> Result<(), kube::Error> {
        for pod in self.pods.store().by_index(BY_NODE, key.name()) {
            if !conditions::is_ready(&pod) {
                continue;
            }
            let effect = disruption::condition(&pod, "Ready", "False", "", "", None);
            match self.executor.apply(key, &effect).await {
                Err(error) if error.is_not_found() => continue,
                other => drop(other?),
            }
            let about = gantry_client::events::reference(&*pod);
            self.recorder.event(&about, EventType::Warning, "NodeNotReady", "Node is not ready");
        }
        Ok(())
    }

    async fn taint(&self, key: &Key, node: &Node, taints: &[Taint]) -> Result<(), kube::Error> {
        let patch = Patch {
            metadata: PatchMeta { resource_version: node.metadata.resource_version.as_deref().unwrap_or("") },
            spec: PatchSpec { taints },
        };
        let effect = Effect::patch::<Node>("", key.name(), PatchKind::Merge, &patch);
        self.executor.apply(key, &effect).await.map(drop)
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        self.leases.synced().await;
        let Some(node) = self.nodes.store().get(key) else { return Ok(Next::Done) };
        let labels = plan::labels(&node);
        if !labels.is_empty() {
            let patch = LabelPatch { metadata: LabelMeta { labels } };
            let effect = Effect::patch::<Node>("", key.name(), PatchKind::Merge, &patch);
            self.executor.apply(key, &effect).await?;
            // The write brings the node back.
            return Ok(Next::Done);
        }
        let grace = if plan::condition(&node, "Ready").is_some() { self.grace } else { self.startup_grace };
        let silence = self.health.lock().silence(key.name());
        let stale = silence > grace;
        if stale && let Some(changed) = plan::unknown(&node, now()) {
            let was_ready = plan::ready(&node) == "True";
            self.executor.apply(key, &Effect::update_status(&changed)).await?;
            if was_ready {
                tell(
                    &self.recorder,
                    &node,
                    "NodeNotReady",
                    format!("Node {} status is now: NodeNotReady", key.name()),
                );
            }
            self.mark_pods(key).await?;
            // The write brings the node back, with its new condition.
            return Ok(Next::Done);
        }
        let ready = plan::ready(&node);
        if self.health.lock().lost(key.name(), ready) {
            tell(
                &self.recorder,
                &node,
                "NodeNotReady",
                format!("Node {} status is now: NodeNotReady", key.name()),
            );
            self.mark_pods(key).await?;
        } else if ready == "Unknown" && stale {
            self.mark_pods(key).await?;
        }
        let all = self.nodes.store().list();
        let (permit, wait) = self.zones.lock().permit(&node, &all, tokio::time::Instant::now());
        if let Some(taints) = plan::taints(&node, permit, now()) {
            self.taint(key, &node, &taints).await?;
            if plan::adds_no_execute(&node, &taints) {
                self.zones.lock().spend(&node, tokio::time::Instant::now());
            }
        }
        let recheck =
            if stale { None } else { Some(grace.saturating_sub(silence) + Duration::from_millis(100)) };
        let next = [recheck, wait].into_iter().flatten().min();
        Ok(next.map_or(Next::Done, Next::After))
    }
}
