//! Nodes without machines: an ordinary client plays their kubelets. Pods that are bound become ready, those
//! that are to end end, those that are deleted go.
//!
//! What a pod does is in its template: with `restartPolicy: Always` it runs until deleted; otherwise it works
//! for a moment and exits with the code in its annotation `hollow/exit` (0 where absent).

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const FIELDS: &str = "hollow-kubelet";
const RENEWAL: Duration = Duration::from_secs(10);

/// How long things take on the nodes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From bound to ready.
    pub start: Duration,
    /// From ready to ended, for pods that end.
    pub work: Duration,
    /// From deleted to gone.
    pub stop: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { start: ms(150), work: ms(300), stop: ms(100) }
    }
}

/// What a node has.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub milli_cpu: u32,
    pub pods: u32,
}

/// What is due for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Start,
    Finish,
    Remove,
}

fn due(pod: &Pod) -> Option<Due> {
    let spec = pod.spec.as_ref()?;
    spec.node_name.as_ref()?;
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    match (pod.metadata.deletion_timestamp.is_some(), phase) {
        (true, _) => Some(Due::Remove),
        (_, "Pending") => Some(Due::Start),
        (_, "Running") if spec.restart_policy.as_deref().is_some_and(|p| p != "Always") => Some(Due::Finish),
        _ => None,
    }
}

/// Registers nodes and plays their kubelets, until dropped (or aborted).
///
/// # Errors
/// Where the nodes cannot be registered.
pub async fn run(client: Client, names: &[String], size: Size, pace: Pace) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    for name in names {
        register(&nodes, name, size).await?;
    }
    tokio::join!(leases(client.clone(), names), pods(client, pace));
    Ok(())
}

async fn register(nodes: &Api<Node>, name: &str, size: Size) -> Result<(), kube::Error> {
    let at = now();
    let resources = json!({"cpu": format!("{}m", size.milli_cpu), "memory": "64Gi",
                           "ephemeral-storage": "100Gi", "pods": size.pods.to_string()});
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": "hollow",
               "lastHeartbeatTime": at, "lastTransitionTime": at})
    };
    let status = json!({
        "capacity": resources, "allocatable": resources,
        "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": name}],
        "conditions": [condition("Ready", "True", "KubeletReady"),
                       condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                       condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                       condition("PIDPressure", "False", "KubeletHasSufficientPID")],
    });
    let labels =
        json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
    let node = typed(json!({"metadata": {"name": name, "labels": labels}, "status": status}));
    match nodes.create(&PostParams::default(), &node).await {
        Err(kube::Error::Api(s)) if s.is_already_exists() => {
            let patch = Patch::Merge(json!({"status": status}));
            nodes.patch_status(name, &PatchParams::default(), &patch).await.map(drop)
        }
        other => other.map(drop),
    }
}

/// Renews the leases: nodes without are taken for dead.
async fn leases(client: Client, names: &[String]) {
    let api: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    loop {
        for name in names {
            let at = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": at});
            let patch = Patch::Merge(json!({"spec": spec}));
            if let Err(kube::Error::Api(s)) = api.patch(name, &PatchParams::default(), &patch).await
                && s.is_not_found()
            {
                let lease = typed(json!({"metadata": {"name": name}, "spec": spec}));
                // Another time, where it fails now.
                let _ = api.create(&PostParams::default(), &lease).await;
            }
        }
        tokio::time::sleep(RENEWAL).await;
    }
}

async fn pods(client: Client, pace: Pace) {
    let config = watcher::Config::default().fields("spec.nodeName!=");
    let mut stream = watcher(Api::<Pod>::all(client.clone()), config).default_backoff().boxed();
    let mut begun: HashMap<String, Due> = HashMap::new();
    let mut acts = JoinSet::new();
    let addresses = Arc::new(AtomicU32::new(0));
    loop {
        let event = tokio::select! {
            Some(event) = stream.next() => event,
            Some(_) = acts.join_next() => continue,
            else => return,
        };
        match event {
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                let uid = pod.uid().unwrap_or_default();
                let Some(due) = due(&pod) else { continue };
                if begun.insert(uid, due) != Some(due) {
                    acts.spawn(act(client.clone(), pod, due, pace, addresses.clone()));
                }
            }
            Ok(watcher::Event::Delete(pod)) => drop(begun.remove(&pod.uid().unwrap_or_default())),
            // The stream goes on by itself.
            Ok(_) | Err(_) => {}
        }
    }
}

