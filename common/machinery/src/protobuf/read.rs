//! Wire to JSON, in the form Go's JSON encoder would give the same object.

use super::wire::{Fields, Payload};
use super::{MAGIC, ProtobufError, decode_envelope};
use crate::schema::{Field, Int, Schema, Shape, Struct, Wire, WireTarget};
use crate::validate::{dropped, fill};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::time;
use serde_json::{Map, Number, Value};

type Result<T> = std::result::Result<T, ProtobufError>;

/// Messages nested deeper are refused.
const MAX_DEPTH: usize = 120;

/// Reads a struct's message.
pub fn message(schema: Schema<'_>, bytes: &[u8]) -> Result<Map<String, Value>> {
    object(schema, bytes, 0)
}

fn object(schema: Schema<'_>, bytes: &[u8], depth: usize) -> Result<Map<String, Value>> {
    let mut out = Map::new();
    if let Some(def) = schema.structure() {
        fields(schema, def, bytes, depth, &mut out)?;
        out.retain(|key, v| {
            let field = schema.field_decl(key);
            field.is_none_or(|f| !dropped(f, schema.arena().at(f.node).shape(), v))
        });
        fill(def, schema, &mut out);
    }
    Ok(out)
}

fn fields(
    schema: Schema<'_>,
    def: &Struct,
    bytes: &[u8],
    depth: usize,
    out: &mut Map<String, Value>,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::Depth);
    }
    let mut message = Fields(bytes);
    while let Some((number, payload)) = message.next()? {
        let Ok(at) = def.wire.binary_search_by_key(&number, |w: &Wire| w.number) else { continue };
        match def.wire[at].target {
            WireTarget::Field(index) => {
                let field = &def.fields[index as usize];
                put(schema.arena().at(field.node), field, payload, depth, out)?;
            }
            WireTarget::Inline(id) => {
                let inner = schema.arena().get_struct(id);
                fields(schema, inner, payload.bytes()?, depth + 1, out)?;
            }
        }
    }
    Ok(())
}

fn put(
    schema: Schema<'_>,
    field: &Field,
    payload: Payload<'_>,
    depth: usize,
    out: &mut Map<String, Value>,
) -> Result<()> {
    let name = &*field.name;
    match schema.shape() {
        Shape::List(item) if !is_wrapped(schema) => {
            let item = value(schema.arena().at(item), payload, depth)?;
            match out.get_mut(name) {
                Some(Value::Array(items)) => items.push(item),
                _ => drop(out.insert(name.to_owned(), Value::Array(vec![item]))),
            }
        }
        Shape::Map(values) => {
            let values = schema.arena().at(values);
            let mut key = String::new();
            let mut entry = None;
            let mut parts = Fields(payload.bytes()?);
            while let Some((number, payload)) = parts.next()? {
                match number {
                    1 => key = payload.text()?,
                    2 => entry = Some(value(values, payload, depth)?),
                    _ => {}
                }
            }
            let entry = match entry {
                Some(entry) => entry,
                None => empty(values),
            };
            match out.get_mut(name) {
                Some(Value::Object(map)) => drop(map.insert(key, entry)),
                _ => drop(out.insert(name.to_owned(), Value::Object(Map::from_iter([(key, entry)])))),
            }
        }
        _ => drop(out.insert(name.to_owned(), value(schema, payload, depth)?)),
    }
    Ok(())
}

/// A map entry whose value is missing on the wire.
fn empty(schema: Schema<'_>) -> Value {
    match schema.shape() {
        Shape::Bytes => "".into(),
        _ => crate::validate::zero(schema),
    }
}

fn is_wrapped(schema: Schema<'_>) -> bool {
    schema.node().extra.as_ref().is_some_and(|e| e.wrapped)
}

