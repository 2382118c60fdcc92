mod fixtures;
mod hints;
mod property;
mod random;
mod recorded;
mod reference;
mod trial;
mod volumes;

use crate::default_profile;
use fixtures::World;
use gantry_scheduler_core::preemption::Preemption;
use gantry_scheduler_core::{Cluster, Event, Failure, Memory, Outcome, PodInfo, Profile, Queue};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use rand::SeedableRng;
use serde_json::{Value, json};
use std::sync::Arc;

fn node(name: &str, more: Value) -> Node {
    let mut n = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10", "ephemeral-storage": "10Gi"}}});
    merge(&mut n, more);
    serde_json::from_value(n).unwrap()
}

fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    let mut p = json!({
        "metadata": {"namespace": "n", "name": name, "uid": name},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]}});
    merge(&mut p["spec"], spec);
    Arc::new(PodInfo::new(&serde_json::from_value::<Pod>(p).unwrap()))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(k, v)| merge(into.entry(k).or_insert(Value::Null), v));
        }
        (into, from) => *into = from,
    }
}

fn cpu(amount: &str) -> Value {
    json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": amount}}}]})
}

/// Where the pod goes, or why not.
fn decide(nodes: &[Node], placed: &[Arc<PodInfo>], p: &PodInfo) -> String {
    let mut world = World::default();
    for n in nodes {
        world.cluster.set_node(n);
    }
    placed.iter().for_each(|p| drop(world.cluster.set_pod(p.clone())));
    world.decide(p)
}

fn on(name: &str, node: &str, spec: Value) -> Arc<PodInfo> {
    let mut spec = spec;
    spec["nodeName"] = node.into();
    pod(name, spec)
}

#[test]
fn every_filter_refuses_in_upstream_words() {
    let check = |node_more: Value, spec: Value, expected: &str| {
        let got = decide(&[node("a", node_more)], &[], &pod("p", spec));
        assert_eq!(got, expected);
    };
    let tainted = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let no = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    check(json!({}), json!({}), "a");
    check(
        json!({"spec": {"unschedulable": true}}),
        json!({}),
        &format!("0/1 nodes are available: 1 node(s) were unschedulable. {no}"),
    );
    check(
        tainted.clone(),
        json!({}),
        &format!("0/1 nodes are available: 1 node(s) had untolerated taint(s). {no}"),
    );
    check(tainted, json!({"tolerations": [{"key": "k", "operator": "Exists"}]}), "a");
    check(
        json!({}),
        json!({"nodeSelector": {"disk": "ssd"}}),
        &format!("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. {no}"),
    );
    check(json!({}), cpu("3"), &format!("0/1 nodes are available: 1 Insufficient cpu. {no}"));
    let gpu = json!({"containers": [{"name": "c", "resources": {"requests": {"x.y/gpu": "1"}}}]});
    check(json!({}), gpu, &format!("0/1 nodes are available: 1 Insufficient x.y/gpu. {no}"));
    let none = decide(&[], &[], &pod("p", json!({})));
    assert!(none.starts_with("no nodes available to schedule pods"), "{none}");
}

#[test]
fn reasons_are_counted_over_nodes_and_sorted() {
    let nodes =
        [node("a", json!({})), node("b", json!({})), node("c", json!({"spec": {"unschedulable": true}}))];
    let full = [on("x", "a", cpu("2")), on("y", "b", cpu("2"))];
    assert_eq!(
        decide(&nodes, &full, &pod("p", cpu("1"))),
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are \
         available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
    );
}

#[test]
fn host_ports_conflict_by_address() {
    let port = |ip: &str| json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": ip}]}]});
    let nodes = [node("a", json!({}))];
    let there = [on("x", "a", port("127.0.0.1"))];
    assert_eq!(decide(&nodes, &there, &pod("p", port("127.0.0.2"))), "a");
    for ip in ["127.0.0.1", "", "0.0.0.0"] {
        let got = decide(&nodes, &there, &pod("p", port(ip)));
        assert!(
            got.starts_with(
                "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
            ),
            "{got}"
        );
    }
}

