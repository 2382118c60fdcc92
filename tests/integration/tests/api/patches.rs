//! Patches and server-side apply: who owns what.

use crate::{APPS, NS, config_map, plain, text, world};
use gantry_testkit::{Backing, Http, build};
use serde_json::{Value, json};

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

async fn apply(admin: &Http, manager: &str, force: bool, object: &Value) -> gantry_testkit::Reply {
    admin.patch("apply", &format!("{NS}/configmaps/a?fieldManager={manager}&force={force}"), object).await
}

/// Managers and the data keys they own.
fn owners(object: &Value) -> Vec<(String, Vec<String>)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let keys = |e: &Value| -> Vec<String> {
        let data = e["fieldsV1"]["f:data"].as_object().cloned().unwrap_or_default();
        data.keys().filter_map(|k| k.strip_prefix("f:")).map(str::to_owned).collect()
    };
    entries.iter().map(|e| (format!("{}/{}", text(&e["manager"]), text(&e["operation"])), keys(e))).collect()
}

fn owned(pairs: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    pairs.iter().map(|(m, k)| ((*m).to_owned(), k.iter().map(|k| (*k).to_owned()).collect())).collect()
}

#[tokio::test]
async fn appliers_share_an_object() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let one = apply(&admin, "one", false, &map(json!({"a": "1", "b": "1"}))).await.expect(201);
    assert_eq!(owners(&one), owned(&[("one/Apply", &["a", "b"])]));
    // The same value is shared, another is refused.
    let shared = apply(&admin, "two", false, &map(json!({"b": "1", "c": "2"}))).await.expect(200);
    assert_eq!(owners(&shared), owned(&[("one/Apply", &["a", "b"]), ("two/Apply", &["b", "c"])]));
    let refused = apply(&admin, "two", false, &map(json!({"a": "2", "b": "1"}))).await.expect(409);
    let cause = &refused["details"]["causes"][0];
    assert_eq!((text(&cause["reason"]), text(&cause["field"])), ("FieldManagerConflict", ".data.a"));
    assert_eq!(text(&cause["message"]), "conflict with \"one\"");
    // By force it changes hands; what the second no longer mentions goes.
    let forced = apply(&admin, "two", true, &map(json!({"a": "2", "b": "1"}))).await.expect(200);
    assert_eq!(forced["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(owners(&forced), owned(&[("one/Apply", &["b"]), ("two/Apply", &["a", "b"])]));
    // Giving up a shared field leaves it to the other; giving up one's own removes it.
    let less = apply(&admin, "two", false, &map(json!({}))).await.expect(200);
    assert_eq!(less["data"], json!({"b": "1"}));
    let rest = apply(&admin, "one", false, &map(json!({"z": "1"}))).await.expect(200);
    assert_eq!(rest["data"], json!({"z": "1"}));
    // An update takes over what it changes, and an applier then has a conflict.
    let mut object = rest;
    object["data"]["z"] = json!("2");
    let put = admin.put(&format!("{NS}/configmaps/a?fieldManager=three"), &object).await.expect(200);
    assert!(owners(&put).contains(&("three/Update".into(), vec!["z".into()])), "{:?}", owners(&put));
    let refused = apply(&admin, "one", false, &map(json!({"z": "1"}))).await.expect(409);
    assert_eq!(text(&refused["details"]["causes"][0]["message"]), "conflict with \"three\" using v1");
}

#[tokio::test]
async fn the_same_again_is_no_write() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let mut object = plain(&build::deployment("d", 2));
    object["apiVersion"] = json!("apps/v1");
    object["kind"] = json!("Deployment");
    let path = format!("{APPS}/deployments/d?fieldManager=m");
    let first = admin.patch("apply", &path, &object).await.expect(201);
    let second = admin.patch("apply", &path, &object).await.expect(200);
    assert_eq!(first, second);
}

