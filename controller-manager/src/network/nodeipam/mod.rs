//! Node IPAM: each node gets a range of pod addresses out of `--cluster-cidr`.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::Context;
use gantry_client::events::reference;
use gantry_client::{EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, PatchKind, Reconcile};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use serde::Serialize;
use std::time::Duration;

struct Controller {
    nodes: Informer<Node>,
    executor: Executor,
    recorder: Recorder,
    pools: Vec<plan::Pool>,
    services: Vec<IpNet>,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("node_cidr");
    let nodes = context.informers.of::<Node>();
    let to = queue.clone();
    nodes.on(move |delta| to.add(Key::of(&**delta.object())));
    let barrier = Barrier::default();
    barrier.track(&nodes);
    let pool =
        |range: &IpNet| plan::Pool { range: *range, mask: context.config.node_mask(range.addr().is_ipv6()) };
    let controller = Controller {
        nodes,
        executor: context.executor("node-controller", barrier.clone()),
        recorder: context.recorder("node-controller", "cidrAllocator"),
        pools: context.config.args.cluster_cidr.iter().map(pool).collect(),
        services: context.config.args.service_cluster_ip_range.clone(),
    };
    // One at a time: what is free must not change while it is handed out.
    context.run("node-ipam-controller", 1, controller, queue, barrier);
}

#[derive(Serialize)]
struct Patch {
    spec: Ranges,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ranges {
    #[serde(rename = "podCIDR")]
    first: String,
    #[serde(rename = "podCIDRs")]
    all: Vec<String>,
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(node) = self.nodes.store().get(key) else { return Ok(Next::Done) };
        if node.spec.as_ref().and_then(|s| s.pod_cidr.as_deref()).is_some_and(|c| !c.is_empty()) {
            return Ok(Next::Done);
        }
        // Not even the writes of other keys may be missing here: every allocation must be visible.
        let all = self.nodes.store().list();
        let used = all.iter().flat_map(|n| plan::ranges(n)).chain(self.services.iter().copied());
        let Some(found) = plan::allocate(&self.pools, &used.collect::<Vec<_>>()) else {
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name());
            self.recorder.event(&reference(&*node), EventType::Normal, "CIDRNotAvailable", message);
            return Ok(Next::After(Duration::from_secs(60)));
        };
        let all: Vec<String> = found.iter().map(ToString::to_string).collect();
        let patch = Patch { spec: Ranges { first: all.first().cloned().unwrap_or_default(), all } };
        let effect = Effect::patch::<Node>("", key.name(), PatchKind::Strategic, &patch);
        let written = self.executor.apply(key, &effect).await?;
        if let Ok(revision) = written.resource_version.parse() {
            self.nodes.caught_up(revision).await;
        }
        Ok(Next::Done)
    }
}
