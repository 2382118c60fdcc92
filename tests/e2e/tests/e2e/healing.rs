//! What the cluster mends by itself.

use crate::shop;
use gantry_e2e::load::{self, Load};
use gantry_e2e::{Cluster, wait_for};
use std::time::Duration;

fn pods(cluster: &Cluster) -> Vec<(String, String, u64)> {
    let list = cluster.json(&["get", "pods", "-l", "app=web"]);
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .filter(|p| p["metadata"]["deletionTimestamp"].is_null())
        .map(|p| {
            let restarts = p["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
            let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
            (text(&p["metadata"]["name"]), text(&p["metadata"]["uid"]), restarts)
        })
        .collect()
}

#[test]
fn a_killed_container_restarts_and_a_deleted_pod_is_replaced() {
    let cluster = Cluster::get();
    cluster.shop();
    let (name, uid, restarts) = pods(&cluster).remove(0);
    cluster.kctl(&["exec", &name, "-c", "nginx", "--", "sh", "-c", "kill 1"]);
    wait_for("the restart", Duration::from_secs(30), || {
        pods(&cluster).iter().any(|(n, u, r)| *n == name && *u == uid && *r > restarts)
    });
    cluster.kctl(&["delete", "pod", &name, "--wait=false"]);
    wait_for("the replacement", Duration::from_secs(30), || {
        let (now, wanted) = (pods(&cluster), cluster.json(&["get", "deployment", "web"]));
        now.len() as u64 == wanted["spec"]["replicas"] && now.iter().all(|(_, u, _)| *u != uid)
    });
    cluster.kctl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
}

#[test]
fn a_rollout_and_its_undo_lose_no_request() {
    let cluster = Cluster::get();
    cluster.shop();
    let doors = [shop::door()];
    let ((), tally) = load::during(&Load::light(&doors), || {
        cluster.kctl(&["set", "env", "deployment/web", "ROUND=2"]);
        cluster.kctl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
        cluster.kctl(&["rollout", "undo", "deployment/web"]);
        cluster.kctl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    });
    tally.assert_whole();
}
