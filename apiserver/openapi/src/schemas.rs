//! Schemas as OpenAPI writes them.

use crate::Style;
use gantry_machinery::schema::{Int, ListType, Schema, Schemas, Shape, Struct};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";

/// The definitions reachable from `roots` (definition names), by name.
pub(crate) fn definitions(style: Style, schemas: &Schemas, roots: BTreeSet<String>) -> Map<String, Value> {
    let mut out = Map::new();
    let mut todo: Vec<String> = roots.into_iter().collect();
    while let Some(name) = todo.pop() {
        if out.contains_key(&name) {
            continue;
        }
        let definition = match (scalar(style, &name), schemas.definition(&name)) {
            (Some(value), _) => value,
            (None, Some(schema)) => match schema.structure() {
                Some(def) => object(style, def, schema, &mut todo),
                None => json!({ "type": "object" }),
            },
            (None, None) => json!({ "type": "object" }),
        };
        out.insert(name, definition);
    }
    out
}

/// Definitions that are not structs.
fn scalar(style: Style, name: &str) -> Option<Value> {
    let v3 = style == Style::V3;
    Some(match name {
        QUANTITY if v3 => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
        QUANTITY => json!({ "type": "string" }),
        INT_OR_STRING if v3 => {
            json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })
        }
        INT_OR_STRING => json!({ "type": "string", "format": "int-or-string" }),
        _ => match (name.strip_prefix(META), name.strip_prefix(EXTENSIONS)) {
            (Some("Time" | "MicroTime"), _) => json!({ "type": "string", "format": "date-time" }),
            (Some("Duration"), _) => json!({ "type": "string" }),
            (Some("Patch"), _) => json!({ "type": "object" }),
            (_, Some("JSON" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrArray")) => json!({}),
            (_, Some("JSONSchemaPropsOrStringArray")) => json!({}),
            _ => return None,
        },
    })
}

fn object(style: Style, def: &Struct, schema: Schema<'_>, todo: &mut Vec<String>) -> Value {
    let mut out = json!({ "type": "object" });
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (field, child) in schema.fields() {
        properties.insert(field.name.clone().into_owned(), place(style, child, todo));
        if field.required {
            required.push(Value::from(&*field.name));
        }
    }
    if !properties.is_empty() {
        out["properties"] = Value::Object(properties);
    }
    if !required.is_empty() {
        out["required"] = required.into();
    }
    if def.atomic {
        out["x-kubernetes-map-type"] = "atomic".into();
    }
    if let Some(unions) = &def.unions {
        out["x-kubernetes-unions"] = unions.clone();
    }
    // Kinds of meta/v1 are in every group; they are named once, where the core group says them.
    let kinds: Vec<Value> = def
        .kinds
        .iter()
        .filter(|(group, _, _)| group != "meta.k8s.io")
        .map(|(group, version, kind)| json!({ "group": group, "version": version, "kind": kind }))
        .collect();
    if !kinds.is_empty() {
        out["x-kubernetes-group-version-kind"] = kinds.into();
    }
    out
}

/// A property, an item or a map's value.
fn place(style: Style, schema: Schema<'_>, todo: &mut Vec<String>) -> Value {
    let mut refer = |name: &str| {
        todo.push(name.to_owned());
        style.reference(name)
    };
    let meta = |name: &str| format!("{META}{name}");
    let extension = |name: &str| format!("{EXTENSIONS}{name}");
    let mut out = match schema.shape() {
        Shape::Any => refer(&extension("JSON")),
        Shape::AnyObject => json!({ "type": "object" }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Int(Int::I64 | Int::U64) => json!({ "type": "integer", "format": "int64" }),
        Shape::Int(_) => json!({ "type": "integer", "format": "int32" }),
        Shape::Number => json!({ "type": "number", "format": "double" }),
        Shape::String => json!({ "type": "string" }),
        Shape::Bytes => json!({ "type": "string", "format": "byte" }),
        Shape::IntOrString => refer(INT_OR_STRING),
        Shape::Quantity => refer(QUANTITY),
        Shape::Time => refer(&meta("Time")),
        Shape::MicroTime => refer(&meta("MicroTime")),
        Shape::Duration => refer(&meta("Duration")),
        Shape::SchemaOrBool(_) => refer(&extension("JSONSchemaPropsOrBool")),
        Shape::SchemaOrArray(_) => refer(&extension("JSONSchemaPropsOrArray")),
        Shape::SchemaOrStrings(_) => refer(&extension("JSONSchemaPropsOrStringArray")),
        Shape::Struct(_) => refer(schema.structure().map_or("", |s| &*s.name)),
        Shape::List(_) => {
            let items = schema.items().map_or(Value::Null, |s| place(style, s, todo));
            json!({ "type": "array", "items": items })
        }
        Shape::Map(_) => {
            let values = schema.values().map_or(Value::Null, |s| place(style, s, todo));
            json!({ "type": "object", "additionalProperties": values })
        }
    };
    let attributes = attributes(style, schema);
    if !attributes.is_empty() {
        // In v3 nothing may stand beside a reference.
        if style == Style::V3 && out.get("$ref").is_some() {
            out = json!({ "allOf": [out] });
        }
        if let Value::Object(map) = &mut out {
            map.extend(attributes);
        }
    }
    out
}

fn attributes(style: Style, schema: Schema<'_>) -> Map<String, Value> {
    let mut out = Map::new();
    let Some(extra) = schema.node().extra.as_deref() else { return out };
    let mut put = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    // Swagger's readers never saw defaults; upstream leaves them out of v2.
    if let (Some(default), Style::V3) = (&extra.default, style) {
        put("default", default.clone());
    }
    match extra.list_type {
        Some(ListType::Atomic) => put("x-kubernetes-list-type", "atomic".into()),
        Some(ListType::Set) => put("x-kubernetes-list-type", "set".into()),
        Some(ListType::Map) => put("x-kubernetes-list-type", "map".into()),
        None => {}
    }
    if !extra.list_map_keys.is_empty() {
        put("x-kubernetes-list-map-keys", json!(extra.list_map_keys));
    }
    if extra.atomic {
        put("x-kubernetes-map-type", "atomic".into());
    }
    let strategy: Vec<&str> = [
        (extra.patch.merge, "merge"),
        (extra.patch.replace, "replace"),
        (extra.patch.retain_keys, "retainKeys"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect();
    if !strategy.is_empty() {
        put("x-kubernetes-patch-strategy", strategy.join(",").into());
    }
    if let Some(key) = &extra.patch_merge_key {
        put("x-kubernetes-patch-merge-key", json!(key));
    }
    out
}
