//! The objects the benchmarks are made of.

use crate::api::Api;
use futures::TryStreamExt;
use serde_json::{Value, json};

/// How pods ask to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// By requests only.
    Plain,
    /// Spread over zones (DoNotSchedule), never two of an app on a host.
    Spread,
}

/// The apps that pending pods belong to.
const APPS: usize = 50;
/// Nodes are in three zones.
const ZONES: usize = 3;

pub fn node_name(i: usize) -> String {
    format!("hollow-{i:05}")
}

fn node(i: usize) -> Value {
    let (name, zone) = (node_name(i), format!("zone-{}", i % ZONES));
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": zone}}})
}

fn status(i: usize) -> Value {
    let resources = json!({"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "500Gi"});
    let at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": "hollow",
               "lastHeartbeatTime": at, "lastTransitionTime": at})
    };
    json!({"capacity": resources, "allocatable": resources,
        "addresses": [{"type": "InternalIP", "address": format!("10.{}.{}.{}", 200 + i / 65536, i / 256 % 256, i % 256)}],
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID")]})
}

/// Registers nodes, ready and without taints.
pub async fn nodes(api: &Api, count: usize) -> anyhow::Result<()> {
    futures::stream::iter((0..count).map(Ok))
        .try_for_each_concurrent(crate::api::IN_FLIGHT, |i| async move {
            api.create("/api/v1/nodes", &node(i)).await?;
            let path = format!("/api/v1/nodes/{}", node_name(i));
            api.patch(&path, &json!({"spec": {"taints": null}})).await?;
            api.patch(&format!("{path}/status"), &json!({"status": status(i)})).await
        })
        .await
}

/// A namespace whose pods may be made at once: with its service account, where no controller makes it.
pub async fn namespace(api: &Api, name: &str) -> anyhow::Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    api.create("/api/v1/namespaces", &object).await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    api.create(&format!("/api/v1/namespaces/{name}/serviceaccounts"), &account).await
}

fn containers() -> Value {
    json!([{"name": "c", "image": "pause", "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}])
}

pub fn pod(i: usize, shape: Shape) -> Value {
    let app = format!("app-{}", i % APPS);
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{i:06}"), "labels": {"app": app}},
        "spec": {"containers": containers()}});
    if shape == Shape::Spread {
        let selector = json!({"matchLabels": {"app": app}});
        pod["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 5, "whenUnsatisfiable": "DoNotSchedule",
            "topologyKey": "topology.kubernetes.io/zone", "labelSelector": selector}]);
        pod["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}]}});
    }
    pod
}

pub fn deployment(name: &str) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels}, "spec": {"containers": containers()}}}})
}

/// A small object of a kind, owned by `owner`: `(name, uid)` of a config map.
pub fn small(version: &str, kind: &str, i: usize, owner: Option<(&str, &str)>) -> Value {
    let owners: Vec<Value> = owner
        .into_iter()
        .map(|(name, uid)| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}))
        .collect();
    json!({"apiVersion": version, "kind": kind,
        "metadata": {"name": format!("small-{i:06}"), "labels": {"app": "small"}, "ownerReferences": owners}})
}
