//! Nodes without machines: leases are renewed, pods that are bound become ready at once, pods that are to end
//! end at once.

use crate::api::{Api, IN_FLIGHT};
use crate::load;
use futures::StreamExt;
use gantry_client::Delta;
use gantry_client::informer::Scope;
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a kubelet renews its lease.
const RENEWAL: Duration = Duration::from_secs(10);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Registers nodes and plays their kubelets until `stop`.
pub async fn run(api: &Api, nodes: usize, stop: CancellationToken) -> anyhow::Result<()> {
    let system = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-node-lease"}});
    api.create("/api/v1/namespaces", &system).await?;
    load::nodes(api, nodes).await?;
    api.fill(LEASES, nodes, |i| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
               "metadata": {"name": load::node_name(i), "namespace": "kube-node-lease"}, "spec": lease(i)})
    })
    .await?;
    println!("{nodes} hollow nodes registered");
    tokio::select! {
        done = leases(api, nodes) => done,
        done = pods(api, &stop) => done,
        () = stop.cancelled() => Ok(()),
    }
}

fn lease(i: usize) -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    json!({"holderIdentity": load::node_name(i), "leaseDurationSeconds": 40, "renewTime": now})
}

/// Renews the leases one after the other, so that each has its turn in time.
async fn leases(api: &Api, nodes: usize) -> anyhow::Result<()> {
    let pause = RENEWAL.checked_div(u32::try_from(nodes)?).unwrap_or(RENEWAL);
    let mut turn = tokio::time::interval(pause);
    loop {
        for i in 0..nodes {
            turn.tick().await;
            let renewed =
                api.patch(&format!("{LEASES}/{}", load::node_name(i)), &json!({"spec": lease(i)})).await;
            renewed.unwrap_or_else(|error| complain(&error));
        }
    }
}

/// What the kubelet of a pod has to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Start,
    End,
}

fn due(pod: &Pod) -> Option<Due> {
    pod.spec.as_ref()?.node_name.as_ref()?;
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    match (pod.metadata.deletion_timestamp.is_some(), phase) {
        (true, _) => Some(Due::End),
        (false, "Pending") => Some(Due::Start),
        (false, _) => None,
    }
}

async fn pods(api: &Api, stop: &CancellationToken) -> anyhow::Result<()> {
    let informer =
        api.informer::<Pod>(Scope { field_selector: Some("spec.nodeName!=".into()), ..Scope::default() })?;
    let mut changes = informer.subscribe();
    informer.start(stop);
    let addresses = AtomicU32::new(0);
    futures::stream::poll_fn(move |cx| changes.poll_recv(cx))
        .filter_map(|delta| async move {
            let pod = match delta {
                Delta::Added(pod) | Delta::Modified { new: pod, .. } => pod,
                Delta::Deleted(_) => return None,
            };
            Some((due(&pod)?, pod))
        })
        .for_each_concurrent(IN_FLIGHT, |(due, pod)| {
            let address = addresses.fetch_add(1, Ordering::Relaxed);
            async move {
                // A pod that has gone or changed meanwhile comes by again, or not at all.
                if let Err(error) = act(api, &due, &pod, address).await {
                    complain(&error);
                }
            }
        })
        .await;
    Ok(())
}

fn complain(error: &anyhow::Error) {
    let text = format!("{error:#}");
    if !text.contains("not found") && !text.contains("NotFound") {
        eprintln!("hollow: {text}");
    }
}

async fn act(api: &Api, due: &Due, pod: &Pod, address: u32) -> anyhow::Result<()> {
    let meta = &pod.metadata;
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    );
    match due {
        Due::Start => api.patch(&format!("{path}/status"), &running(pod, address)).await,
        Due::End => {
            let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": meta.uid}});
            api.send(Method::DELETE, &path, crate::api::JSON, Some(&options)).await.map(drop)
        }
    }
}

/// The status of a pod whose containers all run and are ready.
fn running(pod: &Pod, address: u32) -> Value {
    let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let conditions: Vec<Value> =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .iter()
            .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": at}))
            .collect();
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    let statuses: Vec<Value> = containers
        .map(|c| {
            json!({"name": c.name, "image": c.image, "imageID": "hollow", "ready": true, "started": true,
                   "restartCount": 0, "state": {"running": {"startedAt": at}}})
        })
        .collect();
    let ip = std::net::Ipv4Addr::from(0x0a80_0000 + address % 0x0040_0000);
    json!({"metadata": {"uid": pod.metadata.uid}, "status": {
        "phase": "Running", "startTime": at, "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "127.0.0.1",
        "conditions": conditions, "containerStatuses": statuses}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pod: &Value, expected: Option<Due>) {
        let object: Pod = serde_json::from_value(pod.clone()).expect("a pod");
        assert_eq!(due(&object), expected, "{pod}");
    }

    #[test]
    fn a_kubelet_starts_and_ends_what_is_bound() {
        let bound = json!({"containers": [], "nodeName": "a"});
        check(&json!({"spec": {"containers": []}}), None);
        check(&json!({"spec": bound}), Some(Due::Start));
        check(&json!({"spec": bound, "status": {"phase": "Running"}}), None);
        let ending = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        check(&json!({"metadata": ending, "spec": bound, "status": {"phase": "Running"}}), Some(Due::End));
    }
}
