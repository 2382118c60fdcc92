use super::*;
use crate::discovery::builtin_groups;
use std::path::Path;

fn built(group: &str) -> Value {
    let group = builtin_groups().into_iter().find(|g| g.name == group).unwrap();
    serde_json::from_slice(&document(&group.name, &group.versions[0]).body).unwrap()
}

#[test]
fn deployments_have_their_operations() {
    let doc = built("apps");
    let path = &doc["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let patch = &path["patch"];
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({ "group": "apps", "version": "v1", "kind": "Deployment" })
    );
    // kubectl looks for this to learn that the server validates fields.
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
    let scale = &doc["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["kind"], "Scale");
    assert!(doc["paths"]["/apis/apps/v1/deployments"]["get"].is_object());
}

#[test]
fn every_reference_has_a_definition() {
    fn references(value: &Value, out: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(r)) = map.get("$ref") {
                    out.insert(r.rsplit('/').next().unwrap().to_owned());
                }
                map.values().for_each(|v| references(v, out));
            }
            Value::Array(items) => items.iter().for_each(|v| references(v, out)),
            _ => {}
        }
    }
    let groups = builtin_groups();
    for group in &groups {
        for version in &group.versions {
            let doc: Value = serde_json::from_slice(&document(&group.name, version).body).unwrap();
            let mut all = BTreeSet::new();
            references(&doc, &mut all);
            for name in all {
                assert!(doc["components"]["schemas"][&name].is_object(), "{}: {name}", group.name);
            }
        }
    }
    let doc: Value = serde_json::from_slice(&crate::v2::json(&groups, &Map::new()).body).unwrap();
    let mut all = BTreeSet::new();
    references(&doc, &mut all);
    for name in all {
        assert!(doc["definitions"][&name].is_object(), "{name}");
    }
    assert!(crate::v2::protobuf(&groups, &Map::new()).body.len() > 10_000);
}

#[test]
fn the_index_points_at_every_document() {
    let groups = builtin_groups();
    let start = std::time::Instant::now();
    let etags = etags(&groups);
    println!("all documents built in {:?}", start.elapsed());
    let index: Value = serde_json::from_slice(&index(&etags).body).unwrap();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let (_, hash) = url.split_once("/openapi/v3/apis/apps/v1?hash=").unwrap();
    let apps = groups.iter().find(|g| g.name == "apps").unwrap();
    assert_eq!(document("apps", &apps.versions[0]).etag, hash);
}

/// Against upstream's documents in the folder `GANTRY_OPENAPI_DIR` names: what is the same there, but for
/// prose, for operations on watch paths and for the encodings only upstream speaks.
#[test]
fn definitions_and_operations_equal_upstream_s() {
    let Some(folder) = std::env::var_os("GANTRY_OPENAPI_DIR") else { return };
    fn bare(value: &Value) -> Value {
        match value {
            Value::Object(map) => map
                .iter()
                .filter(|(k, v)| *k != "description" || !v.is_string())
                .filter(|(k, _)| !k.contains("cbor"))
                .filter(|(k, _)| !k.contains("stream=watch") && *k != "x-kubernetes-validations")
                .map(|(k, v)| (k.clone(), bare(v)))
                .collect::<Map<_, _>>()
                .into(),
            Value::Array(items) => items.iter().map(bare).collect(),
            other => other.clone(),
        }
    }
    let mut wrong = Vec::new();
    let mut compared = 0;
    for group in builtin_groups() {
        for version in &group.versions {
            let name = format!("{}_openapi.json", key(&group.name, &version.name).replace('/', "__"));
            let Ok(text) = std::fs::read(Path::new(&folder).join(&name)) else { continue };
            let theirs: Value = serde_json::from_slice(&text).unwrap();
            let ours: Value = serde_json::from_slice(&document(&group.name, version).body).unwrap();
            for (path, item) in ours["paths"].as_object().unwrap() {
                for (method, operation) in item.as_object().unwrap() {
                    let their = &theirs["paths"][path][method];
                    for field in
                        ["operationId", "tags", "x-kubernetes-action", "x-kubernetes-group-version-kind"]
                    {
                        if method != "parameters" && operation[field] != their[field] {
                            wrong.push(format!(
                                "{method} {path} {field}: {} for {}",
                                operation[field], their[field]
                            ));
                        }
                    }
                }
            }
            for (name, definition) in ours["components"]["schemas"].as_object().unwrap() {
                let (a, b) = (bare(definition), bare(&theirs["components"]["schemas"][name]));
                let (Some(a), Some(b)) = (a["properties"].as_object(), b["properties"].as_object()) else {
                    continue;
                };
                for (p, v) in a {
                    compared += 1;
                    // A place of any object has no definition of its own here; nor has one of any value.
                    let opaque = v["type"] == "object" && v.as_object().is_some_and(|o| o.len() == 1);
                    let with_ref = |v: &Value| match v {
                        Value::Object(o) if o.len() == 1 && o.contains_key("allOf") => v["allOf"][0].clone(),
                        other => other.clone(),
                    };
                    if !opaque && with_ref(v) != with_ref(&b[p]) {
                        wrong.push(format!("{name}.{p}: {v} for {}", b[p]));
                    }
                }
            }
        }
    }
    wrong.dedup();
    assert!(compared > 1000, "only {compared} properties compared");
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
