//! The sample: a page served through the cluster address, the node port and cluster DNS, with live data; a redis
//! that keeps its data and its names; and the work around them.

use gantry_e2e::load::{self, Load};
use gantry_e2e::{Cluster, http, wait_for};
use std::net::SocketAddr;
use std::time::Duration;

const NODE_PORT: &str = "http://172.31.240.1:30080/";
/// What the seed puts on the shelves.
const PRODUCTS: usize = 100;

/// The page's node port.
pub fn door() -> SocketAddr {
    SocketAddr::from(([172, 31, 240, 1], 30080))
}

/// The number the page shows behind `label`.
fn shown(label: &str) -> Option<u64> {
    let (_, page) = http(NODE_PORT)?;
    page.split(label).nth(1)?.split('<').next()?.trim().parse().ok()
}

fn visits() -> Option<u64> {
    shown("Visits counted by redis: ")
}

#[test]
fn pages_are_served_through_every_door() {
    let cluster = Cluster::get();
    cluster.shop();
    wait_for("the node port", Duration::from_secs(10), || {
        http(NODE_PORT).is_some_and(|(code, _)| code == 200)
    });
    let (_, page) = http(NODE_PORT).expect("the page");
    assert!(page.contains("Open for business"), "{page}");

    let service = cluster.json(&["get", "service", "web"]);
    let ip = service["spec"]["clusterIP"].as_str().expect("a cluster address");
    assert_eq!(http(&format!("http://{ip}/healthz")), Some((200, "ok\n".into())));

    let pods = cluster.json(&["get", "pods", "-l", "app=web"]);
    let pod = pods["items"][0]["metadata"]["name"].as_str().expect("a pod").to_owned();
    let names = ["web", "web.default", "web.default.svc.cluster.local"];
    for name in names {
        let url = format!("http://{name}/healthz");
        let out = cluster.kctl(&["exec", &pod, "-c", "visits", "--", "wget", "-q", "-O", "-", &url]);
        assert_eq!(out, "ok\n", "{name}");
    }
}

#[test]
fn pages_show_what_redis_counts() {
    let cluster = Cluster::get();
    cluster.shop();
    wait_for("live data", Duration::from_secs(20), || visits().is_some());
    let before = visits().expect("a count");
    for _ in 0..20 {
        assert_eq!(http(NODE_PORT).map(|(code, _)| code), Some(200));
    }
    wait_for("20 visits more", Duration::from_secs(20), || visits().is_some_and(|now| now >= before + 20));
}

#[test]
fn redis_keeps_its_data_and_its_names() {
    let cluster = Cluster::get();
    cluster.shop();
    let claim = || cluster.json(&["get", "pvc", "data-redis-0"]);
    let address = |pod: &str| {
        let pod = cluster.json(&["get", "pod", pod]);
        pod["status"]["podIP"].as_str().unwrap_or_default().to_owned()
    };
    let (bound, first) = (claim(), address("redis-0"));
    assert_eq!(bound["status"]["phase"], "Bound", "{bound:#}");
    assert_eq!(bound["spec"]["storageClassName"], "local", "{bound:#}");

    cluster.redis("redis-0", &["set", "kept", "yes"]);
    cluster.kctl(&["delete", "pod", "redis-0"]);
    cluster.kctl(&["rollout", "status", "statefulset/redis", "--timeout=60s"]);
    assert_eq!(cluster.redis("redis-0", &["get", "kept"]), "yes");
    assert_eq!(claim()["metadata"]["uid"], bound["metadata"]["uid"], "the claim is another");
    assert_ne!(address("redis-0"), first, "the address is to be another");
    for replica in ["redis-1", "redis-2"] {
        wait_for("the replica's return to its primary", Duration::from_secs(20), || {
            cluster.redis(replica, &["info", "replication"]).contains("master_link_status:up")
        });
        let name = format!("{replica}.redis");
        assert_eq!(cluster.redis("redis-0", &["-h", &name, "get", "kept"]), "yes", "{name}");
    }
    // And on it goes.
    cluster.redis("redis-0", &["set", "kept", "still"]);
    wait_for("the copies", Duration::from_secs(10), || {
        ["redis-1", "redis-2"].iter().all(|r| cluster.redis(r, &["get", "kept"]) == "still")
    });
}

#[test]
fn an_agent_tells_of_every_node() {
    let cluster = Cluster::get();
    cluster.shop();
    let nodes = cluster.json(&["get", "nodes"]);
    for node in nodes["items"].as_array().expect("nodes") {
        let name = node["metadata"]["name"].as_str().expect("a name");
        let told = || cluster.redis("redis-0", &["hget", "shop:nodes", name]).parse::<u64>().ok();
        wait_for("a first word of the node", Duration::from_secs(20), || told().is_some());
        let first = told();
        wait_for("the next word of the node", Duration::from_secs(20), || told() > first);
    }
}

#[test]
fn a_job_fills_the_shelves_once_and_a_cron_job_counts_them() {
    let cluster = Cluster::get();
    cluster.shop();
    let products = || cluster.redis("redis-0", &["--scan", "--pattern", "shop:product:*"]).lines().count();
    let there = products();
    assert!(there >= PRODUCTS, "{there}");

    // One more product, one renamed: a second seed changes neither.
    cluster.redis("redis-0", &["set", "shop:product:extra", "new"]);
    cluster.redis("redis-0", &["set", "shop:product:7", "renamed"]);
    cluster.kctl(&["delete", "job", "seed"]);
    cluster.shop();
    assert_eq!(products(), PRODUCTS + 1);
    assert_eq!(cluster.redis("redis-0", &["get", "shop:product:7"]), "renamed");

    // It starts with the minute.
    let counted = PRODUCTS as u64 + 1;
    wait_for("the next count on the page", Duration::from_secs(80), || {
        shown("Products on the shelves: ") == Some(counted)
    });
    let counter = cluster.json(&["get", "cronjob", "counter"]);
    assert!(counter["status"]["lastSuccessfulTime"].is_string(), "{counter:#}");
    let kept = cluster.json(&["get", "jobs"]);
    let kept = kept["items"].as_array().into_iter().flatten();
    let of_counter = kept.filter(|j| j["metadata"]["ownerReferences"][0]["name"] == "counter").count();
    assert!((1..=2).contains(&of_counter), "{of_counter} jobs are kept");
}

#[test]
fn the_autoscaler_follows_the_load_up_and_down() {
    let cluster = Cluster::get();
    cluster.shop();
    let pages = || cluster.json(&["get", "deployment", "web"])["spec"]["replicas"].as_u64();
    let down = || {
        wait_for("as few pages as may be", Duration::from_secs(120), || pages() == Some(2));
    };
    down();
    let doors = [door()];
    let ((), tally) = load::during(&Load::heavy(&doors), || {
        wait_for("more pages", Duration::from_secs(90), || pages() > Some(2));
        cluster.kctl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    });
    tally.assert_whole();
    // Those that go finish what they have begun.
    let ((), tally) = load::during(&Load::light(&doors), down);
    tally.assert_whole();
    let autoscaler = cluster.json(&["get", "hpa", "web"]);
    let used = &autoscaler["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"];
    assert!(used.is_u64(), "{autoscaler:#}");
}
