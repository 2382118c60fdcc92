//! Every daemon is killed in mid-writing: nothing acknowledged is lost, no container notices, nobody acts twice.

mod history;
mod state;
mod writers;

use gantry_e2e::{Cluster, Namespace, http, wait_for};
use history::History;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use state::State;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use writers::{Acknowledged, CLIENTS, WRITES};

const DAEMONS: [&str; 8] = [
    "apiserver",
    "etcd",
    "controller-manager",
    "scheduler",
    "kubelet",
    "kube-proxy",
    "containerd",
    "network",
];
/// A killed leader's lease runs out after 15 s; its follower looks every 2 to 4 s.
const TAKEOVER: Duration = Duration::from_secs(40);
const BEFORE: i32 = 2;
const AFTER: i32 = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Together,
    /// This long apart.
    InTurn(Duration),
}

#[test]
fn all_daemons_killed_at_once() {
    check("crash-once", Mode::Together);
}

#[test]
fn daemons_killed_one_after_another() {
    check("crash-turn", Mode::InTurn(Duration::from_millis(400)));
}

fn check(name: &str, mode: Mode) {
    let cluster = Cluster::get();
    cluster.shop();
    // What comes and goes by the minute is no one's doing here.
    cluster.kctl(&["delete", "cronjob", "counter"]);
    wait_for("the end of the counting", Duration::from_secs(60), || {
        let pods = cluster.json(&["get", "pods", "-l", "app=counter"]);
        pods["items"].as_array().is_some_and(Vec::is_empty)
    });
    let namespace = cluster.namespace(name);
    let manifest = deployment();
    cluster.kctl_with(&["-n", name, "apply", "-f", "-"], Some(&manifest));
    cluster.kctl(&["-n", name, "rollout", "status", "deployment/grow", "--timeout=60s"]);
    cluster.rest();
    // A pod may be gone a moment before its sandbox is.
    wait_for("no task but those of pods", Duration::from_secs(60), || {
        cluster.tasks().len() == tasks_of_pods(&cluster)
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(crash(&cluster, &namespace, mode));
}

/// How many tasks the pods there are account for: a sandbox each, and what runs in it.
fn tasks_of_pods(cluster: &Cluster) -> usize {
    let pods = cluster.json(&["get", "pods", "-A"]);
    let running = |statuses: &serde_json::Value| {
        let statuses = statuses.as_array().into_iter().flatten();
        statuses.filter(|c| !c["state"]["running"].is_null()).count()
    };
    let pods = pods["items"].as_array().into_iter().flatten();
    pods.filter(|p| p["status"]["phase"] == "Running")
        .map(|p| {
            1 + running(&p["status"]["containerStatuses"]) + running(&p["status"]["initContainerStatuses"])
        })
        .sum()
}

async fn crash(cluster: &Cluster, namespace: &Namespace<'_>, mode: Mode) {
    let client = cluster.client().await;
    let before = State::take(cluster, &client).await;
    let pods = History::<Pod>::start(client.clone()).await;
    let sets = History::<ReplicaSet>::start(client.clone()).await;
    let acknowledged = Arc::new(Acknowledged::default());
    let begin = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        let api = Api::namespaced(cluster.client().await, &namespace.name);
        tasks.push(tokio::spawn(writers::write(api, client, acknowledged.clone())));
    }
    acknowledged.reached(WRITES * 3 / 10).await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client().await, &namespace.name);
    let scaling = tokio::spawn(scale(deployments.clone()));
    let mut killed = BTreeSet::new();
    for daemon in DAEMONS {
        if let Some(pid) = cluster.pid(daemon) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the daemon runs");
            killed.insert((daemon, pid));
        }
        if let Mode::InTurn(apart) = mode {
            tokio::time::sleep(apart).await;
        }
    }
    assert!(killed.len() >= 7, "only {killed:?} ran");
    for task in tasks {
        task.await.expect("a writer");
    }
    let wrote = begin.elapsed();
    scaling.await.expect("the scaling");
    for (daemon, pid) in &killed {
        wait_for(daemon, Duration::from_secs(20), || cluster.pid(daemon).is_some_and(|now| now != *pid));
    }

    writers::verify(&Api::namespaced(client.clone(), &namespace.name), &acknowledged).await;
    grown(&deployments).await;
    wait_for("the node", Duration::from_secs(30), || {
        cluster.kctl(&["get", "nodes"]).lines().skip(1).all(|l| l.contains(" Ready "))
    });
    wait_for("the page", Duration::from_secs(10), || {
        http("http://172.31.240.1:30080/").is_some_and(|(c, _)| c == 200)
    });
    // Whoever would act twice does so once it leads and has caught up: give it time to.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let after = State::take(cluster, &client).await;
    let new = after.since(&before);
    let wanted = usize::try_from(AFTER - BEFORE).expect("a growth");
    assert_eq!(new.pods.len(), wanted, "new pods: {:?}", new.pods);
    // A sandbox and a container each.
    assert_eq!(new.tasks.len(), wanted * 2, "new tasks: {:?}", new.tasks);
    let (pods, sets) = (pods.stop().await, sets.stop().await);
    assert_eq!(pods.added, new.pods.keys().cloned().collect(), "pods ever created");
    assert!(new.pods.values().all(|p| p.starts_with(&format!("{}/grow-", namespace.name))), "{:?}", new.pods);
    assert_eq!(pods.deleted, BTreeSet::new(), "pods deleted");
    assert_eq!((sets.added, sets.deleted), (BTreeSet::new(), BTreeSet::new()), "replica sets changed");
    println!(
        "{}: {WRITES} writes in {:.1}s, {} failed tries, {} daemons killed, all well after {:.1}s",
        namespace.name,
        wrote.as_secs_f64(),
        acknowledged.failures(),
        killed.len(),
        begin.elapsed().as_secs_f64()
    );
}

/// Scales the deployment up, again and again until somebody says yes.
async fn scale(api: Api<Deployment>) {
    let patch = serde_json::json!({"spec": {"replicas": AFTER}});
    while api.patch("grow", &PatchParams::default(), &Patch::Merge(&patch)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn grown(api: &Api<Deployment>) {
    let begin = Instant::now();
    loop {
        let ready = match api.get("grow").await {
            Ok(d) => d.status.and_then(|s| s.available_replicas).unwrap_or(0),
            Err(_) => 0,
        };
        if ready == AFTER {
            return;
        }
        assert!(begin.elapsed() < TAKEOVER, "{ready} of {AFTER} pods are available after {TAKEOVER:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn deployment() -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: grow}}\nspec:\n  replicas: {BEFORE}\n  \
         selector: {{matchLabels: {{app: grow}}}}\n  template:\n    metadata: {{labels: {{app: grow}}}}\n    \
         spec:\n      terminationGracePeriodSeconds: 0\n      \
         containers: [{{name: c, image: 'registry.gantry.internal/gantry/busybox:1', command: [sleep, '3600']}}]\n"
    )
}
