//! The daemons' secure port asks the cluster who somebody is and what they may.

use gantry_client::port::{self, PortArgs};
use gantry_daemon::ops::Ops;
use gantry_testkit::{Cluster, Identity, eventually};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use std::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The status of a request to the port as this identity; 0 where the connection is refused.
async fn status(cluster: &Cluster, identity: &Identity, port: u16, path: &str) -> u16 {
    let mut config = cluster.config(identity).expect("a configuration").kube().clone();
    config.cluster_url = format!("https://127.0.0.1:{port}").parse().expect("a URL");
    // The port presents a certificate of its own making.
    (config.root_cert, config.accept_invalid_certs) = (None, true);
    let client = kube::Client::try_from(config).expect("a client");
    let request = http::Request::get(path).body(kube::client::Body::empty()).expect("a request");
    client.send(request).await.map_or(0, |answer| answer.status().as_u16())
}

#[tokio::test]
async fn client_certificates_are_believed_that_the_cluster_believes() {
    let cluster = Cluster::start().await;
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let args = PortArgs {
        bind_address: "127.0.0.1".parse().expect("an address"),
        secure_port: Some(free),
        tls_cert_file: None,
        tls_private_key_file: None,
        client_ca_file: None,
        authentication_kubeconfig: None,
        authorization_kubeconfig: None,
    };
    let stop = CancellationToken::new();
    port::serve(&args, "kube-scheduler", 0, Ops::new(), cluster.admin(), stop.clone()).await.expect("a port");

    eventually("the published authority is believed", || async {
        (status(&cluster, &Identity::Admin, free, "/metrics").await == 200).then_some(())
    })
    .await;
    for (identity, path, expected) in [
        (Identity::nobody(), "/metrics", 403),
        (Identity::Anonymous, "/metrics", 403),
        (Identity::Anonymous, "/healthz", 200),
        (Identity::Token("nonsense".into()), "/metrics", 401),
    ] {
        assert_eq!(status(&cluster, &identity, free, path).await, expected, "{identity:?} {path}");
    }

    // Whatever another apiserver says there stays, and what this one says comes back.
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), "kube-system");
    let name = "extension-apiserver-authentication";
    let patch = Patch::Merge(serde_json::json!({"data": {"client-ca-file": null}}));
    maps.patch(name, &PatchParams::default(), &patch).await.expect("it can be changed");
    eventually("the authority is published again", || async {
        let map = maps.get(name).await.ok()?;
        map.data?.get("client-ca-file").filter(|ca| ca.contains("BEGIN CERTIFICATE")).map(drop)
    })
    .await;
    maps.delete(name, &Default::default()).await.expect("it can be deleted");
    eventually("the object is made again", || async { maps.get(name).await.ok() }).await;
    eventually("certificates are believed again", || async {
        (status(&cluster, &Identity::Admin, free, "/metrics").await == 200).then_some(())
    })
    .await;
}
