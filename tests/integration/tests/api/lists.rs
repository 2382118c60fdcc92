//! Lists: pages, revisions, selectors, and the forms they come in.

use crate::{APPS, NS, config_map, names, plain, text, version, world};
use gantry_testkit::{Backing, build};
use serde_json::{Value, json};

async fn pages_show_one_revision(backing: Backing) {
    let (_cluster, admin) = world(backing).await;
    let maps = format!("{NS}/configmaps");
    for i in 0..25 {
        admin.post(&maps, &config_map(&format!("c{i:02}"), "old")).await.expect(201);
    }
    let first = admin.get(&format!("{maps}?limit=10")).await.expect(200);
    let revision = text(&first["metadata"]["resourceVersion"]).to_owned();
    assert_eq!(first["metadata"]["remainingItemCount"], json!(15));
    let mut seen = names(&first);
    let mut token = text(&first["metadata"]["continue"]).to_owned();
    let mut round = 0;
    while !token.is_empty() {
        // Between two pages: one object appears, one changes and one goes.
        admin.post(&maps, &config_map(&format!("c00-{round}"), "new")).await.expect(201);
        admin
            .patch("merge", &format!("{maps}/c24"), &json!({"data": {"k": round.to_string()}}))
            .await
            .expect(200);
        admin.delete(&format!("{maps}/c{}", 20 + round)).await.expect(200);
        let page = admin.get(&format!("{maps}?limit=10&continue={token}")).await.expect(200);
        assert_eq!(text(&page["metadata"]["resourceVersion"]), revision);
        for item in page["items"].as_array().unwrap() {
            assert_eq!(item["data"]["k"], "old", "{item}");
        }
        seen.extend(names(&page));
        token = text(&page["metadata"]["continue"]).to_owned();
        round += 1;
    }
    let expected: Vec<String> = (0..25).map(|i| format!("c{i:02}")).collect();
    assert_eq!(seen, expected);
    // The same revision again, whole.
    let exact = format!("{maps}?resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(names(&admin.get(&exact).await.expect(200)), expected);
}

#[tokio::test]
async fn pages_show_one_revision_embedded() {
    pages_show_one_revision(Backing::Embedded).await;
}

#[tokio::test]
async fn pages_show_one_revision_etcd() {
    pages_show_one_revision(Backing::Etcd).await;
}

#[tokio::test]
async fn lists_are_as_new_as_asked_for() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let maps = format!("{NS}/configmaps");
    for i in 0..20 {
        let made = admin.post(&maps, &config_map(&format!("c{i:02}"), "x")).await.expect(201);
        // Each sees the write before it at once, whether asked for the newest or for no older than it.
        let path = match i % 2 {
            0 => maps.clone(),
            _ => format!("{maps}?resourceVersion={}&resourceVersionMatch=NotOlderThan", version(&made)),
        };
        let list = admin.get(&path).await.expect(200);
        assert_eq!(names(&list).len(), i + 1);
        assert!(version(&list) >= version(&made));
    }
    let one = admin.get(&format!("{maps}?fieldSelector=metadata.name%3Dc07")).await.expect(200);
    assert_eq!(names(&one), ["c07"]);
    let rest = admin.get(&format!("{maps}?fieldSelector=metadata.name!%3Dc07&limit=500")).await.expect(200);
    assert_eq!(names(&rest).len(), 19);
}

#[tokio::test]
async fn selectors_choose() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let pods = format!("{NS}/pods");
    for (name, node, tier) in [("a", "n1", "web"), ("b", "n1", "db"), ("c", "n2", "web"), ("d", "", "")] {
        let mut pod = plain(&build::pod(name));
        if !node.is_empty() {
            pod["spec"]["nodeName"] = json!(node);
            pod["metadata"]["labels"] = json!({"tier": tier});
        }
        admin.post(&pods, &pod).await.expect(201);
    }
    let check = async |query: &str, expected: &[&str]| {
        assert_eq!(names(&admin.get(&format!("{pods}?{query}")).await.expect(200)), expected, "{query}");
    };
    check("labelSelector=tier%3Dweb", &["a", "c"]).await;
    check("labelSelector=tier", &["a", "b", "c"]).await;
    check("labelSelector=!tier", &["d"]).await;
    check("labelSelector=tier%20in%20(web,db),tier!%3Ddb", &["a", "c"]).await;
    check("labelSelector=tier%20notin%20(web)", &["b", "d"]).await;
    check("fieldSelector=spec.nodeName%3Dn1", &["a", "b"]).await;
    check("fieldSelector=spec.nodeName%3D", &["d"]).await;
    check("fieldSelector=spec.nodeName%3Dn1&labelSelector=tier%3Ddb", &["b"]).await;
    check("fieldSelector=status.phase%3DPending,metadata.namespace%3Dt,metadata.name!%3Da", &["b", "c", "d"])
        .await;
    check("fieldSelector=status.phase%3DRunning", &[]).await;
}

