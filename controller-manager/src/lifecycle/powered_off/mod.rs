//! Nodes known to be off: their pods are released at once, not after the minutes that silence takes to be believed.
//!
//! An extra of Gantry's, asked for node by node: whoever switches a machine off, or sees that it is, says so with the
//! annotation `gantry.io/powered-off`, whose value is the time from which on it was off (RFC 3339), or `true`. The
//! controller then puts upstream's taint `node.kubernetes.io/out-of-service:NoExecute` on the node (KEP-2268), by
//! which pods are evicted, deleted for good and their volumes detached. It believes a time once the node has let
//! 15 s pass since without renewing its lease; `true` it believes once the node is not ready. When the node shows life again the taint
//! goes, whether or not the annotation does. Taints that others put on are left alone.

mod plan;
#[cfg(test)]
mod tests;

pub(super) use plan::is_out_of_service;

use crate::context::{Context, now};
use gantry_client::{Client, Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, PatchKind, Reconcile};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;
use std::time::Duration;

struct Controller {
    client: Client,
    nodes: Informer<Node>,
    executor: Executor,
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

/// Wires the controller to its informer and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("powered_off_node");
    let nodes = context.informers.of::<Node>();
    let to = queue.clone();
    nodes.on(move |delta| {
        let concerns =
            |n: &Node| plan::declared(n, now()).is_some() || plan::wanted(n, false, now()).is_some();
        if !delta.is_deleted() && concerns(delta.object()) {
            to.add(Key::of(&**delta.object()));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&nodes);
    let executor = context.executor("node-controller", barrier.clone());
    let controller = Controller { client: context.client.clone(), nodes, executor };
    context.run("powered-off-node-controller", 1, controller, queue, barrier);
}

impl Controller {
    /// When the node's lease was last renewed. Asked for, not followed: it matters to few nodes, seldom.
    async fn renewed(&self, node: &str) -> Result<Option<Timestamp>, kube::Error> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let only = ListParams::default().fields(&format!("metadata.name={node}"));
        let found = leases.list(&only).await?.items;
        Ok(found.into_iter().find_map(|l| l.spec?.renew_time).map(|t| t.0))
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(node) = self.nodes.store().get(key) else { return Ok(Next::Done) };
        let at = now();
        let declared = plan::declared(&node, at);
        let renewed = match declared {
            Some(plan::Declared::At(_)) => self.renewed(key.name()).await?,
            _ => None,
        };
        let off = match plan::power(&node, declared, renewed, at) {
            plan::Power::On => false,
            plan::Power::Off => true,
            plan::Power::Unsure(until) => {
                return Ok(Next::After(Duration::try_from(until.duration_since(at)).unwrap_or_default()));
            }
        };
        let Some(taints) = plan::wanted(&node, off, at) else { return Ok(Next::Done) };
        tracing::info!(node = key.name(), off, "a node declared powered off");
        let resource_version = node.metadata.resource_version.as_deref().unwrap_or("");
        let patch = Patch { metadata: PatchMeta { resource_version }, spec: PatchSpec { taints: &taints } };
        self.executor.apply(key, &Effect::patch::<Node>("", key.name(), PatchKind::Merge, &patch)).await?;
        Ok(Next::Done)
    }
}
