//! The loop: look at the nodes, plan, apply what differs.

use crate::{apply, config, plan};
use gantry_client::informer::Scope;
use gantry_client::{ClientConfig, Informer};
use k8s_openapi::api::core::v1::Node;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long after a failed attempt the next one comes.
const RETRY: Duration = Duration::from_secs(2);

pub async fn run(flags: config::Flags) -> anyhow::Result<()> {
    let config = config::Config::resolve(flags)?;
    let stop = gantry_daemon::shutdown::install()?;
    let client = ClientConfig::from_flags(config.kubeconfig.as_deref(), None)
        .await?
        .user_agent("gantry-network")
        .build()?;
    let nodes: Informer<Node> = Informer::new(client, Scope::default());
    nodes.transform(|node| node.status.iter_mut().for_each(|s| s.images = None));
    let wake = Arc::new(Notify::new());
    let bell = wake.clone();
    nodes.on(move |_| bell.notify_one());
    nodes.start(&stop);
    tokio::select! {
        () = nodes.synced() => {}
        () = stop.cancelled() => return Ok(()),
    }
    let mut applied = None;
    loop {
        let known: Vec<plan::Peer> = nodes.store().list().iter().filter_map(|n| plan::peer(n)).collect();
        let wanted = plan::plan(&config, &known);
        let mut retry = false;
        if applied.as_ref() != Some(&wanted) {
            match apply::apply(&config, &wanted, applied.as_ref()) {
                Ok(()) => applied = Some(wanted),
                Err(e) => {
                    tracing::warn!("the pod network is not complete: {e:#}");
                    retry = true;
                }
            }
        }
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(RETRY), if retry => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}
