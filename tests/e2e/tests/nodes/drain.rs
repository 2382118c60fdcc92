//! A drain under load: the budget holds, no request is lost.

use gantry_e2e::{Cluster, http};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const PAGE: &str = "http://172.31.240.1:30080/healthz";

/// Makes the node take pods again, whatever came of the test.
struct Uncordon<'a>(&'a Cluster, String);

impl Drop for Uncordon<'_> {
    fn drop(&mut self) {
        self.0.try_kctl(&["uncordon", &self.1]);
    }
}

#[test]
fn a_drain_keeps_the_budget_and_loses_no_request() {
    let cluster = Cluster::get();
    cluster.kctl(&["apply", "-f", "deploy/samples/shop"]);
    cluster.kctl(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    cluster.rest();
    cluster.kctl(&["create", "pdb", "web", "--selector=app=web", "--min-available=3"]);
    let on = |node: &str| {
        let field = format!("--field-selector=spec.nodeName={node}");
        let list = cluster.json(&["get", "pods", "-l", "app=web", &field]);
        list["items"].as_array().map_or(0, Vec::len)
    };
    // Not the first node: its port is where the load comes in.
    let node = ["node-2", "node-3"].into_iter().max_by_key(|n| on(n)).expect("a node").to_owned();
    assert!(on(&node) > 0, "all pods are on the first node");
    let _after = Uncordon(&cluster, node.clone());
    let drain = ["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data"];

    // Three of three must stay: nothing may go.
    let (done, text) = cluster.try_kctl(&[&drain[..], &["--timeout=2s"]].concat());
    assert!(
        !done && text.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{text}"
    );
    cluster.kctl(&["patch", "pdb", "web", "--type=merge", "-p", r#"{"spec":{"minAvailable":2}}"#]);

    let (stop, lost, served) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match http(PAGE) {
                        Some((200, _)) => served.fetch_add(1, Ordering::Relaxed),
                        _ => lost.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
        }
        let (done, text) = cluster.try_kctl(&[&drain[..], &["--timeout=90s"]].concat());
        let (ready, status) = cluster.try_kctl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
        stop.store(true, Ordering::Relaxed);
        // The next test asks cluster DNS, which may have been among the drained.
        let dns = ["-n", "kube-system", "rollout", "status", "deployment/gantry-dns", "--timeout=60s"];
        let (resolving, status_of_dns) = cluster.try_kctl(&dns);
        assert!(resolving, "{status_of_dns}");
        assert!(done && text.contains(&format!("node/{node} drained")), "{text}");
        assert!(ready, "{status}");
    });
    assert_eq!(on(&node), 0, "pods are left on the drained node");
    assert!(served.load(Ordering::Relaxed) > 50, "too little load to tell");
    assert_eq!(lost.load(Ordering::Relaxed), 0, "requests lost of {}", served.load(Ordering::Relaxed));
}
