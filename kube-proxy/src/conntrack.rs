//! Ends tracked UDP connections that point nowhere, through `conntrack`.

use gantry_kube_proxy_core::Staleness;
use std::process::Stdio;
use tokio::process::Command;

/// Best effort: a machine without the tool keeps stale flows until they time out.
pub async fn end(stale: &Staleness) {
    for (address, endpoint) in &stale.endpoints {
        delete(&["--orig-dst", &address.to_string(), "--dst-nat", &endpoint.to_string()]).await;
    }
    for address in &stale.addresses {
        delete(&["--orig-dst", &address.to_string()]).await;
    }
    for port in &stale.node_ports {
        delete(&["--orig-port-dst", &port.to_string()]).await;
    }
}

async fn delete(which: &[&str]) {
    let run = Command::new("conntrack")
        .args(["-D", "-p", "udp"])
        .args(which)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    // Status 1 says that nothing matched.
    if let Err(e) = run {
        tracing::warn!("cannot run conntrack, stale UDP connections stay: {e}");
    }
}
