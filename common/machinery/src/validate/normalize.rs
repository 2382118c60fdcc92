//! Bringing a document that code has changed back to the form Go would write.

use super::decode::{dropped, fill};
use crate::schema::{Schema, Shape};
use serde_json::{Map, Value};

/// Drops what Go's encoder leaves out (nulls, empty optional lists, maps and scalars) and adds what it writes
/// in any case (`status: {}`). Unknown fields stay; see [`crate::prune`]. Scalars are not re-read: texts such
/// as quantities must be canonical already.
pub fn normalize(schema: Schema<'_>, object: &mut Map<String, Value>) {
    let Some(def) = schema.structure() else { return };
    object.retain(|key, value| {
        let Some(field) = schema.field_decl(key) else { return true };
        let child = schema.arena().at(field.node);
        walk(child, value);
        !dropped(field, child.shape(), value)
    });
    fill(def, schema, object);
}

fn walk(schema: Schema<'_>, value: &mut Value) {
    match (schema.shape(), value) {
        (Shape::Struct(_), Value::Object(object)) => normalize(schema, object),
        (Shape::List(id), Value::Array(items)) => {
            let inner = schema.arena().at(id);
            items.iter_mut().for_each(|v| walk(inner, v));
        }
        (Shape::Map(id), Value::Object(object)) => {
            let inner = schema.arena().at(id);
            object.values_mut().for_each(|v| walk(inner, v));
        }
        (Shape::SchemaOrBool(id) | Shape::SchemaOrArray(id) | Shape::SchemaOrStrings(id), value) => {
            let inner = schema.arena().of_struct(id);
            match value {
                Value::Object(object) => normalize(inner, object),
                Value::Array(items) => items.iter_mut().for_each(|v| walk(inner, v)),
                _ => {}
            }
        }
        _ => {}
    }
}