fn value(schema: Schema<'_>, payload: Payload<'_>, depth: usize) -> Result<Value> {
    Ok(match schema.shape() {
        Shape::Bool => (payload.varint()? != 0).into(),
        Shape::Int(width) => int(width, payload.varint()?),
        Shape::Number => match payload {
            Payload::Fixed64(bits) => {
                Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)
            }
            _ => return Err(ProtobufError::WireType),
        },
        Shape::String => payload.text()?.into(),
        Shape::Bytes => STANDARD.encode(payload.bytes()?).into(),
        Shape::Struct(_) => Value::Object(object(schema, payload.bytes()?, depth + 1)?),
        Shape::List(item) => {
            // A list met as a value is a message of its own with one repeated field.
            let item = schema.arena().at(item);
            let mut items = Vec::new();
            let mut message = Fields(payload.bytes()?);
            while let Some((number, payload)) = message.next()? {
                if number == 1 {
                    items.push(value(item, payload, depth + 1)?);
                }
            }
            Value::Array(items)
        }
        Shape::Map(_) => return Err(ProtobufError::WireType),
        Shape::Any | Shape::AnyObject => raw(schema, payload.bytes()?)?,
        Shape::IntOrString => {
            let (mut is_text, mut number, mut text) = (false, Value::from(0), String::new());
            each(payload, |n, p| {
                match n {
                    1 => is_text = p.varint()? == 1,
                    2 => number = int(Int::I32, p.varint()?),
                    3 => text = p.text()?,
                    _ => {}
                }
                Ok(())
            })?;
            if is_text { text.into() } else { number }
        }
        Shape::Quantity => {
            let mut text = String::new();
            each(payload, |n, p| {
                if n == 1 {
                    text = p.text()?;
                }
                Ok(())
            })?;
            crate::validate::quantity(&text).map_err(ProtobufError::Value)?
        }
        Shape::Time | Shape::MicroTime => timestamp(schema, payload)?,
        Shape::Duration => {
            let mut nanos = 0;
            each(payload, |n, p| {
                if n == 1 {
                    nanos = p.varint()? as i64;
                }
                Ok(())
            })?;
            time::Duration(nanos).to_string().into()
        }
        Shape::SchemaOrBool(id) | Shape::SchemaOrArray(id) | Shape::SchemaOrStrings(id) => {
            schema_or(schema, schema.arena().of_struct(id), payload, depth)?
        }
    })
}

fn each<'a>(payload: Payload<'a>, mut visit: impl FnMut(u32, Payload<'a>) -> Result<()>) -> Result<()> {
    let mut message = Fields(payload.bytes()?);
    while let Some((number, payload)) = message.next()? {
        visit(number, payload)?;
    }
    Ok(())
}

fn int(width: Int, raw: u64) -> Value {
    match width {
        Int::I32 => (raw as i32).into(),
        Int::I64 => (raw as i64).into(),
        Int::U8 => (raw as u8).into(),
        Int::U16 => (raw as u16).into(),
        Int::U32 => (raw as u32).into(),
        Int::U64 => raw.into(),
    }
}

fn timestamp(schema: Schema<'_>, payload: Payload<'_>) -> Result<Value> {
    let (mut seconds, mut nanos, mut any) = (0, 0, false);
    each(payload, |n, p| {
        any = true;
        match n {
            1 => seconds = p.varint()? as i64,
            2 => nanos = p.varint()? as i32,
            _ => {}
        }
        Ok(())
    })?;
    if !any {
        return Ok(Value::Null);
    }
    let t = Timestamp::new(seconds, nanos).map_err(|e| ProtobufError::Value(e.to_string()))?;
    Ok(if schema.shape() == Shape::Time { time::rfc3339(t) } else { time::rfc3339_micro(t) }.into())
}

/// Raw JSON, or an enveloped object, inside a message of one field.
fn raw(schema: Schema<'_>, bytes: &[u8]) -> Result<Value> {
    let mut out = Value::Null;
    each(Payload::Bytes(bytes), |n, p| {
        if n == 1 {
            let bytes = p.bytes()?;
            out = if bytes.starts_with(MAGIC) {
                decode_envelope(schema.arena(), bytes, None)?.into_value()
            } else if bytes.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(bytes).map_err(|e| ProtobufError::Value(e.to_string()))?
            };
        }
        Ok(())
    })?;
    Ok(out)
}

fn schema_or(schema: Schema<'_>, inner: Schema<'_>, payload: Payload<'_>, depth: usize) -> Result<Value> {
    let is_bool = matches!(schema.shape(), Shape::SchemaOrBool(_));
    let strings = matches!(schema.shape(), Shape::SchemaOrStrings(_));
    let (mut allows, mut props, mut list) = (false, None, Vec::new());
    each(payload, |n, p| {
        match (n, is_bool) {
            (1, true) => allows = p.varint()? != 0,
            (2, true) | (1, false) => props = Some(value(inner, p, depth + 1)?),
            (2, false) if strings => list.push(p.text()?.into()),
            (2, false) => list.push(value(inner, p, depth + 1)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(match props {
        Some(props) if list.is_empty() => props,
        _ if is_bool => allows.into(),
        _ if list.is_empty() => Value::Null,
        _ => Value::Array(list),
    })
}
