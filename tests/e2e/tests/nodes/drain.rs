//! Node after node is drained under load: the budgets hold, no request is lost, no data either.

use crate::budget::Departures;
use crate::orders::Customer;
use gantry_e2e::load::{self, Load};
use gantry_e2e::{Cluster, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const REDIS: [&str; 3] = ["redis-0", "redis-1", "redis-2"];
/// Of three pods one may be away.
const LEFT: usize = 2;

/// Makes the node take pods again, whatever came of the test.
struct Uncordon<'a>(&'a Cluster, &'a str);

impl Drop for Uncordon<'_> {
    fn drop(&mut self) {
        self.0.try_kctl(&["uncordon", self.1]);
    }
}

/// The nodes of an app's pods, by the pods' names.
fn places(cluster: &Cluster, app: &str) -> BTreeMap<String, String> {
    let list = cluster.json(&["get", "pods", "-l", &format!("app={app}")]);
    let pods = list["items"].as_array().into_iter().flatten();
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    pods.map(|p| (text(&p["metadata"]["name"]), text(&p["spec"]["nodeName"]))).collect()
}

fn uids(cluster: &Cluster, app: &str) -> BTreeSet<String> {
    let list = cluster.json(&["get", "pods", "-l", &format!("app={app}")]);
    let pods = list["items"].as_array().into_iter().flatten();
    pods.map(|p| p["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect()
}

fn try_drain(cluster: &Cluster, node: &str, timeout: &str) -> (bool, String) {
    let timeout = format!("--timeout={timeout}");
    cluster.try_kctl(&["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", &timeout])
}

/// Three pages on three nodes, however much is asked of them: the autoscaler would add some.
fn three_pages(cluster: &Cluster) {
    cluster.kctl(&["delete", "hpa", "web"]);
    cluster.kctl(&["scale", "deployment/web", "--replicas=3"]);
    cluster.kctl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
}

fn cluster_ip(cluster: &Cluster, service: &str) -> IpAddr {
    let service = cluster.json(&["get", "service", service]);
    let ip = service["spec"]["clusterIP"].as_str().expect("an address");
    ip.parse().expect("an address")
}

/// Drains the node and takes it back once all that may run elsewhere does.
fn there_and_back(cluster: &Cluster, node: &str) {
    let begin = Instant::now();
    let _after = Uncordon(cluster, node);
    let (done, text) = try_drain(cluster, node, "90s");
    assert!(done && text.contains(&format!("node/{node} drained")), "{text}");
    let warned = text.contains("ignoring DaemonSet-managed Pods: default/agent-");
    assert!(warned, "the agent is not spoken of: {text}");
    let drained = begin.elapsed();
    // Redis waits for its volume's node, pages move.
    let away: Vec<String> = places(cluster, "redis").into_values().filter(|n| n == node).collect();
    assert!(away.is_empty(), "redis runs on {node}, which is drained");
    cluster.kctl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert!(places(cluster, "web").values().all(|n| n != node), "pages on {node}, which is drained");

    cluster.kctl(&["uncordon", node]);
    cluster.kctl(&["rollout", "status", "statefulset/redis", "--timeout=60s"]);
    // The next node may be that of cluster DNS.
    cluster.kctl(&["-n", "kube-system", "rollout", "status", "deployment/gantry-dns", "--timeout=60s"]);
    let (drained, all) = (drained.as_secs_f64(), begin.elapsed().as_secs_f64());
    println!("{node}: drained in {drained:.1}s, all well after {all:.1}s");
}

#[test]
fn draining_node_after_node_keeps_the_budgets_and_loses_no_request_and_no_data() {
    let cluster = Cluster::get();
    cluster.shop();
    three_pages(&cluster);
    cluster.rest();
    let home = places(&cluster, "redis");
    let spread: BTreeSet<&str> = home.values().map(String::as_str).collect();
    assert_eq!(spread, NODES.into(), "redis is to be on every node: {home:?}");
    let agents = uids(&cluster, "agent");
    assert_eq!(agents.len(), NODES.len(), "an agent a node");
    let products = || cluster.redis("redis-0", &["--scan", "--pattern", "shop:product:*"]).lines().count();
    let seeded = products();
    assert!(seeded >= 100, "{seeded} products");

    let secret = cluster.kctl(&["exec", "redis-0", "--", "sh", "-c", "printf %s \"$REDISCLI_AUTH\""]);
    let customer = Customer::start(SocketAddr::new(cluster_ip(&cluster, "redis-primary"), 6379), &secret);
    let watched = ["redis", "web"].map(|app| (app, Departures::watch(&cluster, app)));
    let ports = [1, 2, 3].map(|i| SocketAddr::from(([172, 31, 240, i], 30080)));
    let doors = [&ports[..], &[SocketAddr::new(cluster_ip(&cluster, "web"), 80)]].concat();
    let ((), tally) = load::during(&Load::light(&doors), || {
        for node in NODES {
            there_and_back(&cluster, node);
        }
    });
    let book = customer.end();
    println!(
        "{} pages served, {} orders acknowledged, the primary away {} times for {:.1}s at most",
        tally.served,
        book.acknowledged.len(),
        book.gaps,
        book.longest.as_secs_f64()
    );
    tally.assert_whole();

    for (app, departures) in watched {
        let departures = departures.end();
        let gone: BTreeSet<&str> = departures.iter().map(|d| d.pod.as_str()).collect();
        assert!(gone.len() >= NODES.len() && (app == "web" || gone == REDIS.into()), "{app}: {departures:?}");
        assert!(departures.iter().all(|d| d.left >= LEFT), "{app}: the budget is broken: {departures:#?}");
    }
    assert_eq!(uids(&cluster, "agent"), agents, "an agent was drained");
    assert_eq!(places(&cluster, "redis"), home, "redis is where its data is");
    assert_eq!(products(), seeded, "products are lost");
    assert!(book.acknowledged.len() > 100, "too few orders to tell: {}", book.acknowledged.len());
    for redis in REDIS {
        let mut missing = book.acknowledged.clone();
        wait_for("the copies", Duration::from_secs(10), || {
            let there = cluster.redis(redis, &["--scan", "--pattern", "order:*"]);
            let there: BTreeSet<&str> = there.lines().collect();
            missing.retain(|key| !there.contains(key.as_str()));
            missing.is_empty()
        });
    }
}

#[test]
fn a_drain_waits_for_the_budget() {
    let cluster = Cluster::get();
    cluster.shop();
    let budget = |away: u8| {
        let patch = format!(r#"{{"spec":{{"maxUnavailable":{away}}}}}"#);
        cluster.kctl(&["patch", "pdb", "web", "--type=merge", "-p", &patch]);
    };
    let node = places(&cluster, "web").into_values().next().expect("a page");
    let _after = Uncordon(&cluster, &node);
    budget(0);
    let before = uids(&cluster, "web");
    let (done, text) = try_drain(&cluster, &node, "2s");
    budget(1);
    assert!(
        !done && text.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{text}"
    );
    assert_eq!(uids(&cluster, "web"), before, "a page went in spite of the budget");
    let list = cluster.json(&["get", "pods", "-l", "app=web"]);
    let mut pages = list["items"].as_array().into_iter().flatten();
    assert!(pages.all(|p| p["metadata"]["deletionTimestamp"].is_null()), "{list:#}");
}
