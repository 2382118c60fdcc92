//! Watches: from where, what they tell, and when they end.

use crate::{NS, config_map, named, plain, text, version, world};
use gantry_testkit::{Backing, Identity, build};
use serde_json::json;

async fn a_watch_tells_everything_after_its_revision(backing: Backing) {
    let (_cluster, admin) = world(backing).await;
    let maps = format!("{NS}/configmaps");
    let first = admin.post(&maps, &config_map("a", "1")).await.expect(201);
    let mut watch = admin.watch(&format!("{maps}?watch=1&resourceVersion={}", version(&first))).await;
    admin.post(&maps, &config_map("b", "1")).await.expect(201);
    let changed = admin.patch("merge", &format!("{maps}/a"), &json!({"data": {"k": "2"}})).await.expect(200);
    admin.delete(&format!("{maps}/b")).await.expect(200);
    let mut last = version(&first);
    for (kind, name) in [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")] {
        let event = watch.next().await.unwrap();
        assert_eq!((text(&event["type"]), text(&event["object"]["metadata"]["name"])), (kind, name));
        assert!(version(&event["object"]) > last, "revisions grow");
        last = version(&event["object"]);
        if kind == "MODIFIED" {
            assert_eq!(event["object"]["data"], changed["data"]);
        }
    }
    // What happened before a watch began is told as well.
    let mut later = admin.watch(&format!("{maps}?watch=1&resourceVersion={}", version(&first))).await;
    assert_eq!(later.next_pair().await, ("ADDED".into(), "b".into()));
}

#[tokio::test]
async fn a_watch_tells_everything_after_its_revision_embedded() {
    a_watch_tells_everything_after_its_revision(Backing::Embedded).await;
}

#[tokio::test]
async fn a_watch_tells_everything_after_its_revision_etcd() {
    a_watch_tells_everything_after_its_revision(Backing::Etcd).await;
}

#[tokio::test]
async fn a_watch_from_nowhere_begins_with_what_is() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let maps = format!("{NS}/configmaps");
    for name in ["a", "b"] {
        admin.post(&maps, &named(name)).await.expect(201);
    }
    for query in ["watch=1", "watch=true&resourceVersion=0"] {
        let mut watch = admin.watch(&format!("{maps}?{query}")).await;
        let mut found = [watch.next_pair().await, watch.next_pair().await];
        found.sort();
        assert_eq!(found, [("ADDED".into(), "a".into()), ("ADDED".into(), "b".into())]);
    }
    // One object, by its old watch path and by a name selector.
    let mut one = admin.watch("/api/v1/watch/namespaces/t/configmaps/b").await;
    assert_eq!(one.next_pair().await, ("ADDED".into(), "b".into()));
    let mut one = admin.watch(&format!("{maps}?watch=1&fieldSelector=metadata.name%3Db")).await;
    assert_eq!(one.next_pair().await, ("ADDED".into(), "b".into()));
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let maps = format!("{NS}/configmaps");
    for name in ["a", "b", "c"] {
        admin.post(&maps, &named(name)).await.expect(201);
    }
    let query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = admin.watch(&format!("{maps}?{query}")).await;
    for name in ["a", "b", "c"] {
        assert_eq!(watch.next_pair().await, ("ADDED".into(), name.into()));
    }
    let mark = watch.next().await.unwrap();
    assert_eq!(text(&mark["type"]), "BOOKMARK");
    let object = &mark["object"];
    assert_eq!((text(&object["kind"]), text(&object["apiVersion"])), ("ConfigMap", "v1"));
    assert_eq!(text(&object["metadata"]["annotations"]["k8s.io/initial-events-end"]), "true");
    let after = admin.post(&maps, &named("d")).await.expect(201);
    assert!(version(&after) > version(object));
    assert_eq!(watch.next_pair().await, ("ADDED".into(), "d".into()));
}

#[tokio::test]
async fn a_watch_ends_in_time_and_says_how_far_it_came() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let path = format!("{NS}/configmaps?watch=1&allowWatchBookmarks=true&timeoutSeconds=1");
    let made = admin.post(&format!("{NS}/secrets"), &named("s")).await.expect(201);
    let mut watch = admin.watch(&path).await;
    let mut last = None;
    while let Some(event) = watch.next().await {
        last = Some(event);
    }
    // The last word of a watch that asked for bookmarks is where it stands.
    if let Some(last) = last {
        assert_eq!(text(&last["type"]), "BOOKMARK");
        assert!(version(&last["object"]) >= version(&made) - 1);
    }
}

