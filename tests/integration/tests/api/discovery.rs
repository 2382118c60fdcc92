//! What the server says about itself.

use crate::{NS, text, world};
use gantry_testkit::{Backing, Identity};
use serde_json::Value;
use std::collections::BTreeSet;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Every resource with its group version, from the old form.
async fn plain_form(admin: &gantry_testkit::Http) -> BTreeSet<(String, String, String)> {
    let mut versions = vec![("/api/v1".to_owned(), "v1".to_owned())];
    for group in admin.get("/apis").await.expect(200)["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let version = text(&version["groupVersion"]).to_owned();
            versions.push((format!("/apis/{version}"), version));
        }
    }
    let mut out = BTreeSet::new();
    for (path, version) in versions {
        let list = admin.get(&path).await.expect(200);
        assert_eq!((text(&list["kind"]), text(&list["groupVersion"])), ("APIResourceList", &*version));
        for resource in list["resources"].as_array().unwrap() {
            assert!(!resource["verbs"].as_array().unwrap().is_empty(), "{resource}");
            out.insert((
                version.clone(),
                text(&resource["name"]).to_owned(),
                text(&resource["kind"]).to_owned(),
            ));
        }
    }
    out
}

#[tokio::test]
async fn both_forms_of_discovery_agree() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let old = plain_form(&admin).await;
    assert!(old.contains(&("v1".into(), "pods/log".into(), "Pod".into())));
    assert!(old.contains(&("apps/v1".into(), "deployments/scale".into(), "Scale".into())));
    let mut new = BTreeSet::new();
    for path in ["/api", "/apis"] {
        let list = admin.send("GET", path, &[("accept", AGGREGATED)], "").await;
        let kind = list.headers["content-type"].to_str().unwrap().to_owned();
        assert_eq!(kind, AGGREGATED);
        for group in list.expect(200)["items"].as_array().unwrap() {
            let name = text(&group["metadata"]["name"]);
            for version in group["versions"].as_array().unwrap() {
                let v = text(&version["version"]);
                let gv = if name.is_empty() { v.to_owned() } else { format!("{name}/{v}") };
                for resource in version["resources"].as_array().unwrap() {
                    let plural = text(&resource["resource"]);
                    new.insert((
                        gv.clone(),
                        plural.to_owned(),
                        text(&resource["responseKind"]["kind"]).to_owned(),
                    ));
                    for sub in resource["subresources"].as_array().into_iter().flatten() {
                        let name = format!("{plural}/{}", text(&sub["subresource"]));
                        new.insert((gv.clone(), name, text(&sub["responseKind"]["kind"]).to_owned()));
                    }
                }
            }
        }
    }
    assert_eq!(old, new);
}

#[tokio::test]
async fn every_listed_resource_can_be_listed() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    for path in ["/api/v1".to_owned(), "/apis/apps/v1".into(), "/apis/rbac.authorization.k8s.io/v1".into()] {
        for resource in admin.get(&path).await.expect(200)["resources"].as_array().unwrap() {
            let verbs: Vec<&str> = resource["verbs"].as_array().unwrap().iter().map(text).collect();
            if verbs.contains(&"list") {
                let list =
                    admin.get(&format!("{path}/{}?limit=1", text(&resource["name"]))).await.expect(200);
                assert_eq!(text(&list["kind"]), format!("{}List", text(&resource["kind"])));
            }
        }
    }
}

#[tokio::test]
async fn open_api_names_every_kind() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let index = admin.get("/openapi/v3").await.expect(200);
    let paths = index["paths"].as_object().unwrap();
    for (name, entry) in paths {
        let url = text(&entry["serverRelativeURL"]);
        assert!(url.starts_with(&format!("/openapi/v3/{name}?hash=")), "{url}");
    }
    let apps = admin.get(text(&index["paths"]["apis/apps/v1"]["serverRelativeURL"])).await.expect(200);
    let schema = &apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
    assert!(apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"].is_object());
    // Every reference leads somewhere.
    let known: BTreeSet<&String> = apps["components"]["schemas"].as_object().unwrap().keys().collect();
    let mut wanted = BTreeSet::new();
    references(&apps, &mut wanted);
    for name in wanted {
        let name = name.trim_start_matches("#/components/schemas/").to_owned();
        assert!(known.contains(&name), "{name}");
    }
    let v2 = admin.get("/openapi/v2").await.expect(200);
    assert!(v2["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"].is_object());
}

fn references(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(to)) = map.get("$ref") {
                out.insert(to.clone());
            }
            map.values().for_each(|v| references(v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

#[tokio::test]
async fn health_and_version_are_open() {
    let (cluster, admin) = world(Backing::Embedded).await;
    let anyone = cluster.http(&Identity::Anonymous);
    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = anyone.get(path).await;
        assert_eq!((answer.status, &*answer.text()), (200, "ok"));
    }
    assert!(anyone.get("/readyz?verbose").await.text().contains("[+]etcd ok"));
    let version = anyone.get("/version").await.expect(200);
    assert_eq!((text(&version["major"]), text(&version["minor"])), ("1", "36"));
    anyone.get(&format!("{NS}/pods")).await.expect(403);
    let metrics = admin.get("/metrics").await.text();
    for name in [
        "apiserver_request_total",
        "apiserver_request_duration_seconds_bucket",
        "apiserver_current_inflight_requests",
    ] {
        assert!(metrics.contains(name), "{name}");
    }
}
