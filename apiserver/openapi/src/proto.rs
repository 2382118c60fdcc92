//! A swagger document as gnostic's `openapi.v2` protobuf.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value};

/// A message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn text(&mut self, number: u32, text: Option<&Value>) {
        if let Some(text) = text.and_then(Value::as_str) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, list: Option<&Value>) {
        for item in list.and_then(Value::as_array).into_iter().flatten() {
            self.text(number, Some(item));
        }
    }

    fn flag(&mut self, number: u32, value: Option<&Value>) {
        if value == Some(&Value::Bool(true)) {
            encode_key(number, WireType::Varint, &mut self.0);
            encode_varint(1, &mut self.0);
        }
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        encode_varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, number: u32, inner: Message) {
        self.bytes(number, &inner.0);
    }

    /// `{name, value}` pairs, as gnostic writes maps.
    fn named(&mut self, number: u32, name: &str, value: Message) {
        let mut pair = Message::default();
        pair.bytes(1, name.as_bytes());
        pair.message(2, value);
        self.message(number, pair);
    }

    /// The `x-` fields of an object.
    fn extensions(&mut self, number: u32, object: &Value) {
        for (key, value) in object.as_object().into_iter().flatten() {
            if key.starts_with("x-") {
                self.named(number, key, any(value));
            }
        }
    }
}

/// Any value, as YAML; JSON is YAML.
fn any(value: &Value) -> Message {
    let mut out = Message::default();
    out.bytes(2, value.to_string().as_bytes());
    out
}

fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

/// The whole document.
pub(crate) fn document(doc: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, doc.get("swagger"));
    let mut info = Message::default();
    info.text(1, doc.pointer("/info/title"));
    info.text(2, doc.pointer("/info/version"));
    out.message(2, info);
    let mut paths = Message::default();
    for (path, item) in object(doc.get("paths")) {
        paths.named(2, path, path_item(item));
    }
    out.message(8, paths);
    let mut definitions = Message::default();
    for (name, definition) in object(doc.get("definitions")) {
        definitions.named(1, name, schema(definition));
    }
    out.message(9, definitions);
    for requirement in doc.get("security").and_then(Value::as_array).into_iter().flatten() {
        let mut message = Message::default();
        for (name, scopes) in object(Some(requirement)) {
            let mut list = Message::default();
            list.texts(1, Some(scopes));
            message.named(1, name, list);
        }
        out.message(12, message);
    }
    let mut security = Message::default();
    for (name, definition) in object(doc.get("securityDefinitions")) {
        let mut key = Message::default();
        for (number, field) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
            key.text(number, definition.get(field));
        }
        // The second of the kinds a security definition may be: an API key.
        let mut item = Message::default();
        item.message(2, key);
        security.named(1, name, item);
    }
    out.message(13, security);
    out.0
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(value) = item.get(method) {
            out.message(number, operation(value));
        }
    }
    for value in item.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        out.message(9, parameter(value));
    }
    out
}

fn operation(value: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, value.get("tags"));
    out.text(3, value.get("description"));
    out.text(5, value.get("operationId"));
    out.texts(6, value.get("produces"));
    out.texts(7, value.get("consumes"));
    for p in value.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        out.message(8, parameter(p));
    }
    let mut responses = Message::default();
    for (code, response) in object(value.get("responses")) {
        let mut inner = Message::default();
        inner.text(1, response.get("description"));
        if let Some(s) = response.get("schema") {
            let mut item = Message::default();
            item.message(1, schema(s));
            inner.message(2, item);
        }
        let mut choice = Message::default();
        choice.message(1, inner);
        responses.named(1, code, choice);
    }
    out.message(9, responses);
    out.texts(10, value.get("schemes"));
    out.extensions(13, value);
    out
}

/// A `ParametersItem`: a parameter that is a body, or one of the query or the path.
fn parameter(value: &Value) -> Message {
    let mut inner = Message::default();
    let mut choice = Message::default();
    match value.get("in").and_then(Value::as_str) {
        Some("body") => {
            inner.text(1, value.get("description"));
            inner.text(2, value.get("name"));
            inner.text(3, value.get("in"));
            inner.flag(4, value.get("required"));
            if let Some(s) = value.get("schema") {
                inner.message(5, schema(s));
            }
            choice.message(1, inner);
        }
        place => {
            let in_path = place == Some("path");
            inner.flag(1, value.get("required"));
            inner.text(2, value.get("in"));
            inner.text(3, value.get("description"));
            inner.text(4, value.get("name"));
            inner.text(if in_path { 5 } else { 6 }, value.get("type"));
            inner.flag(if in_path { 19 } else { 20 }, value.get("uniqueItems"));
            let mut kind = Message::default();
            kind.message(if in_path { 4 } else { 3 }, inner);
            choice.message(2, kind);
        }
    }
    let mut item = Message::default();
    item.message(1, choice);
    item
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, value.get("$ref"));
    out.text(2, value.get("format"));
    out.text(4, value.get("description"));
    if let Some(default) = value.get("default") {
        out.message(5, any(default));
    }
    out.texts(19, value.get("required"));
    for item in value.get("enum").and_then(Value::as_array).into_iter().flatten() {
        out.message(20, any(item));
    }
    if let Some(additional) = value.get("additionalProperties") {
        let mut choice = Message::default();
        match additional {
            Value::Bool(_) => choice.flag(2, Some(additional)),
            other => choice.message(1, schema(other)),
        }
        out.message(21, choice);
    }
    if let Some(ty) = value.get("type") {
        let mut item = Message::default();
        item.text(1, Some(ty));
        out.message(22, item);
    }
    if let Some(items) = value.get("items") {
        let mut item = Message::default();
        item.message(1, schema(items));
        out.message(23, item);
    }
    if let Some(Value::Object(properties)) = value.get("properties") {
        out.message(25, named_schemas(properties));
    }
    out.extensions(31, value);
    out
}

fn named_schemas(properties: &Map<String, Value>) -> Message {
    let mut out = Message::default();
    for (name, property) in properties {
        out.named(1, name, schema(property));
    }
    out
}