/// Does what is due, until it is done or the pod is gone or another.
async fn act(client: Client, pod: Pod, due: Due, pace: Pace, addresses: Arc<AtomicU32>) {
    tokio::time::sleep(match due {
        Due::Start => pace.start,
        Due::Finish => pace.work,
        Due::Remove => pace.stop,
    })
    .await;
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    let status = match due {
        Due::Start => running(&pod, addresses.fetch_add(1, Ordering::Relaxed)),
        _ => ended(&pod),
    };
    loop {
        let done = if due == Due::Remove {
            let only = Preconditions { uid: pod.uid(), resource_version: None };
            api.delete(&name, &DeleteParams::default().grace_period(0).preconditions(only)).await.map(drop)
        } else {
            let params = PatchParams { field_manager: Some(FIELDS.into()), ..PatchParams::default() };
            api.patch_status(&name, &params, &Patch::Strategic(&status)).await.map(drop)
        };
        match done {
            Err(kube::Error::Api(s)) if !s.is_not_found() && !s.is_conflict() => {}
            Err(kube::Error::Api(_)) | Ok(()) => return,
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn conditions(ready: bool, reason: Option<&str>) -> Vec<Value> {
    let all = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];
    let of = |(i, kind): (usize, &&str)| {
        let status = if ready || i == 1 { "True" } else { "False" };
        json!({"type": kind, "status": status, "reason": reason, "lastTransitionTime": now()})
    };
    all.iter().enumerate().map(of).collect()
}

fn running(pod: &Pod, number: u32) -> Value {
    let ip = std::net::Ipv4Addr::from(0x0a80_0001 + number % 0x0040_0000).to_string();
    let of = |name: &str, image: &Option<String>| {
        json!({"name": name, "image": image, "imageID": "hollow", "ready": true, "started": true,
               "restartCount": 0, "state": {"running": {"startedAt": now()}}})
    };
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    json!({"metadata": {"uid": pod.uid()}, "status": {
        "phase": "Running", "startTime": now(), "hostIP": "192.0.2.1", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": conditions(true, None),
        "containerStatuses": containers.map(|c| of(&c.name, &c.image)).collect::<Vec<_>>()}})
}

fn ended(pod: &Pod) -> Value {
    let code: i32 = pod.annotations().get("hollow/exit").and_then(|c| c.parse().ok()).unwrap_or(0);
    let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let of = |name: &str, image: &Option<String>| {
        json!({"name": name, "image": image, "imageID": "hollow", "ready": false, "started": false,
               "restartCount": 0, "state": {"running": null, "terminated": {
                   "exitCode": code, "reason": reason, "startedAt": now(), "finishedAt": now()}}})
    };
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    let why = (code == 0).then_some("PodCompleted");
    json!({"metadata": {"uid": pod.uid()}, "status": {
        "phase": phase, "conditions": conditions(false, why),
        "containerStatuses": containers.map(|c| of(&c.name, &c.image)).collect::<Vec<_>>()}})
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn typed<T: DeserializeOwned>(value: Value) -> T {
    // The texts are those above.
    serde_json::from_value(value).expect("a well-formed object")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pod: Value, expected: Option<Due>) {
        let text = pod.to_string();
        assert_eq!(due(&typed(pod)), expected, "{text}");
    }

    #[test]
    fn a_kubelet_starts_ends_and_removes_what_is_bound() {
        let spec = |policy: &str| json!({"containers": [], "nodeName": "a", "restartPolicy": policy});
        let running = json!({"phase": "Running"});
        check(json!({"spec": {"containers": []}}), None);
        check(json!({"spec": spec("Always")}), Some(Due::Start));
        check(json!({"spec": spec("Always"), "status": running}), None);
        check(json!({"spec": spec("Never"), "status": running}), Some(Due::Finish));
        check(json!({"spec": spec("Never"), "status": {"phase": "Failed"}}), None);
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        check(json!({"metadata": going, "spec": spec("Never"), "status": running}), Some(Due::Remove));
    }
}
