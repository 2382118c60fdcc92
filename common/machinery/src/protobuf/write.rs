//! JSON to wire, fields by descending number (the buffer runs backwards).

use super::ProtobufError;
use super::wire::Backwards;
use crate::schema::{Schema, Shape, Struct, WireTarget};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gantry_types::time;
use serde_json::{Map, Value};

type Result = std::result::Result<(), ProtobufError>;

/// Writes the fields of a struct, or nothing for anything but structs.
pub fn message(out: &mut Backwards, schema: Schema<'_>, object: &Map<String, Value>) -> Result {
    match schema.structure() {
        Some(def) => fields(out, schema, def, object),
        None => Ok(()),
    }
}

fn fields(out: &mut Backwards, schema: Schema<'_>, def: &Struct, object: &Map<String, Value>) -> Result {
    for wire in def.wire.iter().rev() {
        match wire.target {
            WireTarget::Field(index) => {
                let field = &def.fields[index as usize];
                let value = object.get(&*field.name).filter(|v| !v.is_null());
                let node = schema.arena().at(field.node);
                match value {
                    Some(value) => {
                        self::value(out, wire.number, node, value).map_err(|e| in_field(e, &field.name))?
                    }
                    None if wire.pointer => {}
                    None => zero(out, wire.number, node)?,
                }
            }
            WireTarget::Inline(id) => {
                let inner = schema.arena().get_struct(id);
                let present = |f: &crate::schema::Field| object.get(&*f.name).is_some_and(|v| !v.is_null());
                if !wire.pointer || inner.fields.iter().any(present) {
                    let mark = out.len();
                    fields(out, schema, inner, object)?;
                    out.close(wire.number, mark);
                }
            }
        }
    }
    Ok(())
}

fn in_field(e: ProtobufError, name: &str) -> ProtobufError {
    match e {
        ProtobufError::Value(text) => ProtobufError::Value(format!("{name}: {text}")),
        other => other,
    }
}

fn unfit(value: &Value, what: &str) -> ProtobufError {
    let text: String = value.to_string().chars().take(40).collect();
    ProtobufError::Value(format!("{text} is not {what}"))
}

/// What upstream writes for a field that is no pointer and not set.
fn zero(out: &mut Backwards, number: u32, schema: Schema<'_>) -> Result {
    match schema.shape() {
        Shape::Bool | Shape::Int(_) => out.varint_field(number, 0),
        Shape::Number => out.fixed64_field(number, 0),
        Shape::String => out.bytes_field(number, b""),
        Shape::Bytes | Shape::List(_) | Shape::Map(_) => {}
        Shape::Struct(_) => return value(out, number, schema, &Value::Object(Map::new())),
        Shape::Quantity => return value(out, number, schema, &"0".into()),
        Shape::IntOrString => return value(out, number, schema, &0.into()),
        Shape::Duration => return value(out, number, schema, &"0s".into()),
        Shape::Time | Shape::MicroTime | Shape::Any | Shape::AnyObject => out.bytes_field(number, b""),
        Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_) => out.bytes_field(number, b""),
        Shape::SchemaOrBool(_) => return value(out, number, schema, &false.into()),
    }
    Ok(())
}

fn value(out: &mut Backwards, number: u32, schema: Schema<'_>, value: &Value) -> Result {
    match schema.shape() {
        Shape::Bool => {
            let v = value.as_bool().ok_or_else(|| unfit(value, "a boolean"))?;
            out.varint_field(number, u64::from(v));
        }
        Shape::Int(_) => out.varint_field(number, int(value)?),
        Shape::Number => {
            let v = value.as_f64().ok_or_else(|| unfit(value, "a number"))?;
            out.fixed64_field(number, v.to_bits());
        }
        Shape::String => out.bytes_field(number, text(value)?.as_bytes()),
        Shape::Bytes => {
            let raw = STANDARD.decode(text(value)?).map_err(|_| unfit(value, "base64"))?;
            out.bytes_field(number, &raw);
        }
        Shape::List(_) => return list(out, number, schema, value),
        Shape::Map(_) => return map(out, number, schema, value),
        Shape::Any | Shape::AnyObject => {
            let mark = out.len();
            if !value.is_null() {
                // A tree of JSON values always serializes.
                out.bytes_field(1, &gantry_types::json::to_vec(value).unwrap_or_default());
            }
            out.close(number, mark);
        }
        _ => {
            let mark = out.len();
            special(out, schema, value)?;
            out.close(number, mark);
        }
    }
    Ok(())
}

