//! The node's lease: the sign of life the node controller waits for.

use crate::ctx::Ctx;
use crate::nodes;
use gantry_client::error::{ApiError, message};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Renews the lease at a quarter of its life. After failures others may have written the node off: what the API
/// holds by then is read, and `look` tells who keeps the status.
pub async fn run(ctx: Arc<Ctx>, look: Arc<Notify>) {
    let Some(client) = ctx.client.clone() else { return };
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let nodes: Api<Node> = Api::all(client);
    let period = Duration::from_secs(u64::try_from(ctx.config.lease_seconds).unwrap_or(40)) / 4;
    let mut held: Option<Lease> = None;
    let mut failing = false;
    loop {
        let renewing = renew(&ctx, &api, held.take());
        let failure = match tokio::time::timeout(ctx.config.heartbeat_timeout(), renewing).await {
            Ok(Ok(lease)) => {
                held = Some(lease);
                None
            }
            Ok(Err(e)) => Some(message(&e)),
            Err(_) => Some("the API server does not answer".into()),
        };
        if let Some(error) = failure {
            failing = true;
            tracing::warn!(error, "failed to renew the node lease, will retry");
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        if failing && let Ok(node) = nodes.get(&ctx.config.node_name).await {
            failing = false;
            nodes::learn(&ctx, &Arc::new(node));
            look.notify_one();
        }
        tokio::time::sleep(period).await;
    }
}

/// Writes the lease; the one `held` needs no reading first.
async fn renew(ctx: &Ctx, api: &Api<Lease>, held: Option<Lease>) -> Result<Lease, kube::Error> {
    let name = ctx.config.node_name.as_str();
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: Some(ctx.config.lease_seconds),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    let owner = ctx.node.read().as_ref().and_then(|n| n.metadata.uid.clone()).map(|uid| OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: name.to_owned(),
        uid,
        ..OwnerReference::default()
    });
    let found = match held {
        Some(lease) => Some(lease),
        None => match api.get(name).await {
            Ok(lease) => Some(lease),
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e),
        },
    };
    let params = PostParams::default();
    match found {
        Some(mut lease) => {
            lease.spec = Some(spec);
            if lease.metadata.owner_references.is_none() {
                lease.metadata.owner_references = owner.map(|o| vec![o]);
            }
            api.replace(name, &params, &lease).await
        }
        None => {
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                owner_references: owner.map(|o| vec![o]),
                ..ObjectMeta::default()
            };
            api.create(&params, &Lease { metadata, spec: Some(spec) }).await
        }
    }
}
