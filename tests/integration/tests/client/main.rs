//! The daemons' client against a real apiserver, over networks that misbehave.

mod informers;
mod port;
mod proxy;

use gantry_client::informer::{Informer, Scope};
use gantry_client::{ClientConfig, Key};
use gantry_testkit::{Cluster, Identity, eventually};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use proxy::Proxy;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const IDLE: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_millis(500);

/// A client of the cluster through the proxy, quick to give silent connections up.
fn through(proxy: &Proxy, cluster: &Cluster) -> kube::Client {
    let mut config = cluster.config(&Identity::Admin).expect("a configuration").kube().clone();
    config.cluster_url = proxy.url().parse().expect("a URL");
    ClientConfig::new(config).keep_alive(IDLE, ANSWER).build().expect("a client")
}

fn named(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn a_watch_whose_peer_vanished_goes_on_over_a_new_connection() {
    let cluster = Cluster::start().await;
    let proxy = Proxy::before(&cluster.url()).await;
    let informer: Informer<ConfigMap> = Informer::new(through(&proxy, &cluster), Scope::default());
    informer.start(&CancellationToken::new());
    informer.synced().await;

    proxy.silence();
    let direct: Api<ConfigMap> = Api::namespaced(cluster.admin(), "kube-system");
    direct.create(&PostParams::default(), &named("unheard")).await.expect("a config map");
    eventually("the watch tells what the silent connection did not", || async {
        informer.store().get(&Key::new("kube-system", "unheard"))
    })
    .await;
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn a_request_without_an_answer_fails_and_the_next_one_succeeds() {
    let cluster = Cluster::start().await;
    let proxy = Proxy::before(&cluster.url()).await;
    let api: Api<ConfigMap> = Api::namespaced(through(&proxy, &cluster), "kube-system");
    api.create(&PostParams::default(), &named("a")).await.expect("a config map");

    proxy.silence();
    let begin = Instant::now();
    api.get("a").await.expect_err("nobody answers");
    assert!(begin.elapsed() < (IDLE + ANSWER) * 5, "noticed after {:?}", begin.elapsed());
    api.get("a").await.expect("a new connection");
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn a_quiet_connection_is_kept() {
    let cluster = Cluster::start().await;
    let proxy = Proxy::before(&cluster.url()).await;
    let api: Api<ConfigMap> = Api::namespaced(through(&proxy, &cluster), "kube-system");
    api.create(&PostParams::default(), &named("a")).await.expect("a config map");
    tokio::time::sleep((IDLE + ANSWER) * 3).await;
    api.get("a").await.expect("the same connection");
    assert_eq!(proxy.connections(), 1);
}
