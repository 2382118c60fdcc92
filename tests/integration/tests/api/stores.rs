//! What is on disk is what was acknowledged.

use crate::{APPS, NS, config_map, names, plain, text, version, world};
use gantry_testkit::{Backing, Identity, build};
use serde_json::json;

async fn a_restart_loses_nothing(backing: Backing) {
    let (mut cluster, admin) = world(backing).await;
    let maps = format!("{NS}/configmaps");
    let create = async |i: usize| {
        let made = admin.post(&maps, &config_map(&format!("c{i:02}"), &i.to_string())).await.expect(201);
        version(&made)
    };
    let versions = futures::future::join_all((0..40).map(create)).await;
    admin.post(&format!("{APPS}/deployments"), &plain(&build::deployment("d", 2))).await.expect(201);
    admin.patch("merge", &format!("{maps}/c00"), &json!({"data": {"k": "changed"}})).await.expect(200);
    admin.delete(&format!("{maps}/c39")).await.expect(200);
    let before = admin.get(&maps).await.expect(200);
    let roles = admin.get("/apis/rbac.authorization.k8s.io/v1/clusterroles").await.expect(200);

    cluster.restart().await;
    let admin = cluster.http(&Identity::Admin);
    let after = admin.get(&maps).await.expect(200);
    assert_eq!(after["items"], before["items"]);
    assert_eq!(names(&after).len(), 39);
    assert_eq!(text(&after["items"][0]["data"]["k"]), "changed");
    let again = admin.get("/apis/rbac.authorization.k8s.io/v1/clusterroles").await.expect(200);
    assert_eq!(again["items"], roles["items"], "starting again writes nothing anew");
    // Revisions go on where they were, and a watch goes on from before.
    let since = versions.iter().max().copied().unwrap_or_default();
    let made = admin.post(&maps, &config_map("new", "1")).await.expect(201);
    assert!(version(&made) > version(&before));
    let mut watch = admin.watch(&format!("{maps}?watch=1&resourceVersion={since}")).await;
    let first = watch.next().await.unwrap();
    match text(&first["type"]) {
        // The server may have begun its memory after the restart; then it must say so, and a list helps.
        "ERROR" => assert_eq!(first["object"]["code"], json!(410)),
        kind => {
            assert_eq!((kind, text(&first["object"]["metadata"]["name"])), ("MODIFIED", "c00"));
            assert_eq!(watch.next_pair().await, ("DELETED".into(), "c39".into()));
            assert_eq!(watch.next_pair().await, ("ADDED".into(), "new".into()));
        }
    }
}

#[tokio::test]
async fn a_restart_loses_nothing_embedded() {
    a_restart_loses_nothing(Backing::Embedded).await;
}

#[tokio::test]
async fn a_restart_loses_nothing_etcd() {
    a_restart_loses_nothing(Backing::Etcd).await;
}

/// A cluster is quick to start: a few fast ones in a row keep a test run short.
#[tokio::test]
async fn a_cluster_starts_in_no_time() {
    let mut best = std::time::Duration::MAX;
    for _ in 0..4 {
        let start = std::time::Instant::now();
        let _cluster = gantry_testkit::Cluster::start().await;
        best = best.min(start.elapsed());
    }
    println!("started in {best:?}");
    // Four tries leave room for what else a busy machine does.
    assert!(best < std::time::Duration::from_millis(1500), "{best:?}");
}
