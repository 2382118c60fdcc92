//! Reads what the OpenAPI v3 documents say about definitions and their properties.

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Definitions by name, all documents together.
pub type Definitions = BTreeMap<String, Value>;

pub fn load(dir: &Path) -> Result<Definitions> {
    let mut out = Definitions::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let mut doc: Value =
            serde_json::from_slice(&std::fs::read(&path)?).with_context(|| path.display().to_string())?;
        if let Some(Value::Object(schemas)) = doc.pointer_mut("/components/schemas").map(Value::take) {
            out.extend(schemas);
        }
    }
    Ok(out)
}

/// The attributes of one place as the table writes them, after a leading space each.
pub fn attributes(property: &Value) -> String {
    let mut out = String::new();
    let mut put = |key: &str, text: String| {
        out.push(' ');
        out.push_str(key);
        out.push_str(&text);
    };
    let text = |key: &str| property.get(key).and_then(Value::as_str).map(str::to_owned);
    if let Some(v) = text("x-kubernetes-list-type") {
        put("l=", v);
    }
    if let Some(Value::Array(keys)) = property.get("x-kubernetes-list-map-keys") {
        let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
        put("k=", keys.join(","));
    }
    if let Some(v) = text("x-kubernetes-map-type") {
        put("m=", v);
    }
    if let Some(v) = text("x-kubernetes-patch-strategy") {
        put("p=", v);
    }
    if let Some(v) = text("x-kubernetes-patch-merge-key") {
        put("K=", v);
    }
    if property.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        put("u", String::new());
    }
    if property.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) {
        put("x", String::new());
    }
    if let Some(v) = property.get("default") {
        put("d=", v.to_string());
    }
    out
}

/// Whether a definition lists the property as required.
pub fn required(definition: Option<&Value>, name: &str) -> bool {
    let list = definition.and_then(|d| d.get("required")).and_then(Value::as_array);
    list.is_some_and(|l| l.iter().any(|v| v == name))
}

/// The properties of a definition.
pub fn properties(definition: &Value) -> Option<&Map<String, Value>> {
    definition.get("properties")?.as_object()
}
