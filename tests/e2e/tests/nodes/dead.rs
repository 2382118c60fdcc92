//! A node whose link is cut: its pods move, its Service goes on, and it is well again soon after the link is back.

use gantry_e2e::{Cluster, http, wait_for};
use std::process::Command;
use std::time::{Duration, Instant};

const LOST: &str = "node-3";
const LINK: &str = "gnt-3";
const NODE_PORT: &str = "http://172.31.240.1:30091/";
/// Longer than any connection of the node outlives its peer.
const CUT: Duration = Duration::from_secs(60);

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: mover}
spec:
  replicas: 3
  selector: {matchLabels: {app: mover}}
  template:
    metadata: {labels: {app: mover}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: mover}}}
      containers:
        - name: c
          image: registry.gantry.internal/gantry/busybox:1
          command: [sh, -c, 'mkdir /www; echo here >/www/index.html; exec httpd -f -p 8080 -h /www']
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: mover}
spec:
  type: NodePort
  selector: {app: mover}
  ports: [{port: 80, targetPort: 8080, nodePort: 30091}]
";

/// Cuts the node's link; brings it back when dropped, so that a failed test leaves a whole cluster.
struct Cut;

impl Cut {
    fn now() -> Self {
        link("down");
        Self
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        link("up");
    }
}

fn link(state: &str) {
    let status = Command::new("ip").args(["link", "set", LINK, state]).status();
    assert!(status.expect("ip runs").success(), "{LINK} {state}");
}

#[test]
fn the_pods_of_a_dead_node_move_and_it_comes_back() {
    let cluster = Cluster::get();
    let namespace = cluster.namespace("dead");
    let n = namespace.name.as_str();
    cluster.kctl_with(&["-n", n, "apply", "-f", "-"], Some(MANIFEST));
    cluster.kctl(&["-n", n, "rollout", "status", "deployment/mover", "--timeout=60s"]);
    let pods = || {
        let list = cluster.json(&["-n", n, "get", "pods", "-l", "app=mover"]);
        list["items"].as_array().cloned().unwrap_or_default()
    };
    let on_lost = |p: &serde_json::Value| p["spec"]["nodeName"] == LOST;
    assert_eq!(pods().iter().filter(|p| on_lost(p)).count(), 1, "pods are spread: {:#?}", pods());
    let ready = || {
        let node = cluster.json(&["get", "node", LOST]);
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|c| c["type"] == "Ready");
        ready.and_then(|c| c["status"].as_str().map(str::to_owned)).unwrap_or_default()
    };

    let cut = Cut::now();
    let begin = Instant::now();
    wait_for("the node's end", Duration::from_secs(60), || ready() == "Unknown");
    println!("{LOST} Unknown after {:.1}s", begin.elapsed().as_secs_f64());
    wait_for("three pods elsewhere", Duration::from_secs(15), || {
        let list = pods();
        let well = |p: &&serde_json::Value| {
            let conditions = p["status"]["conditions"].as_array().cloned().unwrap_or_default();
            !on_lost(p) && conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        list.iter().filter(well).count() == 3
    });
    println!("pods moved after {:.1}s", begin.elapsed().as_secs_f64());
    wait_for("the service without the lost pod", Duration::from_secs(5), || {
        (0..20).all(|_| http(NODE_PORT).is_some_and(|(code, _)| code == 200))
    });
    std::thread::sleep(CUT.saturating_sub(begin.elapsed()));

    drop(cut);
    let back = Instant::now();
    wait_for("the node's return", Duration::from_secs(15), || ready() == "True");
    println!("{LOST} Ready {:.1}s after its link was back", back.elapsed().as_secs_f64());
    wait_for("the end of the pod that was lost", Duration::from_secs(30), || {
        let list = pods();
        list.len() == 3 && !list.iter().any(on_lost)
    });
    println!("the lost pod is gone {:.1}s after the link was back", back.elapsed().as_secs_f64());
    wait_for("a node without taints", Duration::from_secs(10), || {
        cluster.json(&["get", "node", LOST])["spec"]["taints"].is_null()
    });
    // Its proxy has caught up, and new work runs there again.
    wait_for("the service through the node", Duration::from_secs(15), || {
        (0..20).all(|_| http("http://172.31.240.3:30091/").is_some_and(|(code, _)| code == 200))
    });
    println!("its services work {:.1}s after the link was back", back.elapsed().as_secs_f64());
    let command =
        ["-n", n, "run", "again", "--image=registry.gantry.internal/gantry/busybox:1", "--restart=Never"];
    let overrides = format!("--overrides={{\"spec\":{{\"nodeName\":\"{LOST}\"}}}}");
    cluster.kctl(&[&command[..], &[&overrides, "--", "true"]].concat());
    cluster.kctl(&[
        "-n",
        n,
        "wait",
        "pod/again",
        "--for=jsonpath={.status.phase}=Succeeded",
        "--timeout=30s",
    ]);
}