#[tokio::test]
async fn leaving_a_selector_is_a_deletion() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let maps = format!("{NS}/configmaps");
    let mut object = config_map("a", "1");
    object["metadata"]["labels"] = json!({"in": "yes"});
    let made = admin.post(&maps, &object).await.expect(201);
    let mut watch = admin
        .watch(&format!("{maps}?watch=1&labelSelector=in%3Dyes&resourceVersion={}", version(&made)))
        .await;
    let one = format!("{maps}/a");
    let out =
        admin.patch("merge", &one, &json!({"metadata": {"labels": {"in": "no"}}, "data": {"k": "2"}})).await;
    let event = watch.next().await.unwrap();
    assert_eq!(text(&event["type"]), "DELETED");
    // The object as it was when it still matched, at the revision of the change.
    assert_eq!(
        (text(&event["object"]["metadata"]["labels"]["in"]), text(&event["object"]["data"]["k"])),
        ("yes", "1")
    );
    assert_eq!(version(&event["object"]), version(&out.expect(200)));
    // Unseen while outside; back as an addition.
    admin.patch("merge", &one, &json!({"data": {"k": "3"}})).await.expect(200);
    admin.patch("merge", &one, &json!({"metadata": {"labels": {"in": "yes"}}})).await.expect(200);
    let event = watch.next().await.unwrap();
    assert_eq!((text(&event["type"]), text(&event["object"]["data"]["k"])), ("ADDED", "3"));
    admin.delete(&one).await.expect(200);
    assert_eq!(watch.next_pair().await, ("DELETED".into(), "a".into()));
}

#[tokio::test]
async fn a_kubelet_sees_its_own_pods_only() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let pods = format!("{NS}/pods");
    let mut watch = admin.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1").await;
    admin.post(&pods, &plain(&build::pod_on("other", "n2"))).await.expect(201);
    admin.post(&pods, &plain(&build::pod("p"))).await.expect(201);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    admin.post(&format!("{pods}/p/binding"), &binding).await.expect(201);
    assert_eq!(watch.next_pair().await, ("ADDED".into(), "p".into()));
    admin.delete(&format!("{pods}/p?gracePeriodSeconds=0")).await.expect(200);
    // Its end was asked for and came in one step.
    assert_eq!(watch.next_pair().await, ("DELETED".into(), "p".into()));
}

async fn what_is_forgotten_is_gone(backing: Backing) {
    const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let (mut cluster, admin) = world(backing).await;
    let maps = format!("{NS}/configmaps");
    let old = version(&admin.post(&maps, &config_map("a", "0")).await.expect(201));
    let page = admin.get(&format!("{ROLES}?limit=2")).await.expect(200);
    for i in 0..5 {
        admin.patch("merge", &format!("{maps}/a"), &json!({"data": {"k": i.to_string()}})).await.expect(200);
    }
    let now = version(&admin.get(&format!("{maps}/a")).await.expect(200));
    cluster.compact(now).await.unwrap();
    // What the server itself remembers may still be told, and then it is right; a new server knows nothing.
    let exact = format!("{maps}?resourceVersion={old}&resourceVersionMatch=Exact");
    let told = admin.get(&exact).await;
    assert!(told.status == 410 || told.json()["items"][0]["data"]["k"] == "0", "{}", told.text());
    cluster.restart().await;
    let admin = cluster.http(&Identity::Admin);
    assert_eq!(text(&admin.get(&exact).await.expect(410)["reason"]), "Expired");
    let token = text(&page["metadata"]["continue"]);
    let gone = admin.get(&format!("{ROLES}?limit=2&continue={token}")).await.expect(410);
    assert_eq!(text(&gone["reason"]), "Expired");
    // The refusal of a page carries a token to go on with, without the promise of one revision.
    let token = text(&gone["metadata"]["continue"]);
    assert!(!token.is_empty());
    let rest = admin.get(&format!("{ROLES}?continue={token}")).await.expect(200);
    assert!(rest["items"].as_array().unwrap().len() > 10);
    // A watch from there is told so as its first event.
    let mut watch = admin.watch(&format!("{maps}?watch=1&resourceVersion={old}")).await;
    let first = watch.next().await.unwrap();
    assert_eq!((text(&first["type"]), text(&first["object"]["reason"])), ("ERROR", "Expired"));
    assert_eq!(first["object"]["code"], json!(410));
}

#[tokio::test]
async fn what_is_forgotten_is_gone_embedded() {
    what_is_forgotten_is_gone(Backing::Embedded).await;
}

#[tokio::test]
async fn what_is_forgotten_is_gone_etcd() {
    what_is_forgotten_is_gone(Backing::Etcd).await;
}
