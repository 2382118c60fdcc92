//! Creating and updating: concurrency, dry runs, generated names, status apart from spec.

use crate::{APPS, NS, config_map, named, names, plain, text, version, world};
use gantry_testkit::{Backing, Identity, build};
use serde_json::{Value, json};

/// Sixteen clients add one each time; none is lost, and each conflict is told.
async fn no_increment_is_lost(backing: Backing) {
    const CLIENTS: usize = 16;
    const EACH: usize = 8;
    let (cluster, admin) = world(backing).await;
    let maps = format!("{NS}/configmaps");
    admin.post(&maps, &config_map("counter", "0")).await.expect(201);
    let one = format!("{maps}/counter");
    let add = async |client: usize| {
        let http = cluster.http(&Identity::Admin);
        let mut conflicts = 0;
        for _ in 0..EACH {
            loop {
                let mut object = http.get(&one).await.expect(200);
                let count: usize = text(&object["data"]["k"]).parse().unwrap();
                object["data"]["k"] = json!((count + 1).to_string());
                object["data"][format!("client-{client}")] = json!("was here");
                let answer = http.put(&one, &object).await;
                match answer.status {
                    200 => break,
                    409 => conflicts += 1,
                    other => panic!("{other}: {}", answer.text()),
                }
            }
        }
        conflicts
    };
    let conflicts: Vec<usize> = futures::future::join_all((0..CLIENTS).map(add)).await;
    let object = admin.get(&one).await.expect(200);
    assert_eq!(text(&object["data"]["k"]), (CLIENTS * EACH).to_string(), "conflicts: {conflicts:?}");
    assert_eq!(object["data"].as_object().unwrap().len(), CLIENTS + 1);
}

#[tokio::test]
async fn no_increment_is_lost_embedded() {
    no_increment_is_lost(Backing::Embedded).await;
}

#[tokio::test]
async fn no_increment_is_lost_etcd() {
    no_increment_is_lost(Backing::Etcd).await;
}

/// Patches without a version are repeated by the server until they hold.
#[tokio::test]
async fn patches_of_many_clients_all_hold() {
    let (cluster, admin) = world(Backing::Embedded).await;
    admin.post(&format!("{NS}/configmaps"), &named("a")).await.expect(201);
    let one = format!("{NS}/configmaps/a");
    let patch = async |client: usize| {
        let http = cluster.http(&Identity::Admin);
        for i in 0..4 {
            http.patch("merge", &one, &json!({"data": {format!("k-{client}-{i}"): "v"}})).await.expect(200);
        }
    };
    futures::future::join_all((0..8).map(patch)).await;
    assert_eq!(admin.get(&one).await.expect(200)["data"].as_object().unwrap().len(), 32);
}

#[tokio::test]
async fn one_of_many_creates_wins() {
    let (cluster, admin) = world(Backing::Embedded).await;
    let maps = format!("{NS}/configmaps");
    let create = async |i: usize| {
        cluster.http(&Identity::Admin).post(&maps, &config_map("one", &i.to_string())).await.status
    };
    let mut got = futures::future::join_all((0..8).map(create)).await;
    got.sort_unstable();
    assert_eq!(got, [201, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(names(&admin.get(&maps).await.expect(200)), ["one"]);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let maps = format!("{NS}/configmaps");
    admin.post(&maps, &config_map("a", "1")).await.expect(201);
    let before = admin.get(&maps).await.expect(200);
    let one = format!("{maps}/a?dryRun=All");
    let made = admin.post(&format!("{maps}?dryRun=All"), &config_map("b", "1")).await.expect(201);
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string());
    let changed = admin.put(&one, &config_map("a", "2")).await.expect(200);
    assert_eq!(text(&changed["data"]["k"]), "2");
    for kind in ["merge", "strategic"] {
        let changed = admin.patch(kind, &one, &json!({"data": {"k": "3"}})).await.expect(200);
        assert_eq!(text(&changed["data"]["k"]), "3");
    }
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}});
    admin.patch("apply", &format!("{maps}/new?dryRun=All&fieldManager=m"), &applied).await.expect(201);
    admin.delete(&one).await.expect(200);
    admin.delete(&format!("{maps}?dryRun=All")).await.expect(200);
    admin.post(&format!("{NS}/services?dryRun=All"), &plain(&build::service("s"))).await.expect(201);
    admin.post(&format!("{NS}/pods?dryRun=All"), &plain(&build::pod("p"))).await.expect(201);
    let after = admin.get(&maps).await.expect(200);
    assert_eq!(after["items"], before["items"]);
    assert_eq!(version(&after), version(&before), "the store has not moved");
}

#[tokio::test]
async fn an_update_of_nothing_new_is_no_write() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let made =
        admin.post(&format!("{APPS}/deployments"), &plain(&build::deployment("d", 2))).await.expect(201);
    let one = format!("{APPS}/deployments/d");
    let put = admin.put(&one, &made).await.expect(200);
    let patched = admin.patch("merge", &one, &json!({"spec": {"replicas": 2}})).await.expect(200);
    assert_eq!((version(&put), version(&patched)), (version(&made), version(&made)));
}

#[tokio::test]
async fn generations_count_specs() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let generation = |object: &Value| object["metadata"]["generation"].as_i64().unwrap_or(0);
    let made =
        admin.post(&format!("{APPS}/deployments"), &plain(&build::deployment("d", 2))).await.expect(201);
    assert_eq!(generation(&made), 1);
    let one = format!("{APPS}/deployments/d");
    let labels = admin.patch("merge", &one, &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    assert_eq!(generation(&labels), 1);
    let spec = admin.patch("merge", &one, &json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!(generation(&spec), 2);
    // Status through the front door is not heard, nor spec through the status door.
    let status = admin.patch("merge", &one, &json!({"status": {"replicas": 9}})).await.expect(200);
    assert!(status["status"]["replicas"].is_null());
    let side = json!({"spec": {"replicas": 7}, "status": {"replicas": 3}});
    let status = admin.patch("merge", &format!("{one}/status"), &side).await.expect(200);
    assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(5), &json!(3)));
    assert_eq!(generation(&status), 2);
    let scaled = json!({"spec": {"replicas": 1}});
    let scale = admin.patch("merge", &format!("{one}/scale"), &scaled).await.expect(200);
    assert_eq!((text(&scale["kind"]), &scale["status"]["replicas"]), ("Scale", &json!(3)));
    assert_eq!(generation(&admin.get(&one).await.expect(200)), 3);
}

#[tokio::test]
async fn names_are_made_up() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let maps = format!("{NS}/configmaps");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let made = admin.post(&maps, &json!({"metadata": {"generateName": "x-"}})).await.expect(201);
        let name = text(&made["metadata"]["name"]).to_owned();
        assert!(name.len() == 7 && name.starts_with("x-"), "{name}");
        seen.insert(name);
    }
    assert_eq!(seen.len(), 20);
}
