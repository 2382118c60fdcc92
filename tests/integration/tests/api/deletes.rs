//! Deleting: at once, with grace, held by finalizers, many at a time.

use crate::{APPS, NS, config_map, named, names, plain, text, version, world};
use gantry_testkit::{Backing, build};
use serde_json::{Value, json};

#[tokio::test]
async fn finalizers_hold_an_object() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let maps = format!("{NS}/configmaps");
    let held = json!({"metadata": {"name": "a", "finalizers": ["example.com/one", "example.com/two"]}});
    let made = admin.post(&maps, &held).await.expect(201);
    let mut watch = admin.watch(&format!("{maps}?watch=1&resourceVersion={}", version(&made))).await;
    let one = format!("{maps}/a");
    let dying = admin.delete(&one).await.expect(200);
    assert_eq!(text(&dying["kind"]), "ConfigMap");
    assert!(dying["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(watch.next_pair().await, ("MODIFIED".into(), "a".into()));
    // Again changes nothing.
    let again = admin.delete(&one).await.expect(200);
    assert_eq!(version(&again), version(&dying));
    let fewer = json!({"metadata": {"finalizers": ["example.com/two"]}});
    admin.patch("merge", &one, &fewer).await.expect(200);
    assert_eq!(watch.next_pair().await, ("MODIFIED".into(), "a".into()));
    let last = admin.patch("merge", &one, &json!({"metadata": {"finalizers": []}})).await.expect(200);
    assert!(last["metadata"]["finalizers"].is_null());
    assert_eq!(watch.next_pair().await, ("DELETED".into(), "a".into()));
    admin.get(&one).await.expect(404);
}

#[tokio::test]
async fn policies_leave_their_mark() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let sets = format!("{APPS}/replicasets");
    for (name, options, mark) in [
        ("fg", json!({"propagationPolicy": "Foreground"}), Some("foregroundDeletion")),
        ("or", json!({"propagationPolicy": "Orphan"}), Some("orphan")),
        ("od", json!({"orphanDependents": true}), Some("orphan")),
        ("bg", json!({"propagationPolicy": "Background"}), None),
    ] {
        let mut set = plain(&build::deployment(name, 0));
        set["kind"] = json!("ReplicaSet");
        admin.post(&sets, &set).await.expect(201);
        let one = format!("{sets}/{name}");
        let answer = admin.delete_with(&one, &options).await.expect(200);
        match mark {
            Some(mark) => {
                assert_eq!(answer["metadata"]["finalizers"], json!([mark]));
                assert!(admin.get(&one).await.expect(200)["metadata"]["deletionTimestamp"].is_string());
            }
            None => {
                assert_eq!(text(&answer["status"]), "Success");
                admin.get(&one).await.expect(404);
            }
        }
    }
    // A later word replaces an earlier one.
    let both =
        admin.delete_with(&format!("{sets}/fg"), &json!({"propagationPolicy": "Orphan"})).await.expect(200);
    assert_eq!(both["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test]
async fn a_pod_on_a_node_ends_in_two_steps() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let pods = format!("{NS}/pods");
    admin.post(&pods, &plain(&build::pod_on("p", "n"))).await.expect(201);
    let one = format!("{pods}/p");
    let seconds = |object: &Value| object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    assert_eq!(seconds(&admin.delete(&one).await.expect(200)), Some(30));
    // Shorter is heard, longer is not.
    assert_eq!(seconds(&admin.delete(&format!("{one}?gracePeriodSeconds=5")).await.expect(200)), Some(5));
    assert_eq!(seconds(&admin.delete(&format!("{one}?gracePeriodSeconds=50")).await.expect(200)), Some(5));
    assert!(admin.get(&one).await.expect(200)["metadata"]["deletionTimestamp"].is_string());
    let uid = admin.get(&one).await.json()["metadata"]["uid"].clone();
    let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
    admin.delete_with(&one, &options).await.expect(200);
    admin.get(&one).await.expect(404);
    // On no node there is nobody to wait for.
    admin.post(&pods, &plain(&build::pod("q"))).await.expect(201);
    admin.delete(&format!("{pods}/q")).await.expect(200);
    admin.get(&format!("{pods}/q")).await.expect(404);
}

#[tokio::test]
async fn preconditions_are_kept() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let maps = format!("{NS}/configmaps");
    let made = admin.post(&maps, &config_map("a", "1")).await.expect(201);
    let one = format!("{maps}/a");
    let changed = admin.patch("merge", &one, &json!({"data": {"k": "2"}})).await.expect(200);
    let at =
        |object: &Value| json!({"preconditions": {"resourceVersion": object["metadata"]["resourceVersion"]}});
    admin.delete_with(&one, &at(&made)).await.expect(409);
    admin.delete_with(&one, &at(&changed)).await.expect(200);
    admin.delete(&one).await.expect(404);
}

#[tokio::test]
async fn many_at_a_time() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let maps = format!("{NS}/configmaps");
    for i in 0..40 {
        let mut object = config_map(&format!("c{i:02}"), "x");
        object["metadata"]["labels"] = json!({"half": (i % 2).to_string()});
        if i == 7 {
            object["metadata"]["finalizers"] = json!(["example.com/hold"]);
        }
        admin.post(&maps, &object).await.expect(201);
    }
    admin.post("/api/v1/namespaces/default/configmaps", &named("elsewhere")).await.expect(201);
    let dry = admin.delete(&format!("{maps}?dryRun=All")).await.expect(200);
    assert_eq!(names(&dry).len(), 40);
    let gone = admin.delete(&format!("{maps}?labelSelector=half%3D1")).await.expect(200);
    assert_eq!((text(&gone["kind"]), names(&gone).len()), ("ConfigMapList", 20));
    let left = names(&admin.get(&maps).await.expect(200));
    assert_eq!(left.len(), 21);
    assert!(left.contains(&"c07".to_owned()));
    admin.delete(&maps).await.expect(200);
    assert_eq!(names(&admin.get(&maps).await.expect(200)), ["c07"]);
    admin.get("/api/v1/namespaces/default/configmaps/elsewhere").await.expect(200);
}

#[tokio::test]
async fn a_namespace_waits_for_its_finalizers() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let dying = admin.delete(NS).await.expect(200);
    assert_eq!(text(&dying["status"]["phase"]), "Terminating");
    let refused = admin.post(&format!("{NS}/configmaps"), &named("late")).await.expect(403);
    assert_eq!(text(&refused["details"]["causes"][0]["reason"]), "NamespaceTerminating");
    let mut object = admin.get(NS).await.expect(200);
    object["spec"] = json!({});
    admin.put(&format!("{NS}/finalize"), &object).await.expect(200);
    admin.get(NS).await.expect(404);
}
