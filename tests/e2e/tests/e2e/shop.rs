//! The sample: a page served through the cluster address, the node port and cluster DNS, with live data.

use gantry_e2e::{Cluster, http, wait_for};
use std::time::Duration;

const NODE_PORT: &str = "http://172.31.240.1:30080/";

pub fn up(cluster: &Cluster) {
    cluster.kctl(&["apply", "-f", "deploy/samples/shop"]);
    for deployment in ["deployment/redis", "deployment/web"] {
        cluster.kctl(&["rollout", "status", deployment, "--timeout=90s"]);
    }
}

#[test]
fn pages_are_served_through_every_door() {
    let cluster = Cluster::get();
    up(&cluster);
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
    up(&cluster);
    let visits = || {
        let (_, page) = http(NODE_PORT)?;
        page.split("redis: ").nth(1)?.split('<').next()?.trim().parse::<u64>().ok()
    };
    wait_for("live data", Duration::from_secs(20), || visits().is_some());
    let before = visits().expect("a count");
    wait_for("a growing count", Duration::from_secs(20), || visits().is_some_and(|now| now > before));
}
