//! What a place of an object is to server-side apply: a leaf, a keyed list, a set, or a map to go into.

use super::element::{Element, Keys};
use crate::schema::{ListType, Name, Schema, Shape};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// How a place is merged, given what stands there.
#[derive(Clone, Copy)]
pub(super) enum Atom<'s> {
    /// One value: scalars, and lists and maps owned whole.
    Leaf,
    /// A list of items told apart by keys, or by value where `keys` is empty.
    List { keys: &'s [Name], items: Option<Schema<'s>> },
    /// A struct, or a map whose entries are owned apart. Without a schema, anything.
    Map(Option<Schema<'s>>),
}

impl Atom<'_> {
    /// Whether both would be walked the same way.
    pub(super) fn alike(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Leaf, Self::Leaf) | (Self::List { .. }, Self::List { .. }) | (Self::Map(_), Self::Map(_))
        )
    }
}

/// Whether the schema says nothing about what stands here.
fn untyped(schema: Schema<'_>) -> bool {
    matches!(
        schema.shape(),
        Shape::Any | Shape::SchemaOrBool(_) | Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_)
    )
}

/// A list or map that is owned whole.
pub(super) fn is_atomic(schema: Schema<'_>) -> bool {
    match schema.shape() {
        Shape::List(_) => schema.list_type() == ListType::Atomic,
        Shape::Map(_) | Shape::Struct(_) | Shape::AnyObject => schema.atomic(),
        _ => false,
    }
}

/// The way to treat a place. Where there is no schema the value decides.
pub(super) fn atom<'s>(schema: Option<Schema<'s>>, value: Option<&Value>) -> Atom<'s> {
    let Some(schema) = schema.filter(|s| !untyped(*s)) else {
        return match value {
            Some(Value::Array(_)) => Atom::Leaf,
            Some(Value::Object(_)) | None | Some(Value::Null) => Atom::Map(None),
            Some(_) => Atom::Leaf,
        };
    };
    match schema.shape() {
        Shape::List(_) => match schema.list_type() {
            ListType::Atomic => Atom::Leaf,
            ListType::Set => Atom::List { keys: &[], items: schema.items() },
            ListType::Map => Atom::List { keys: schema.list_map_keys(), items: schema.items() },
        },
        Shape::Struct(_) | Shape::Map(_) | Shape::AnyObject => {
            if schema.atomic() {
                Atom::Leaf
            } else {
                Atom::Map(Some(schema))
            }
        }
        _ => Atom::Leaf,
    }
}

/// The schema below a key of a map or struct.
pub(super) fn below<'s>(schema: Option<Schema<'s>>, key: &str) -> Option<Schema<'s>> {
    schema.and_then(|s| s.child(key))
}

pub(super) fn as_map(v: Option<&Value>) -> Option<&Map<String, Value>> {
    v.and_then(Value::as_object)
}

pub(super) fn as_list(v: Option<&Value>) -> Option<&Vec<Value>> {
    v.and_then(Value::as_array)
}

/// The step into an item of a keyed list or a set.
pub(super) fn step<'a>(
    keys: &'a [Name],
    items: Option<Schema<'a>>,
    item: &'a Value,
) -> Result<Element<'a>, String> {
    if keys.is_empty() {
        return match item {
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null".to_owned())
            }
            scalar => Ok(Element::Value(Cow::Borrowed(scalar))),
        };
    }
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut fields: Vec<(&'a str, Cow<'a, Value>)> = Vec::with_capacity(keys.len());
    for key in keys {
        let value = map.get(&**key).or_else(|| items.and_then(|s| s.field(key)).and_then(Schema::default));
        if let Some(v) = value {
            fields.push((key, Cow::Borrowed(v)));
        }
    }
    if fields.is_empty() {
        let quoted: Vec<String> = keys.iter().map(|k| gantry_types::field::go_quote(k)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            quoted.join(" ")
        ));
    }
    if !fields.is_sorted_by(|a, b| a.0 <= b.0) {
        fields.sort_by(|a, b| a.0.cmp(b.0));
    }
    Ok(Element::Key(Keys::from(fields)))
}
