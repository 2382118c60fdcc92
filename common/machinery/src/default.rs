//! Filling in the defaults a schema declares.

use crate::schema::{Schema, Shape};
use serde_json::{Map, Value};

/// Fills in declared defaults in one walk: absent fields get theirs, and so does what was just filled in.
/// A null where null is no value counts as absence if there is a default. Lists and maps are walked into, but
/// nothing makes up their entries.
pub fn default(schema: Schema<'_>, object: &mut Map<String, Value>) {
    for (field, child) in schema.fields() {
        if let Some(default) = child.default() {
            let absent = match object.get(&*field.name) {
                None => true,
                Some(value) => value.is_null() && !child.nullable(),
            };
            if absent {
                object.insert(field.name.clone().into_owned(), default.clone());
            }
        }
        if let Some(value) = object.get_mut(&*field.name) {
            walk(child, value);
        }
    }
    if let Some(values) = schema.values() {
        entries(values, object);
    }
}

fn entries(values: Schema<'_>, object: &mut Map<String, Value>) {
    for value in object.values_mut() {
        entry(values, value);
    }
}

/// An item of a list or map: its own default stands for null.
fn entry(schema: Schema<'_>, value: &mut Value) {
    if value.is_null()
        && !schema.nullable()
        && let Some(default) = schema.default()
    {
        *value = default.clone();
    }
    walk(schema, value);
}

fn walk(schema: Schema<'_>, value: &mut Value) {
    match (schema.shape(), value) {
        (Shape::Struct(_), Value::Object(object)) => default(schema, object),
        (Shape::Map(id), Value::Object(object)) => entries(schema.arena().at(id), object),
        (Shape::List(id), Value::Array(items)) => {
            let inner = schema.arena().at(id);
            items.iter_mut().for_each(|item| entry(inner, item));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;

    #[test]
    fn declared_defaults_are_filled_in_where_their_parent_is() {
        let check = |schema: Schema<'_>, input: &str, want: &str| {
            let mut got: Value = serde_json::from_str(input).unwrap();
            default(schema, got.as_object_mut().unwrap());
            assert_eq!(got, serde_json::from_str::<Value>(want).unwrap());
        };
        let container = builtin().definition("io.k8s.api.core.v1.Container").unwrap();
        check(
            container,
            r#"{"ports":[{"containerPort":80},{"containerPort":53,"protocol":"UDP"}]}"#,
            r#"{"name":"","resources":{},"ports":[{"containerPort":80,"protocol":"TCP"},
                {"containerPort":53,"protocol":"UDP"}]}"#,
        );
        let volume = builtin().definition("io.k8s.api.core.v1.AzureDiskVolumeSource").unwrap();
        check(
            volume,
            r#"{"diskName":"a","diskURI":"b","kind":null}"#,
            r#"{"cachingMode":"ReadWrite","diskName":"a","diskURI":"b","fsType":"ext4","kind":"Shared",
                "readOnly":false}"#,
        );
    }
}
