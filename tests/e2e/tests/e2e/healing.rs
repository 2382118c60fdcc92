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

#[test]
fn killed_daemons_come_back_and_no_container_restarts() {
    let cluster = Cluster::get();
    shop::up(&cluster);
    let before = pods(&cluster);
    let namespace = cluster.namespace("killed");
    let daemons = ["apiserver", "controller-manager", "scheduler", "kubelet", "kube-proxy", "containerd"];
    let write = |name: &str| {
        cluster.try_kctl(&["-n", &namespace.name, "create", "configmap", name, "--from-literal=a=b"]).0
    };
    let mut acknowledged = Vec::new();
    for daemon in daemons {
        let file = cluster.dir.join("pids").join(format!("{daemon}.pid"));
        let pid = std::fs::read_to_string(&file).expect("a pid file");
        for i in 0..10 {
            let name = format!("{daemon}-{i}");
            if i == 3 {
                assert!(
                    std::process::Command::new("kill")
                        .args(["-9", pid.trim()])
                        .status()
                        .expect("kill")
                        .success()
                );
            }
            if write(&name) {
                acknowledged.push(name);
            }
        }
        wait_for("the daemon's return", Duration::from_secs(20), || {
            std::fs::read_to_string(&file).is_ok_and(|now| now != pid)
                && cluster.try_kctl(&["get", "--raw", "/readyz"]).0
        });
    }
    let list = cluster.json(&["-n", &namespace.name, "get", "configmaps"]);
    let names: Vec<&str> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c["metadata"]["name"].as_str())
        .collect();
    for name in &acknowledged {
        assert!(names.contains(&name.as_str()), "acknowledged write {name} is lost");
    }
    assert!(acknowledged.len() >= 40, "only {} writes went through", acknowledged.len());
    wait_for("the node", Duration::from_secs(30), || {
        cluster.kctl(&["get", "nodes"]).lines().skip(1).all(|l| l.contains(" Ready "))
    });
    let mut after = pods(&cluster);
    let mut before = before;
    before.sort();
    after.sort();
    assert_eq!(before, after, "pods or containers were made anew");
    wait_for("the page", Duration::from_secs(10), || {
        http("http://172.31.240.1:30080/").is_some_and(|(c, _)| c == 200)
    });
}
