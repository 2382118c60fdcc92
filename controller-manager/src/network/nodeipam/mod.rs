//! Node IPAM: each node gets a range of pod addresses out of `--cluster-cidr`.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::Context;
use gantry_client::events::reference;
use gantry_client::{Delta, EventType, Informer, Key, Queue, Recorder};
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
///
/// # Errors
/// Where ranges and sizes do not go together.
pub fn start(context: &Context) -> anyhow::Result<()> {
    let args = &context.config.args;
    let masks = plan::Masks {
        any: args.node_cidr_mask_size,
        v4: args.node_cidr_mask_size_ipv4,
        v6: args.node_cidr_mask_size_ipv6,
    };
    let pools = plan::pools(&args.cluster_cidr, masks).map_err(anyhow::Error::msg)?;
    let queue = Queue::new("node_cidr");
    let nodes = context.informers.of::<Node>();
    let (to, known) = (queue.clone(), nodes.clone());
    nodes.on(move |delta| match delta {
        // What it had is free again: somebody may be waiting for it.
        Delta::Deleted(gone) if has_range(gone) => {
            let all = known.store().list();
            all.iter().filter(|n| !has_range(n)).for_each(|n| to.add(Key::of(&**n)));
        }
        Delta::Added(node) | Delta::Modified { new: node, .. } if !has_range(node) => {
            to.add(Key::of(&**node))
        }
        _ => {}
    });
    let barrier = Barrier::default();
    barrier.track(&nodes);
    let controller = Controller {
        nodes,
        executor: context.executor("node-controller", barrier.clone()),
        recorder: context.recorder("node-controller", "cidrAllocator"),
        pools,
        services: context.config.args.service_cluster_ip_range.clone(),
    };
    // One at a time: what is free must not change while it is handed out.
    context.run("node-ipam-controller", 1, controller, queue, barrier);
    Ok(())
}

fn has_range(node: &Node) -> bool {
    node.spec.as_ref().and_then(|s| s.pod_cidr.as_deref()).is_some_and(|c| !c.is_empty())
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
        if has_range(&node) || node.metadata.deletion_timestamp.is_some() {
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