#[test]
fn emptier_preferred_and_untainted_nodes_are_liked() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    assert_eq!(decide(&nodes, &[on("x", "a", cpu("1"))], &pod("p", json!({}))), "b");
    let zoned = [node("a", json!({"metadata": {"labels": {"zone": "1"}}})), node("b", json!({}))];
    let prefers = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["1"]}]}}]}}});
    assert_eq!(decide(&zoned, &[on("x", "a", cpu("1"))], &pod("p", prefers)), "a");
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    assert_eq!(decide(&[node("a", soft), node("b", json!({}))], &[], &pod("p", json!({}))), "b");
    let image = json!({"status": {"images": [{"names": ["i:latest"], "sizeBytes": 900_000_000}]}});
    assert_eq!(decide(&[node("a", image), node("b", json!({}))], &[], &pod("p", json!({}))), "a");
}

#[test]
fn preemption_takes_the_fewest_of_the_least_important() {
    let with = |priority: i32, amount: &str| {
        let mut spec = cpu(amount);
        spec["priority"] = priority.into();
        spec
    };
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let placed = [on("a1", "a", with(5, "1")), on("a2", "a", with(1, "1")), on("b1", "b", with(9, "2"))];
    assert_eq!(decide(&nodes, &placed, &pod("p", with(10, "1"))), "a without a2");
    assert_eq!(decide(&nodes, &placed, &pod("p", with(10, "1500m"))), "a without a1,a2");
    let mut never = with(10, "1");
    never["preemptionPolicy"] = "Never".into();
    assert!(
        decide(&nodes, &placed, &pod("p", never)).contains("not eligible due to preemptionPolicy=Never.")
    );
}

#[test]
fn refused_pods_wake_for_changes_that_help_and_no_others() {
    let profiles = [default_profile("default-scheduler")];
    let (mut world, mut queue) = (World::default(), Queue::default());
    let mut now = Timestamp::UNIX_EPOCH;
    world.cluster.set_node(&node("a", json!({})));
    world.cluster.set_pod(on("x", "a", cpu("2")));
    queue.set(pod("p", cpu("1")), 0, &profiles[0], &world.cluster, now);
    let entry = queue.pop(&profiles, now).unwrap();
    let failure = world.refuse(&entry.pod);
    queue.refuse(entry, failure.plugins, &profiles[0], now);
    now = now.checked_add(SignedDuration::from_secs(20)).unwrap();
    let (small, _) =
        world.cluster.set_node(&node("small", json!({"status": {"allocatable": {"cpu": "500m"}}})));
    queue.changed(&Event::NodeAdded(small), &profiles, &world.cluster, now);
    assert!(queue.pop(&profiles, now).is_none(), "too small a node must not wake it");
    let gone = world.cluster.remove_pod("x").unwrap();
    queue.changed(&Event::PodRemoved(&gone), &profiles, &world.cluster, now);
    assert!(queue.pop(&profiles, now).is_some(), "room must wake it");
}

#[test]
fn sums_survive_any_order_of_events() {
    for seed in 0..200u64 {
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        let mut cluster = Cluster::default();
        for _ in 0..60 {
            use rand::RngExt;
            let (p, n) = (format!("p{}", rng.random_range(0..8)), format!("n{}", rng.random_range(0..3)));
            match rng.random_range(0..6) {
                0 => {
                    cluster.set_node(&node(&n, json!({})));
                }
                1 => drop(cluster.remove_node(&n)),
                2 | 3 => drop(cluster.set_pod(on(&p, &n, cpu("100m")))),
                4 => {
                    cluster.remove_pod(&p);
                }
                _ => {
                    if let Some(i) = cluster.index(&n) {
                        cluster.remove_pod(&p);
                        // Removing its last pod may have taken an absent node's place away.
                        if cluster.node(i).is_some() {
                            cluster.assume(&pod(&p, cpu("100m")), i);
                        }
                    }
                }
            }
            for (_, info) in cluster.nodes() {
                let sum: i64 = info.pods.iter().map(|p| p.requests.cpu).sum();
                assert_eq!(info.requested.cpu, sum, "seed {seed}");
            }
            assert_eq!(cluster.nodes().count(), cluster.len(), "seed {seed}");
        }
    }
}
