//! Which resources the server has: aggregated discovery, read anew where it matters.

use gantry_client::Client;
use http::header::ACCEPT;
use serde::{Deserialize, Deserializer};

/// A resource in its preferred version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiResource {
    pub group: String,
    pub version: String,
    pub resource: String,
    pub kind: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl ApiResource {
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// The collection's path; `namespace` is ignored for cluster-scoped resources, and empty for all.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        let (version, resource) = (&self.version, &self.resource);
        if namespace.is_empty() || !self.namespaced {
            format!("{root}/{version}/{resource}")
        } else {
            format!("{root}/{version}/namespaces/{namespace}/{resource}")
        }
    }
}

/// What was found; `failed` names groups whose server did not answer.
#[derive(Clone, Debug, Default)]
pub struct Discovered {
    pub resources: Vec<ApiResource>,
    /// Every served group version and kind with its resource, preferred or not, for references.
    pub kinds: Vec<ApiResource>,
    pub failed: Vec<String>,
}

#[derive(Deserialize)]
struct Groups {
    #[serde(default, deserialize_with = "or_none")]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    metadata: Meta,
    #[serde(default, deserialize_with = "or_none")]
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default, deserialize_with = "or_none")]
    resources: Vec<Resource>,
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: String,
    #[serde(default)]
    response_kind: Kind,
    #[serde(default)]
    scope: String,
    #[serde(default, deserialize_with = "or_none")]
    verbs: Vec<String>,
}

/// A list; `null`, as servers written in Go have it, for an empty one.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Default, Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

/// Asks the server.
///
/// # Errors
/// Where it does not answer, or not in the aggregated form (served since 1.26).
pub async fn discover(client: &Client) -> Result<Discovered, kube::Error> {
    let mut found = Discovered::default();
    for root in ["/api", "/apis"] {
        let request = http::Request::get(root)
            .header(ACCEPT, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        let groups: Groups = client.request(request).await?;
        groups.items.into_iter().for_each(|group| add(&mut found, group));
    }
    found.resources.sort();
    found.kinds.sort();
    Ok(found)
}

fn add(found: &mut Discovered, group: Group) {
    let mut seen: Vec<String> = Vec::new();
    for version in group.versions {
        if version.freshness == "Stale" {
            found.failed.push(format!("{}/{}", group.metadata.name, version.version));
        }
        for resource in version.resources {
            let api = ApiResource {
                group: group.metadata.name.clone(),
                version: version.version.clone(),
                resource: resource.resource,
                kind: resource.response_kind.kind,
                namespaced: resource.scope == "Namespaced",
                verbs: resource.verbs,
            };
            // Versions come in the server's order of preference.
            if !seen.contains(&api.resource) {
                seen.push(api.resource.clone());
                found.resources.push(api.clone());
            }
            found.kinds.push(api);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_are_null_are_empty() {
        let text = r#"{"items":[{"metadata":{"name":"custom.metrics.k8s.io"},"versions":[{"version":"v1beta1",
            "resources":[{"resource":"pods","responseKind":{"kind":""},"scope":"Namespaced","verbs":null}]}]},
            {"metadata":{"name":"g"},"versions":null}]}"#;
        let groups: Groups = serde_json::from_str(text).unwrap();
        let mut found = Discovered::default();
        groups.items.into_iter().for_each(|group| add(&mut found, group));
        assert_eq!(found.resources.len(), 1);
        assert_eq!((found.kinds[0].resource.as_str(), found.kinds[0].verbs.len()), ("pods", 0));
    }
}
