use super::*;
use std::collections::BTreeMap;
use std::path::Path;

fn value(document: &Document) -> Value {
    serde_json::from_slice(&document.body).unwrap()
}

fn group(name: &str) -> Group {
    builtin_groups().into_iter().find(|g| g.name == name).unwrap()
}

#[test]
fn storage_versions_hash_as_upstream() {
    assert_eq!(storage_version_hash("apps", "v1", "Deployment"), "8aSe+NMegvE=");
    assert_eq!(storage_version_hash("", "v1", "Pod"), "xPOwRZ+Yhw8=");
}

#[test]
fn apps_reads_as_upstream() {
    let apps = group("apps");
    let list = value(&api_resource_list("apps", &apps.versions[0]));
    let resources = list["resources"].as_array().unwrap();
    let find = |name: &str| resources.iter().find(|r| r["name"] == name).unwrap();
    assert_eq!(
        find("deployments"),
        &json!({"name":"deployments","singularName":"deployment","namespaced":true,"kind":"Deployment",
            "verbs":["create","delete","deletecollection","get","list","patch","update","watch"],
            "shortNames":["deploy"],"categories":["all"],"storageVersionHash":"8aSe+NMegvE="})
    );
    assert_eq!(
        find("deployments/scale"),
        &json!({"name":"deployments/scale","singularName":"","namespaced":true,"group":"autoscaling",
            "version":"v1","kind":"Scale","verbs":["get","patch","update"]})
    );
    let all = value(&aggregated(&builtin_groups(), Aggregated::V2, false));
    assert!(all["items"].as_array().unwrap().iter().any(|g| g["metadata"]["name"] == "apps"));
    assert!(all["items"].as_array().unwrap().iter().all(|g| g["metadata"]["name"] != ""));
    let core = value(&aggregated(&builtin_groups(), Aggregated::V2Beta1, true));
    assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    assert_eq!(core["items"].as_array().unwrap().len(), 1);
}

#[test]
fn media_ranges_choose_the_form() {
    let check = |text, want| assert_eq!(Aggregated::parse(text), want, "{text}");
    check("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", Some(Aggregated::V2));
    check(
        "application/json; as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io",
        Some(Aggregated::V2Beta1),
    );
    check("application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList", None);
    check("application/json", None);
}

/// Against documents of an upstream server in the folder `GANTRY_DISCOVERY_DIR` names: what we serve must read
/// the same there.
#[test]
fn documents_equal_upstream_s() {
    let Some(folder) = std::env::var_os("GANTRY_DISCOVERY_DIR") else { return };
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(Path::new(&folder).join(name)).unwrap()).unwrap()
    };
    let by = |list: &Value, key: &str| -> BTreeMap<String, Value> {
        let items = list.as_array().unwrap();
        items
            .iter()
            .map(|r| (r.pointer(key).unwrap().as_str().unwrap_or_default().into(), r.clone()))
            .collect()
    };
    let theirs_aggregated = by(&read("aggregated_v2.json")["items"], "/metadata/name");
    let ours_aggregated = value(&aggregated(&builtin_groups(), Aggregated::V2, false));
    let ours_aggregated = by(&ours_aggregated["items"], "/metadata/name");
    for group in builtin_groups() {
        for version in &group.versions {
            let file = match &*group.name {
                "" => format!("api__{}.json", version.name),
                name => format!("apis__{name}__{}.json", version.name),
            };
            let (ours, theirs) = (value(&api_resource_list(&group.name, version)), read(&file));
            assert_eq!(
                (&ours["apiVersion"], &ours["groupVersion"]),
                (&theirs["apiVersion"], &theirs["groupVersion"])
            );
            let (ours, theirs) = (by(&ours["resources"], "/name"), by(&theirs["resources"], "/name"));
            for (name, resource) in &ours {
                assert_eq!(resource, &theirs[name], "{file} {name}");
                // Nothing of a resource we serve may be missing.
                let prefix = format!("{}/", name.split('/').next().unwrap());
                for sub in theirs.keys().filter(|k| k.starts_with(&prefix)) {
                    assert!(ours.contains_key(sub), "{file} lacks {sub}");
                }
            }
            let Some(theirs) = theirs_aggregated.get(&*group.name) else { continue };
            let versioned = |g: &Value| by(&g["versions"], "/version")[&*version.name].clone();
            let (ours, theirs) = (versioned(&ours_aggregated[&*group.name]), versioned(theirs));
            let theirs = by(&theirs["resources"], "/resource");
            for (name, resource) in by(&ours["resources"], "/resource") {
                assert_eq!(resource, theirs[&name], "aggregated {name}");
            }
        }
    }
}
