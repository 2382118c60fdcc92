//! OpenAPI v3: an index with hashes, and one document a group version.

use crate::discovery::{Group, Version};
use crate::paths::Paths;
use crate::{Document, Style, schemas};
use gantry_machinery::schema::{Schemas, builtin};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The key of a group version in the index: `api/v1`, `apis/apps/v1`.
pub fn key(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// `/openapi/v3`: where the document of each group version is. `etags` are by [`key`].
pub fn index(etags: &BTreeMap<String, String>) -> Document {
    let paths: Map<String, Value> = etags
        .iter()
        .map(|(key, etag)| {
            (key.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{key}?hash={etag}") }))
        })
        .collect();
    to_document(&json!({ "paths": paths }))
}

/// The entity tag a server's index gives the document of this [`key`].
pub fn parse_index(index: &[u8], key: &str) -> Option<String> {
    let index: Value = serde_json::from_slice(index).ok()?;
    let place = index["paths"][key]["serverRelativeURL"].as_str()?;
    let (_, query) = place.split_once('?')?;
    query.split('&').find_map(|part| part.strip_prefix("hash=")).map(str::to_owned)
}

fn to_document(value: &Value) -> Document {
    // A tree of JSON values always serializes.
    Document::new(serde_json::to_vec(value).unwrap_or_default(), "application/json")
}

/// The entity tags of the built-in groups' documents by [`key`]; builds and drops each document once.
pub fn etags(groups: &[Group]) -> BTreeMap<String, String> {
    let each = groups.iter().flat_map(|g| g.versions.iter().map(move |v| (g, v)));
    each.map(|(g, v)| (key(&g.name, &v.name), document(&g.name, v).etag)).collect()
}

/// The entity tags of what the scheme serves, computed once.
pub fn builtin_etags() -> &'static BTreeMap<String, String> {
    static ETAGS: LazyLock<BTreeMap<String, String>> =
        LazyLock::new(|| etags(&crate::discovery::builtin_groups()));
    &ETAGS
}

/// `/openapi/v3/apis/<group>/<version>` of built-in kinds.
pub fn document(group: &str, version: &Version) -> Document {
    to_document(&build(group, version, builtin(), &Map::new()))
}

/// The document of a group version of custom resources: `definitions` holds their schemas by the name
/// [`definition_name`] gives, in OpenAPI v3 already.
pub fn custom_document(group: &str, version: &Version, definitions: &Map<String, Value>) -> Document {
    to_document(&build(group, version, builtin(), definitions))
}

/// The name a kind's schema has: the Go package's for built-in kinds, the reversed group's for custom ones.
pub fn definition_name(schemas: &Schemas, group: &str, version: &str, kind: &str) -> String {
    if let Some(def) = schemas.kind(group, version, kind).and_then(|s| s.structure()) {
        return def.name.clone().into_owned();
    }
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}

fn build(group: &str, version: &Version, schemas: &Schemas, custom: &Map<String, Value>) -> Value {
    let definition = |g: &str, v: &str, k: &str| definition_name(schemas, g, v, k);
    let mut paths = Paths {
        style: Style::V3,
        group,
        version,
        definition: &definition,
        roots: BTreeSet::new(),
        out: Map::new(),
    };
    paths.build();
    let (roots, out) = (paths.roots, paths.out);
    let mut definitions = schemas::definitions(Style::V3, schemas, roots);
    if !custom.is_empty() {
        // Custom schemas refer to the metadata of every object.
        let meta = ["ObjectMeta", "ListMeta"].map(|n| format!("io.k8s.apimachinery.pkg.apis.meta.v1.{n}"));
        definitions.extend(schemas::definitions(Style::V3, schemas, meta.into()));
        definitions.extend(custom.clone());
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": "unversioned" },
        "paths": out,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "BearerToken": { "type": "apiKey", "name": "authorization", "in": "header" },
            },
        },
    })
}

#[cfg(test)]
mod tests;
