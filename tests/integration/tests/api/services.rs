//! Service addresses and node ports: each to one service at a time.

use crate::{NS, plain, text, world};
use gantry_testkit::{Backing, Identity, build};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn nothing_is_given_twice(backing: Backing) {
    const CLIENTS: usize = 8;
    const EACH: usize = 10;
    let (cluster, _admin) = world(backing).await;
    let services = format!("{NS}/services");
    let create = async |client: usize| {
        let http = cluster.http(&Identity::Admin);
        let mut made = Vec::new();
        for i in 0..EACH {
            let mut service = plain(&build::service(&format!("s-{client}-{i}")));
            service["spec"]["type"] = json!("NodePort");
            made.push(http.post(&services, &service).await.expect(201));
        }
        made
    };
    let made: Vec<Value> =
        futures::future::join_all((0..CLIENTS).map(create)).await.into_iter().flatten().collect();
    let addresses: BTreeSet<&str> = made.iter().map(|s| text(&s["spec"]["clusterIP"])).collect();
    let ports: BTreeSet<i64> =
        made.iter().filter_map(|s| s["spec"]["ports"][0]["nodePort"].as_i64()).collect();
    assert_eq!((addresses.len(), ports.len()), (CLIENTS * EACH, CLIENTS * EACH));
    assert!(
        addresses.iter().all(|a| a.starts_with("10.96."))
            && ports.iter().all(|p| (30000..=32767).contains(p))
    );

    // One address, many who want it.
    let want = async |client: usize| {
        let mut service = plain(&build::service(&format!("w-{client}")));
        service["spec"]["clusterIP"] = json!("10.96.200.1");
        cluster.http(&Identity::Admin).post(&services, &service).await.status
    };
    let mut got = futures::future::join_all((0..4).map(want)).await;
    got.sort_unstable();
    assert_eq!(got, [201, 422, 422, 422]);
}

#[tokio::test]
async fn nothing_is_given_twice_embedded() {
    nothing_is_given_twice(Backing::Embedded).await;
}

#[tokio::test]
async fn nothing_is_given_twice_etcd() {
    nothing_is_given_twice(Backing::Etcd).await;
}

#[tokio::test]
async fn what_is_given_back_can_be_had_again() {
    let (mut cluster, mut admin) = world(Backing::Embedded).await;
    let services = format!("{NS}/services");
    let mut wanted = plain(&build::service("a"));
    wanted["spec"]["clusterIP"] = json!("10.96.200.2");
    wanted["spec"]["type"] = json!("NodePort");
    wanted["spec"]["ports"][0]["nodePort"] = json!(30123);
    let mut other = wanted.clone();
    other["metadata"]["name"] = json!("b");
    for round in 0..2 {
        admin.post(&services, &wanted).await.expect(201);
        if round == 1 {
            // Who holds what is still known after a restart.
            cluster.restart().await;
            admin = cluster.http(&Identity::Admin);
        }
        admin.post(&services, &other).await.expect(422);
        // A failed create leaves nothing behind.
        let mut port_only = other.clone();
        port_only["spec"]["clusterIP"] = json!("10.96.200.3");
        admin.post(&services, &port_only).await.expect(422);
        let mut address_only = plain(&build::service("c"));
        address_only["spec"]["clusterIP"] = json!("10.96.200.3");
        admin.post(&services, &address_only).await.expect(201);
        admin.delete(&format!("{services}/c")).await.expect(200);
        admin.delete(&format!("{services}/a")).await.expect(200);
        admin.post(&services, &other).await.expect(201);
        admin.delete(&format!("{services}/b")).await.expect(200);
    }
    // Changing the type gives the port back, and the address with ExternalName.
    admin.post(&services, &wanted).await.expect(201);
    let one = format!("{services}/a");
    let plain_type = admin.patch("merge", &one, &json!({"spec": {"type": "ClusterIP"}})).await.expect(200);
    assert!(plain_type["spec"]["ports"][0]["nodePort"].is_null());
    let named = json!({"spec": {"type": "ExternalName", "externalName": "a.example"}});
    let named = admin.patch("merge", &one, &named).await.expect(200);
    assert!(named["spec"]["clusterIP"].is_null(), "{named}");
    admin.post(&services, &other).await.expect(201);
}