#[tokio::test]
async fn forgetting_managers_is_allowed() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    apply(&admin, "one", false, &map(json!({"a": "1"}))).await.expect(201);
    let reset = json!({"metadata": {"managedFields": [{}]}});
    let object = admin.patch("merge", &format!("{NS}/configmaps/a"), &reset).await.expect(200);
    assert_eq!(owners(&object), []);
    let next = apply(&admin, "two", false, &map(json!({"a": "2"}))).await;
    // What was there before anybody was known belongs to all who came before.
    let refused = next.expect(409);
    assert_eq!(
        text(&refused["details"]["causes"][0]["message"]),
        "conflict with \"before-first-apply\" using v1"
    );
}

#[tokio::test]
async fn every_patch_does_what_its_media_type_says() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let mut object = plain(&build::deployment("d", 1));
    let side = json!({"name": "side", "image": "s:1", "env": [{"name": "A", "value": "1"}]});
    object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(side);
    admin.post(&format!("{APPS}/deployments"), &object).await.expect(201);
    let one = format!("{APPS}/deployments/d");
    let containers = |object: &Value| -> Vec<String> {
        let all = object["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
        all.iter().map(|c| format!("{}={}", text(&c["name"]), text(&c["image"]))).collect()
    };
    let in_pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    // Strategic: by key, in place; new ones last.
    let patch =
        in_pod(json!({"containers": [{"name": "side", "image": "s:2"}, {"name": "new", "image": "n"}]}));
    let got = admin.patch("strategic", &one, &patch).await.expect(200);
    assert_eq!(containers(&got), ["c=registry.example/app:1", "side=s:2", "new=n"]);
    assert_eq!(got["spec"]["template"]["spec"]["containers"][1]["env"][0]["value"], "1");
    let patch = in_pod(
        json!({"containers": [{"name": "new", "$patch": "delete"}], "$setElementOrder/containers": [{"name": "side"}, {"name": "c"}]}),
    );
    let got = admin.patch("strategic", &one, &patch).await.expect(200);
    assert_eq!(containers(&got), ["side=s:2", "c=registry.example/app:1"]);
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let got = admin.patch("strategic", &one, &patch).await.expect(200);
    assert_eq!(got["spec"]["strategy"], json!({"type": "Recreate"}));
    // Merge: lists whole, null removes.
    let patch = in_pod(json!({"containers": [{"name": "only", "image": "o"}]}));
    let got = admin.patch("merge", &one, &patch).await.expect(200);
    assert_eq!(containers(&got), ["only=o"]);
    let got = admin.patch("merge", &one, &json!({"spec": {"replicas": null}})).await.expect(200);
    assert_eq!(got["spec"]["replicas"], json!(1), "the default is back");
    // JSON patch: in order, all or nothing.
    let ops = json!([
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 4},
        {"op": "add", "path": "/metadata/annotations", "value": {"a~b/c": "1"}},
        {"op": "move", "from": "/metadata/annotations/a~0b~1c", "path": "/metadata/annotations/d"},
    ]);
    let got = admin.patch("json", &one, &ops).await.expect(200);
    assert_eq!((&got["spec"]["replicas"], &got["metadata"]["annotations"]), (&json!(4), &json!({"d": "1"})));
    let ops = json!([{"op": "replace", "path": "/spec/replicas", "value": 9}, {"op": "test", "path": "/spec/replicas", "value": 1}]);
    admin.patch("json", &one, &ops).await.expect(422);
    assert_eq!(admin.get(&one).await.expect(200)["spec"]["replicas"], json!(4));
    let many: Vec<Value> =
        (0..10_001).map(|_| json!({"op": "test", "path": "/kind", "value": "Deployment"})).collect();
    let refused = admin.patch("json", &one, &json!(many)).await.expect(413);
    assert_eq!(
        text(&refused["message"]),
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
}

#[tokio::test]
async fn a_patch_at_a_version_is_held_to_it() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let made = admin.post(&format!("{NS}/configmaps"), &config_map("a", "1")).await.expect(201);
    let one = format!("{NS}/configmaps/a");
    let patch =
        json!({"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"k": "2"}});
    admin.patch("merge", &one, &patch).await.expect(200);
    admin.patch("merge", &one, &json!({"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"k": "3"}})).await.expect(409);
}
