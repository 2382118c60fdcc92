//! OpenAPI v2: everything in one document, as JSON and as gnostic's protobuf.

use crate::discovery::Group;
use crate::paths::Paths;
use crate::v3::definition_name;
use crate::{Document, Style, proto, schemas};
use gantry_machinery::schema::builtin;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The media type the protobuf form is served as.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Whether a media range of an `Accept` header asks for protobuf. Clients mostly use the older spelling with an
/// at sign, which is not a media type parsers take in an answer.
pub fn accepts_protobuf(media_range: &str) -> bool {
    let essence = media_range.split(';').next().unwrap_or_default().trim();
    essence == PROTOBUF || essence == "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
}

/// `/openapi/v2` of the given groups as JSON. `custom` holds definitions of custom resources in OpenAPI v2.
pub fn json(groups: &[Group], custom: &Map<String, Value>) -> Document {
    // A tree of JSON values always serializes.
    Document::new(serde_json::to_vec(&build(groups, custom)).unwrap_or_default(), "application/json")
}

/// The same as protobuf.
pub fn protobuf(groups: &[Group], custom: &Map<String, Value>) -> Document {
    Document::new(proto::document(&build(groups, custom)), PROTOBUF)
}

fn build(groups: &[Group], custom: &Map<String, Value>) -> Value {
    let definition = |g: &str, v: &str, k: &str| definition_name(builtin(), g, v, k);
    let mut roots = BTreeSet::new();
    let mut out = Map::new();
    for group in groups {
        for version in &group.versions {
            let mut paths =
                Paths { style: Style::V2, group: &group.name, version, definition: &definition, roots, out };
            paths.build();
            (roots, out) = (paths.roots, paths.out);
        }
    }
    let mut definitions = schemas::definitions(Style::V2, builtin(), roots);
    definitions.extend(custom.clone());
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": "unversioned" },
        "paths": out,
        "definitions": definitions,
        "securityDefinitions": {
            "BearerToken": { "type": "apiKey", "name": "authorization", "in": "header" },
        },
        "security": [{ "BearerToken": [] }],
    })
}
