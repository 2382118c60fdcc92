//! What nodes, pods and containers use: through stock `kubectl top`, through `kctl top`, and to an autoscaler.

use gantry_e2e::{Cluster, wait_for};
use std::path::PathBuf;
use std::time::Duration;

/// A deployment of one pod: a container that takes all the CPU it gets, a fifth of a core, and one that sleeps;
/// and its autoscaler, which wants a tenth.
const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: busy
          image: registry.gantry.internal/gantry/busybox:1
          command: [sh, -c, 'while :; do :; done']
          resources: {requests: {cpu: 90m}, limits: {cpu: 200m}}
        - name: idle
          image: registry.gantry.internal/gantry/busybox:1
          command: [sleep, '3600']
          resources: {requests: {cpu: 10m}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: d}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}
  minReplicas: 1
  maxReplicas: 2
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 100}}}]
";

/// The number before a unit.
fn number(cell: &str, unit: &str) -> u64 {
    let digits = cell.strip_suffix(unit).unwrap_or_else(|| panic!("{cell} is not in {unit}"));
    digits.parse().unwrap_or_else(|_| panic!("{cell} is no number"))
}

fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// Compares what a client prints with what kctl does, within one round of figures.
fn same(cluster: &Cluster, kubectl: &PathBuf, args: &[&str]) {
    for _ in 0..5 {
        let before = cluster.kctl(args);
        let out = cluster.run(kubectl, args, None);
        let stock = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{}: {}", kubectl.display(), String::from_utf8_lossy(&out.stderr));
        if before == cluster.kctl(args) {
            assert_eq!(stock, before, "{} {args:?}", kubectl.display());
            return;
        }
    }
    panic!("figures never rest");
}

#[test]
fn use_is_told_and_acted_upon() {
    let cluster = Cluster::get();
    let namespace = cluster.namespace("metrics");
    let n = namespace.name.as_str();
    cluster.kctl_with(&["-n", n, "apply", "-f", "-"], Some(MANIFEST));
    cluster.kctl(&[
        "wait",
        "apiservice/v1beta1.metrics.k8s.io",
        "--for=condition=Available",
        "--timeout=30s",
    ]);

    // Nodes have been looked at before: their figures come first.
    wait_for("figures of nodes", Duration::from_secs(35), || cluster.try_kctl(&["top", "nodes"]).0);
    let text = cluster.kctl(&["top", "nodes", "--no-headers"]);
    for row in rows(&text) {
        let [_, cpu, cpu_share, memory, memory_share] = row.as_slice() else { panic!("{text}") };
        assert!(number(cpu, "m") > 0 && number(memory, "Mi") > 10, "{text}");
        assert!(number(cpu_share, "%") <= 110 && (1..=100).contains(&number(memory_share, "%")), "{text}");
    }
    let containers = ["-n", n, "top", "pod", "-l", "app=d", "--containers", "--no-headers"];
    wait_for("figures of the pod", Duration::from_secs(40), || {
        let (done, text) = cluster.try_kctl(&containers);
        done && rows(&text).len() >= 2
    });
    // The whole of the limit, and next to nothing; a round that began before the loop did tells of less.
    wait_for("the fifth of a core", Duration::from_secs(35), || {
        let text = cluster.kctl(&containers);
        let cpu = |name: &str| {
            rows(&text).iter().find(|r| r[1] == name).map(|r| number(r[2], "m")).expect("the container")
        };
        assert!(cpu("busy") <= 260 && cpu("idle") <= 20, "{text}");
        cpu("busy") >= 120
    });
    for kubectl in cluster.kubectls() {
        same(&cluster, &kubectl, &["top", "nodes", "--no-headers"]);
        same(&cluster, &kubectl, &["top", "pods", "-A"]);
        same(&cluster, &kubectl, &["-n", n, "top", "pod", "--containers", "--sort-by=cpu", "--sum"]);
    }
    let table = cluster.kctl(&["-n", n, "get", "podmetrics"]);
    assert!(table.starts_with("NAME ") && table.contains("WINDOW"), "{table}");

    wait_for("a second pod", Duration::from_secs(60), || {
        cluster.json(&["-n", n, "get", "hpa", "d"])["status"]["desiredReplicas"] == 2
    });
}
