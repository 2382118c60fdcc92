//! What the cluster mends by itself.

use crate::shop;
use gantry_e2e::{Cluster, http, wait_for};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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
    shop::up(&cluster);
    let (name, uid, restarts) = pods(&cluster).remove(0);
    cluster.kctl(&["exec", &name, "-c", "nginx", "--", "sh", "-c", "kill 1"]);
    wait_for("the restart", Duration::from_secs(30), || {
        pods(&cluster).iter().any(|(n, u, r)| *n == name && *u == uid && *r > restarts)
    });
    cluster.kctl(&["delete", "pod", &name, "--wait=false"]);
    wait_for("the replacement", Duration::from_secs(30), || {
        let now = pods(&cluster);
        now.len() == 3 && now.iter().all(|(_, u, _)| *u != uid)
    });
    cluster.kctl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
}

#[test]
fn a_rollout_and_its_undo_lose_no_request() {
    let cluster = Cluster::get();
    shop::up(&cluster);
    let (stop, lost, served) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match http("http://172.31.240.1:30080/healthz") {
                        Some((200, _)) => served.fetch_add(1, Ordering::Relaxed),
                        _ => lost.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
        }
        cluster.kctl(&["set", "env", "deployment/web", "ROUND=2"]);
        cluster.kctl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
        cluster.kctl(&["rollout", "undo", "deployment/web"]);
        cluster.kctl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
        stop.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) > 50, "too little load to tell");
    assert_eq!(lost.load(Ordering::Relaxed), 0, "requests lost of {}", served.load(Ordering::Relaxed));
}
