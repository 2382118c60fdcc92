//! Dropping fields a schema does not name.

use crate::schema::{Schema, Shape};
use serde_json::{Map, Value};

/// Drops every unknown field below `object`; the paths dropped (`spec.list[0].x`), in document order.
/// What `x-kubernetes-preserve-unknown-fields` covers is kept; below it, named fields are pruned again. An
/// embedded resource keeps its apiVersion, kind and metadata.
pub fn prune(schema: Schema<'_>, object: &mut Map<String, Value>) -> Vec<String> {
    let mut dropped = Vec::new();
    walk_object(schema, object, "", &mut dropped);
    dropped
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn walk(schema: Schema<'_>, value: &mut Value, path: &str, dropped: &mut Vec<String>) {
    match (schema.shape(), value) {
        (Shape::Struct(_) | Shape::Map(_), Value::Object(object)) => {
            walk_object(schema, object, path, dropped)
        }
        (Shape::List(id), Value::Array(items)) => {
            let inner = schema.arena().at(id);
            for (i, item) in items.iter_mut().enumerate() {
                walk(inner, item, &format!("{path}[{i}]"), dropped);
            }
        }
        (Shape::SchemaOrBool(id) | Shape::SchemaOrArray(id) | Shape::SchemaOrStrings(id), value) => {
            let inner = schema.arena().of_struct(id);
            match value {
                Value::Object(object) => walk_object(inner, object, path, dropped),
                Value::Array(items) => {
                    for (i, item) in items.iter_mut().enumerate() {
                        walk(inner, item, &format!("{path}[{i}]"), dropped);
                    }
                }
                _ => {}
            }
        }
        _ => {}
    }
}

fn walk_object(schema: Schema<'_>, object: &mut Map<String, Value>, path: &str, dropped: &mut Vec<String>) {
    let keeps_unknown = schema.preserve_unknown();
    let is_resource = schema.embedded_resource();
    object.retain(|key, value| {
        if let Some(child) = schema.child(key) {
            // Leaves need no path.
            if matches!(value, Value::Object(_) | Value::Array(_)) {
                walk(child, value, &below(path, key), dropped);
            }
            return true;
        }
        let known =
            keeps_unknown || is_resource && matches!(key.as_str(), "apiVersion" | "kind" | "metadata");
        if !known {
            dropped.push(below(path, key));
        }
        known
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Builder, Extra, Field, Omit, Struct, builtin};

    fn check(schema: Schema<'_>, input: &str, want: &str, paths: &[&str]) {
        let mut got: Value = serde_json::from_str(input).unwrap();
        let dropped = prune(schema, got.as_object_mut().unwrap());
        assert_eq!(got, serde_json::from_str::<Value>(want).unwrap());
        assert_eq!(dropped, paths);
    }

    #[test]
    fn unknown_fields_of_built_in_kinds_go() {
        let pod = builtin().kind("", "v1", "Pod").unwrap();
        check(
            pod,
            r#"{"foo":1,"metadata":{"labels":{"a":"b"},"x":{}},"spec":{"containers":[{"name":"c","nme":"d"}]}}"#,
            r#"{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c"}]}}"#,
            &["foo", "metadata.x", "spec.containers[0].nme"],
        );
    }

    #[test]
    fn preserved_places_keep_unknown_fields_but_prune_named_ones() {
        let mut b = Builder::default();
        let field = |name: &'static str, node| Field {
            name: name.into(),
            node,
            required: false,
            pointer: false,
            omit: Omit::Empty,
            through: None,
        };
        let inner = b.declare("".into());
        let text = b.node(Shape::String, false, Extra::default());
        b.define(inner, Struct { fields: [field("a", text)].into(), ..Struct::default() });
        let inner = b.node(Shape::Struct(inner), false, Extra::default());
        let outer = b.declare("".into());
        b.define(outer, Struct { fields: [field("in", inner)].into(), ..Struct::default() });
        let extra = Extra { preserve_unknown: true, ..Extra::default() };
        let root = b.node(Shape::Struct(outer), false, extra);
        let all = b.finish();
        check(
            all.at(root),
            r#"{"x":{"y":1},"in":{"a":"1","b":2}}"#,
            r#"{"x":{"y":1},"in":{"a":"1"}}"#,
            &["in.b"],
        );
    }
}