/// The inside of a message that is not written as its JSON reads.
fn special(out: &mut Backwards, schema: Schema<'_>, value: &Value) -> Result {
    let bad_time = |e: time::TimeError| ProtobufError::Value(e.to_string());
    match schema.shape() {
        Shape::Struct(_) => {
            return message(out, schema, value.as_object().ok_or_else(|| unfit(value, "an object"))?);
        }
        Shape::IntOrString => {
            let (kind, int, text) = match value {
                Value::String(s) => (1, 0, s.as_str()),
                other => (0, int(other)?, ""),
            };
            out.bytes_field(3, text.as_bytes());
            out.varint_field(2, int);
            out.varint_field(1, kind);
        }
        Shape::Quantity => out.bytes_field(1, text(value)?.as_bytes()),
        Shape::Time if !value.is_null() => {
            let t = time::parse_rfc3339(text(value)?).map_err(bad_time)?;
            out.varint_field(2, 0);
            out.varint_field(1, t.as_second() as u64);
        }
        Shape::MicroTime if !value.is_null() => {
            let t = time::parse_rfc3339(text(value)?).map_err(bad_time)?;
            let micros = t.as_microsecond().rem_euclid(1_000_000);
            out.varint_field(2, (micros * 1000) as u64);
            out.varint_field(1, t.as_microsecond().div_euclid(1_000_000) as u64);
        }
        Shape::Duration => {
            let d: time::Duration = text(value)?.parse().map_err(|_| unfit(value, "a duration"))?;
            out.varint_field(1, d.0 as u64);
        }
        Shape::SchemaOrBool(id) => {
            let is_schema = value.is_object();
            if is_schema {
                self::value(out, 2, schema.arena().of_struct(id), value)?;
            }
            out.varint_field(1, u64::from(is_schema || value.as_bool().unwrap_or_default()));
        }
        Shape::SchemaOrArray(id) | Shape::SchemaOrStrings(id) => match value {
            Value::Array(items) => {
                let strings = matches!(schema.shape(), Shape::SchemaOrStrings(_));
                for item in items.iter().rev() {
                    if strings {
                        out.bytes_field(2, text(item)?.as_bytes());
                    } else {
                        self::value(out, 2, schema.arena().of_struct(id), item)?;
                    }
                }
            }
            Value::Object(_) => self::value(out, 1, schema.arena().of_struct(id), value)?,
            _ => {}
        },
        _ => {}
    }
    Ok(())
}

fn list(out: &mut Backwards, number: u32, schema: Schema<'_>, value: &Value) -> Result {
    let wrapped = schema.node().extra.as_ref().is_some_and(|e| e.wrapped);
    let mark = out.len();
    if let Some(item) = schema.items() {
        let values = match value {
            Value::Null if wrapped => &[],
            other => other.as_array().ok_or_else(|| unfit(value, "a list"))?.as_slice(),
        };
        for v in values.iter().rev() {
            let number = if wrapped { 1 } else { number };
            if v.is_null() { zero(out, number, item)? } else { self::value(out, number, item, v)? }
        }
    }
    if wrapped {
        out.close(number, mark);
    }
    Ok(())
}

fn map(out: &mut Backwards, number: u32, schema: Schema<'_>, value: &Value) -> Result {
    let Some(values) = schema.values() else { return Ok(()) };
    let object = value.as_object().ok_or_else(|| unfit(value, "an object"))?;
    // Entries are sorted by key on the wire, whatever order the tree keeps.
    let mut entries: Vec<(&String, &Value)> = object.iter().collect();
    entries.sort_unstable_by_key(|(k, _)| *k);
    for (key, v) in entries.into_iter().rev() {
        let mark = out.len();
        match v {
            Value::Null if matches!(values.shape(), Shape::List(_)) => self::value(out, 2, values, v)?,
            Value::Null => zero(out, 2, values)?,
            v => self::value(out, 2, values, v).map_err(|e| in_field(e, key))?,
        }
        out.bytes_field(1, key.as_bytes());
        out.close(number, mark);
    }
    Ok(())
}

fn text(value: &Value) -> std::result::Result<&str, ProtobufError> {
    value.as_str().ok_or_else(|| unfit(value, "a string"))
}

fn int(value: &Value) -> std::result::Result<u64, ProtobufError> {
    value.as_i64().map(|i| i as u64).or_else(|| value.as_u64()).ok_or_else(|| unfit(value, "an integer"))
}
