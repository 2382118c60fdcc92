//! What the server serves: aggregated discovery, or the older documents of servers without it.

use super::Resource;
use crate::error::Result;
use crate::rest::Rest;
use http::Method;
use serde::Deserialize;

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// Either form of `/api` and `/apis`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Root {
    kind: String,
    items: Vec<Group>,
    versions: Vec<String>,
    groups: Vec<OldGroup>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Group {
    metadata: Name,
    versions: Vec<Version>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Name {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Version {
    version: String,
    resources: Vec<Found>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Found {
    resource: String,
    response_kind: Option<FoundKind>,
    scope: String,
    singular_resource: String,
    verbs: Vec<String>,
    short_names: Vec<String>,
    categories: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FoundKind {
    kind: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OldGroup {
    name: String,
    versions: Vec<OldVersion>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OldVersion {
    version: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OldList {
    resources: Vec<OldResource>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct OldResource {
    name: String,
    singular_name: String,
    namespaced: bool,
    kind: String,
    verbs: Vec<String>,
    short_names: Vec<String>,
    categories: Vec<String>,
}

/// Everything served: in the server's order of groups, the preferred version of each first.
#[derive(Debug, Default)]
pub struct Discovery {
    pub resources: Vec<Resource>,
    /// Groups and versions in order, `v1` and `apps/v1`.
    pub group_versions: Vec<String>,
}

impl Discovery {
    /// Asks the server.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub async fn fetch(rest: &Rest) -> Result<Self> {
        let mut out = Self::default();
        for root in ["/api", "/apis"] {
            let body = rest.call(Method::GET, root, ACCEPT, None).await?;
            let root_doc: Root = serde_json::from_slice(&body)?;
            if root_doc.kind == "APIGroupDiscoveryList" {
                out.add(root_doc.items);
                continue;
            }
            let mut pairs: Vec<(String, String)> =
                root_doc.versions.into_iter().map(|v| (String::new(), v)).collect();
            for g in root_doc.groups {
                pairs.extend(g.versions.into_iter().map(|v| (g.name.clone(), v.version)));
            }
            for (group, version) in pairs {
                let path = if group.is_empty() {
                    format!("/api/{version}")
                } else {
                    format!("/apis/{group}/{version}")
                };
                // A group whose own server is away is left out, as kubectl leaves it.
                let Ok(list) = rest.typed::<OldList>(&path).await else { continue };
                out.add_old(&group, &version, list);
            }
        }
        Ok(out)
    }

    fn add(&mut self, groups: Vec<Group>) {
        for g in groups {
            for v in g.versions {
                self.version(&g.metadata.name, &v.version);
                for r in v.resources {
                    self.resources.push(Resource {
                        group: g.metadata.name.clone(),
                        version: v.version.clone(),
                        kind: r.response_kind.map(|k| k.kind).unwrap_or_default(),
                        plural: r.resource,
                        singular: r.singular_resource,
                        namespaced: r.scope == "Namespaced",
                        short_names: r.short_names,
                        categories: r.categories,
                        verbs: r.verbs,
                    });
                }
            }
        }
    }

    fn add_old(&mut self, group: &str, version: &str, list: OldList) {
        self.version(group, version);
        for r in list.resources.into_iter().filter(|r| !r.name.contains('/')) {
            self.resources.push(Resource {
                group: group.to_owned(),
                version: version.to_owned(),
                singular: if r.singular_name.is_empty() { r.kind.to_lowercase() } else { r.singular_name },
                kind: r.kind,
                plural: r.name,
                namespaced: r.namespaced,
                short_names: r.short_names,
                categories: r.categories,
                verbs: r.verbs,
            });
        }
    }

    fn version(&mut self, group: &str, version: &str) {
        self.group_versions.push(if group.is_empty() {
            version.into()
        } else {
            format!("{group}/{version}")
        });
    }

    /// The resources each group prefers: of every resource, the first version that has it.
    pub fn preferred(&self) -> Vec<&Resource> {
        let mut out: Vec<&Resource> = Vec::new();
        for r in &self.resources {
            if !out.iter().any(|o| o.group == r.group && o.plural == r.plural) {
                out.push(r);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let new = br#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"apps"},"versions":[
            {"version":"v1","resources":[{"resource":"deployments","responseKind":{"kind":"Deployment"},
            "scope":"Namespaced","singularResource":"deployment","verbs":["get"],"shortNames":["deploy"]}]}]}]}"#;
        let root: Root = serde_json::from_slice(new).unwrap();
        let mut a = Discovery::default();
        a.add(root.items);
        let old = br#"{"resources":[{"name":"deployments","singularName":"deployment","namespaced":true,
            "kind":"Deployment","verbs":["get"],"shortNames":["deploy"]},{"name":"deployments/scale"}]}"#;
        let mut b = Discovery::default();
        b.add_old("apps", "v1", serde_json::from_slice(old).unwrap());
        assert_eq!((&a.resources, &a.group_versions), (&b.resources, &b.group_versions));
        assert_eq!(a.resources.len(), 1);
    }
}
