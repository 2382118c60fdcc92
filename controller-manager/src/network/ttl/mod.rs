//! The TTL controller: nodes are told how long kubelets may trust what they have read of secrets and config
//! maps, the longer the more nodes there are.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::Context;
use gantry_client::{Delta, Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, PatchKind, Reconcile};
use k8s_openapi::api::core::v1::Node;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

struct Controller {
    nodes: Informer<Node>,
    executor: Executor,
    scale: Arc<Mutex<plan::Scale>>,
}

/// Wires the controller to its informer and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("ttlcontroller");
    let nodes = context.informers.of::<Node>();
    let scale = Arc::new(Mutex::new(plan::Scale::default()));
    let (to, count) = (queue.clone(), scale.clone());
    nodes.on(move |delta| match delta {
        Delta::Added(node) => {
            count.lock().grow();
            to.add(Key::of(&**node));
        }
        Delta::Deleted(_) => count.lock().shrink(),
        Delta::Modified { old, new } => {
            // Heartbeats are most of what happens to nodes.
            if annotation(old) != annotation(new) {
                to.add(Key::of(&**new));
            }
        }
    });
    let barrier = Barrier::default();
    barrier.track(&nodes);
    let executor = context.executor("ttl-controller", barrier.clone());
    context.run("ttl-controller", 5, Controller { nodes, executor, scale }, queue, barrier);
}

fn annotation(node: &Node) -> Option<&str> {
    node.metadata.annotations.as_ref()?.get(ANNOTATION).map(String::as_str)
}

#[derive(Serialize)]
struct Patch {
    metadata: Annotations,
}

#[derive(Serialize)]
struct Annotations {
    annotations: BTreeMap<&'static str, String>,
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(node) = self.nodes.store().get(key) else { return Ok(Next::Done) };
        let wanted = self.scale.lock().seconds();
        if annotation(&node).and_then(|a| a.parse::<i64>().ok()) != Some(wanted) {
            let annotations = [(ANNOTATION, wanted.to_string())].into();
            let patch = Patch { metadata: Annotations { annotations } };
            let effect = Effect::patch::<Node>("", key.name(), PatchKind::Strategic, &patch);
            self.executor.apply(key, &effect).await?;
        }
        Ok(Next::Done)
    }
}