#[tokio::test]
async fn tables_and_metadata_alone() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let deployments = format!("{APPS}/deployments");
    admin.post(&deployments, &plain(&build::deployment("web", 3))).await.expect(201);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let got = admin.send("GET", &deployments, &[("accept", table)], "").await.expect(200);
    assert_eq!((text(&got["kind"]), text(&got["apiVersion"])), ("Table", "meta.k8s.io/v1"));
    let columns: Vec<&str> =
        got["columnDefinitions"].as_array().unwrap().iter().map(|c| text(&c["name"])).collect();
    assert_eq!(columns[..5], ["Name", "Ready", "Up-to-date", "Available", "Age"]);
    let row = &got["rows"][0];
    assert_eq!(row["cells"].as_array().unwrap()[..4], [json!("web"), json!("0/3"), json!(0), json!(0)]);
    assert_eq!(
        (text(&row["object"]["kind"]), text(&row["object"]["metadata"]["name"])),
        ("PartialObjectMetadata", "web")
    );
    assert!(row["object"]["spec"].is_null());
    let whole =
        admin.send("GET", &format!("{deployments}/web?includeObject=Object"), &[("accept", table)], "").await;
    assert_eq!(whole.expect(200)["rows"][0]["object"]["spec"]["replicas"], json!(3));

    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let got = admin.send("GET", &deployments, &[("accept", partial)], "").await.expect(200);
    assert_eq!(text(&got["kind"]), "PartialObjectMetadataList");
    assert_eq!(names(&got), ["web"]);
    assert!(got["items"][0]["spec"].is_null() && got["items"][0]["metadata"]["uid"].is_string());
}

/// An object through protobuf and back is the object.
#[tokio::test]
async fn protobuf_goes_both_ways() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    const PB: &str = "application/vnd.kubernetes.protobuf";
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"x": ""}}, "spec": {
        "containers": [{"name": "c", "image": "i", "args": [""], "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
            "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": "http", "path": "/"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 0}});
    let cases: Vec<(String, Value)> = vec![
        (format!("{NS}/pods"), pod),
        (
            format!("{NS}/configmaps"),
            json!({"metadata": {"name": "p"}, "data": {"a": ""}, "binaryData": {"b": "AAH/"}}),
        ),
        (format!("{NS}/secrets"), json!({"metadata": {"name": "p"}, "stringData": {"a": "b"}})),
        (
            format!("{NS}/services"),
            json!({"metadata": {"name": "p"}, "spec": {"clusterIP": "None", "ports": [{"port": 80, "targetPort": "w"}]}}),
        ),
        (format!("{APPS}/deployments"), plain(&build::deployment("p", 0))),
        ("/api/v1/nodes".into(), plain(&build::node("p"))),
        (
            "/apis/coordination.k8s.io/v1/namespaces/t/leases".into(),
            json!({"metadata": {"name": "p"}, "spec": {"holderIdentity": "h", "renewTime": "2030-01-02T03:04:05.678901Z"}}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles".into(),
            json!({"metadata": {"name": "p"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
    ];
    for (path, object) in cases {
        let bytes = admin
            .send(
                "POST",
                &format!("{path}?dryRun=All"),
                &[("content-type", "application/json"), ("accept", PB)],
                object.to_string(),
            )
            .await;
        assert_eq!((bytes.status, &bytes.body[..4]), (201, &b"k8s\0"[..]), "{path}: {}", bytes.text());
        let made = admin
            .send("POST", &path, &[("content-type", PB), ("accept", "application/json")], bytes.body)
            .await
            .expect(201);
        // Back through protobuf, as an update that changes nothing.
        let one = format!("{path}/p");
        let bytes = admin.send("GET", &one, &[("accept", PB)], "").await;
        let kept = admin
            .send("PUT", &one, &[("content-type", PB), ("accept", "application/json")], bytes.body)
            .await
            .expect(200);
        assert_eq!(made, kept, "{path}");
        let list = admin.send("GET", &path, &[("accept", PB)], "").await;
        assert_eq!((list.status, &list.body[..4]), (200, &b"k8s\0"[..]), "{path}");
        // The same object without the detour.
        admin.delete(&format!("{one}?gracePeriodSeconds=0")).await;
        let mut twin = admin.post(&path, &object).await.expect(201);
        let mut made = made;
        for object in [&mut made, &mut twin] {
            for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
                object["metadata"][field] = Value::Null;
            }
            for field in ["clusterIP", "clusterIPs"] {
                if object["spec"][field].is_string() || object["spec"][field].is_array() {
                    object["spec"][field] = Value::Null;
                }
            }
            rename_token_volume(object);
        }
        assert_eq!(made, twin, "{path}");
    }
}

fn rename_token_volume(value: &mut Value) {
    match value {
        Value::String(s) if s.starts_with("kube-api-access-") => *s = "kube-api-access".into(),
        Value::Array(items) => items.iter_mut().for_each(rename_token_volume),
        Value::Object(map) => map.values_mut().for_each(rename_token_volume),
        _ => {}
    }
}
