//! One pass over JSON bytes, driven by a schema: decode, type check, find unknown and duplicate fields, and
//! leave what Go would write back.

use super::lex::{Kind, Lexer, SyntaxError};
use super::scalars;
use crate::schema::{Field, Int, Omit, Schema, Shape, Struct};
use gantry_types::field::go_quote;
use serde_json::{Map, Value};

/// What a body decoded to.
#[derive(Debug)]
pub struct Decoded {
    pub value: Value,
    /// `unknown field "spec.foo"`, `duplicate field "spec.bar"`, in the order met; only where asked for.
    pub problems: Vec<String>,
}

/// Why a body does not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON at all.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// JSON that does not fit the type, in the words of Go's decoder.
    #[error("{0}")]
    Type(String),
}

/// Decodes JSON as upstream decodes it into the schema's Go type: unknown fields are dropped, null is absence,
/// quantities and times become canonical, and fields Go writes back in any case are filled in.
/// `collect` asks for the problems that strict validation refuses.
///
/// # Errors
/// Where the bytes are not JSON or do not fit.
pub fn json(schema: Schema<'_>, bytes: &[u8], collect: bool) -> Result<Decoded, DecodeError> {
    let mut d = Decoder {
        lex: Lexer::new(bytes),
        collect,
        problems: Vec::new(),
        path: Vec::new(),
        saved: None,
        fatal: None,
    };
    let value = d.value(schema)?;
    d.lex.end()?;
    if let Some(message) = d.fatal.or(d.saved) {
        return Err(DecodeError::Type(message));
    }
    Ok(Decoded { value: value.unwrap_or_else(|| zero(schema)), problems: d.problems })
}

enum Segment<'s> {
    Field(&'s Struct, &'s Field),
    Key(String),
    Index(usize),
}

struct Decoder<'b, 's> {
    lex: Lexer<'b>,
    collect: bool,
    problems: Vec<String>,
    path: Vec<Segment<'s>>,
    /// The first type error; the rest of the body is still read, as in Go.
    saved: Option<String>,
    /// The first error of a type with a decoder of its own; beats `saved`, as in Go.
    fatal: Option<String>,
}

/// Upstream stops collecting here.
const MAX_PROBLEMS: usize = 100;

impl<'s> Decoder<'_, 's> {
    /// Reads one value. `None` for null, and for what does not fit (an error is saved then).
    fn value(&mut self, schema: Schema<'s>) -> Result<Option<Value>, SyntaxError> {
        let kind = self.lex.peek()?;
        if kind == Kind::Null {
            self.lex.literal()?;
            return Ok(None);
        }
        match (schema.shape(), kind) {
            (Shape::Any | Shape::AnyObject, _) => self.any().map(Some),
            (Shape::Struct(id), Kind::Object) => self.object(schema.arena().get_struct(id), schema).map(Some),
            (Shape::Map(_), Kind::Object) => self.map(schema).map(Some),
            (Shape::List(_), Kind::Array) => self.list(schema).map(Some),
            (Shape::String, Kind::String) => Ok(Some(self.lex.string()?.into())),
            (Shape::Bool, Kind::Bool) => Ok(Some(self.lex.literal()?.into())),
            (Shape::Int(width), Kind::Number) => self.int(width, schema),
            (Shape::Number, Kind::Number) => {
                let text = self.lex.number()?;
                match scalars::number(text) {
                    Some(v) => Ok(Some(v)),
                    None => self.mismatch(&format!("number {text}"), schema),
                }
            }
            (Shape::Bytes, Kind::String) => {
                let text = self.lex.string()?;
                Ok(scalars::base64(&text).map_err(|e| self.save(e)).ok())
            }
            (Shape::IntOrString, Kind::String) => Ok(Some(self.lex.string()?.into())),
            (Shape::IntOrString, Kind::Number) => self.int(Int::I32, schema),
            (Shape::Quantity, _) => self.quantity(kind),
            (Shape::Time, Kind::String) => self.text(scalars::time),
            (Shape::MicroTime, Kind::String) => self.text(scalars::micro_time),
            (Shape::Duration, Kind::String) => self.text(scalars::duration),
            (Shape::SchemaOrBool(_), Kind::Bool) => Ok(Some(self.lex.literal()?.into())),
            (Shape::SchemaOrBool(_), Kind::Object)
            | (Shape::SchemaOrArray(_), Kind::Object | Kind::Array) => self.nested(schema, kind),
            (Shape::SchemaOrStrings(_), Kind::Object | Kind::Array) => self.nested(schema, kind),
            (Shape::SchemaOrBool(_), _) => {
                self.lex.skip()?;
                self.fail("boolean or JSON schema expected".into());
                Ok(None)
            }
            (Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_), _) => {
                self.lex.skip()?;
                Ok(None)
            }
            (shape, _) => {
                let start = self.lex.position();
                self.lex.skip()?;
                let raw = String::from_utf8_lossy(self.lex.since(start));
                let into_int = matches!(shape, Shape::Int(_) | Shape::IntOrString) && kind == Kind::Number;
                let word = if into_int { format!("number {raw}") } else { kind.word().to_owned() };
                let unmarshaler =
                    matches!(shape, Shape::IntOrString | Shape::Time | Shape::MicroTime | Shape::Duration);
                let message = self.mismatch_message(&word, schema);
                if unmarshaler {
                    self.fail(message)
                } else {
                    self.save(message)
                }
                Ok(None)
            }
        }
    }

    fn object(&mut self, def: &'s Struct, schema: Schema<'s>) -> Result<Value, SyntaxError> {
        self.lex.open()?;
        let mut out = Map::new();
        // One bit a field; no struct of the table has more than 128 (a test holds that), and duplicates of
        // later fields would merely go unreported.
        let mut seen = 0u128;
        let mut first = true;
        while let Some(key) = self.lex.key(first)? {
            first = false;
            let Ok(index) = def.fields.binary_search_by(|f| (*f.name).cmp(&*key)) else {
                self.problem("unknown", &key);
                if schema.preserve_unknown() {
                    let v = self.any()?;
                    out.insert(key.into_owned(), v);
                } else {
                    self.lex.skip()?;
                }
                continue;
            };
            let bit = 1u128.checked_shl(index as u32).unwrap_or(0);
            if seen & bit != 0 {
                self.problem("duplicate", &key);
            }
            seen |= bit;
            let field = &def.fields[index];
            let child = schema.arena().at(field.node);
            self.path.push(Segment::Field(def, field));
            let value = self.value(child)?;
            self.path.pop();
            if let Some(value) = value
                && !dropped(field, child.shape(), &value)
            {
                out.insert(key.into_owned(), value);
            } else {
                out.remove(&*key);
            }
        }
        fill(def, schema, &mut out);
        Ok(Value::Object(out))
    }

    fn map(&mut self, schema: Schema<'s>) -> Result<Value, SyntaxError> {
        // The shape was looked at: a map has values.
        let Some(values) = schema.values() else { return self.any() };
        self.lex.open()?;
        let mut out = Map::new();
        let mut first = true;
        while let Some(key) = self.lex.key(first)? {
            first = false;
            if self.collect && out.contains_key(&*key) {
                self.problem("duplicate", &key);
            }
            self.path.push(Segment::Key(key.into_owned()));
            let value = self.value(values)?;
            let Some(Segment::Key(key)) = self.path.pop() else { continue };
            out.insert(key, value.unwrap_or_else(|| zero_entry(values)));
        }
        Ok(Value::Object(out))
    }

    fn list(&mut self, schema: Schema<'s>) -> Result<Value, SyntaxError> {
        let Some(items) = schema.items() else { return self.any() };
        self.lex.open()?;
        let mut out = Vec::new();
        while self.lex.element(out.is_empty())? {
            self.path.push(Segment::Index(out.len()));
            let value = self.value(items)?;
            self.path.pop();
            out.push(value.unwrap_or_else(|| zero_entry(items)));
        }
        Ok(Value::Array(out))
    }

    /// A `JSONSchemaProps` in one of its disguises. Upstream decodes these apart, so nothing inside is strict.
    fn nested(&mut self, schema: Schema<'s>, kind: Kind) -> Result<Option<Value>, SyntaxError> {
        let collect = std::mem::replace(&mut self.collect, false);
        let result = match (schema.shape(), kind) {
            (
                Shape::SchemaOrBool(id) | Shape::SchemaOrArray(id) | Shape::SchemaOrStrings(id),
                Kind::Object,
            ) => {
                let inner = schema.arena().of_struct(id);
                self.value(inner)
            }
            (Shape::SchemaOrArray(id), _) => {
                let inner = schema.arena().of_struct(id);
                self.lex.open()?;
                let mut out = Vec::new();
                while self.lex.element(out.is_empty())? {
                    out.push(self.value(inner)?.unwrap_or_else(|| zero(inner)));
                }
                Ok(Some(Value::Array(out)))
            }
            _ => self.any().map(Some),
        };
        self.collect = collect;
        result
    }

    fn int(&mut self, width: Int, schema: Schema<'s>) -> Result<Option<Value>, SyntaxError> {
        let text = self.lex.number()?;
        let fits = match width {
            Int::I32 => text.parse::<i32>().ok().map(Value::from),
            Int::I64 => text.parse::<i64>().ok().map(Value::from),
            Int::U8 => text.parse::<u8>().ok().map(Value::from),
            Int::U16 => text.parse::<u16>().ok().map(Value::from),
            Int::U32 => text.parse::<u32>().ok().map(Value::from),
            Int::U64 => text.parse::<u64>().ok().map(Value::from),
        };
        match fits {
            Some(v) => Ok(Some(v)),
            None if schema.shape() == Shape::IntOrString => {
                let message = self.mismatch_message(&format!("number {text}"), schema);
                self.fail(message);
                Ok(None)
            }
            None => self.mismatch(&format!("number {text}"), schema),
        }
    }

    /// Upstream takes the raw text of anything for a quantity.
    fn quantity(&mut self, kind: Kind) -> Result<Option<Value>, SyntaxError> {
        let start = self.lex.position();
        let read = if kind == Kind::String {
            scalars::quantity(&self.lex.string()?)
        } else {
            self.lex.skip()?;
            scalars::quantity(&String::from_utf8_lossy(self.lex.since(start)))
        };
        Ok(read.map_err(|e| self.fail(e)).ok())
    }

    fn text(&mut self, read: fn(&str) -> Result<Value, String>) -> Result<Option<Value>, SyntaxError> {
        let text = self.lex.string()?;
        Ok(read(&text).map_err(|e| self.fail(e)).ok())
    }

    /// Any JSON value, kept as it is.
    fn any(&mut self) -> Result<Value, SyntaxError> {
        Ok(match self.lex.peek()? {
            Kind::Object => {
                self.lex.open()?;
                let mut out = Map::new();
                let mut first = true;
                while let Some(key) = self.lex.key(first)? {
                    first = false;
                    let value = self.any()?;
                    out.insert(key.into_owned(), value);
                }
                Value::Object(out)
            }
            Kind::Array => {
                self.lex.open()?;
                let mut out = Vec::new();
                while self.lex.element(out.is_empty())? {
                    out.push(self.any()?);
                }
                Value::Array(out)
            }
            Kind::String => self.lex.string()?.into(),
            Kind::Number => {
                let text = self.lex.number()?;
                match scalars::number(text) {
                    Some(v) => v,
                    None => {
                        self.save(format!(
                            "json: cannot unmarshal number {text} into Go value of type float64"
                        ));
                        Value::Null
                    }
                }
            }
            Kind::Bool => self.lex.literal()?.into(),
            Kind::Null => {
                self.lex.literal()?;
                Value::Null
            }
        })
    }

    fn save(&mut self, message: String) {
        self.saved.get_or_insert(message);
    }

    fn fail(&mut self, message: String) {
        self.fatal.get_or_insert(message);
    }

    fn mismatch(&mut self, word: &str, schema: Schema<'s>) -> Result<Option<Value>, SyntaxError> {
        let message = self.mismatch_message(word, schema);
        self.save(message);
        Ok(None)
    }

    fn mismatch_message(&self, word: &str, schema: Schema<'s>) -> String {
        let ty = go_type(schema);
        let mut owner = None;
        let mut path = String::new();
        for segment in &self.path {
            if let Segment::Field(def, field) = segment {
                owner = Some(def);
                if !path.is_empty() {
                    path.push('.');
                }
                if let Some(through) = &field.through {
                    path.push_str(through);
                    path.push('.');
                }
                path.push_str(&field.name);
            }
        }
        match owner {
            None => format!("json: cannot unmarshal {word} into Go value of type {ty}"),
            Some(def) => {
                let owner = def.name.rsplit('.').next().unwrap_or_default();
                format!("json: cannot unmarshal {word} into Go struct field {owner}.{path} of type {ty}")
            }
        }
    }

    fn problem(&mut self, what: &str, key: &str) {
        if !self.collect || self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Field(_, field) => join(&mut path, &field.name),
                Segment::Key(key) => join(&mut path, key),
                Segment::Index(i) => path.push_str(&format!("[{i}]")),
            }
        }
        join(&mut path, key);
        let text = format!("{what} field {}", go_quote(&path));
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }
}

fn join(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// The type as Go's messages name it.
fn go_type(schema: Schema<'_>) -> String {
    if let Some(name) = schema.node().extra.as_ref().and_then(|e| e.go_name.as_deref()) {
        return name.to_owned();
    }
    match schema.shape() {
        Shape::Any | Shape::AnyObject => "interface {}".into(),
        Shape::Bool => "bool".into(),
        Shape::Int(Int::I32) | Shape::IntOrString => "int32".into(),
        Shape::Int(Int::I64) => "int64".into(),
        Shape::Int(Int::U8) => "uint8".into(),
        Shape::Int(Int::U16) => "uint16".into(),
        Shape::Int(Int::U32) => "uint32".into(),
        Shape::Int(Int::U64) => "uint64".into(),
        Shape::Number => "float64".into(),
        Shape::Bytes => "[]uint8".into(),
        Shape::String | Shape::Quantity | Shape::Time | Shape::MicroTime | Shape::Duration => "string".into(),
        Shape::Struct(id) => {
            let name = &schema.arena().get_struct(id).name;
            let mut parts = name.rsplit('.');
            let last = parts.next().unwrap_or_default();
            format!("{}.{last}", parts.next().unwrap_or_default())
        }
        Shape::List(_) => format!("[]{}", schema.items().map(go_type).unwrap_or_default()),
        Shape::Map(_) => format!("map[string]{}", schema.values().map(go_type).unwrap_or_default()),
        Shape::SchemaOrBool(_) => "v1.JSONSchemaPropsOrBool".into(),
        Shape::SchemaOrArray(_) => "v1.JSONSchemaPropsOrArray".into(),
        Shape::SchemaOrStrings(_) => "v1.JSONSchemaPropsOrStringArray".into(),
    }
}

/// Whether Go's encoder leaves this value of the field out. Null is absence; it is filled in again where Go
/// writes it.
pub(crate) fn dropped(field: &Field, shape: Shape, value: &Value) -> bool {
    if value.is_null() {
        return true;
    }
    if field.pointer || field.omit != Omit::Empty {
        return false;
    }
    match (shape, value) {
        (Shape::Bool, Value::Bool(b)) => !b,
        (Shape::Int(_) | Shape::Number, Value::Number(n)) => n.as_f64() == Some(0.0),
        (Shape::String | Shape::Bytes, Value::String(s)) => s.is_empty(),
        (Shape::List(_), Value::Array(a)) => a.is_empty(),
        (Shape::Map(_), Value::Object(o)) => o.is_empty(),
        _ => false,
    }
}

/// Adds the fields Go writes whether they are set or not.
pub(crate) fn fill(def: &Struct, schema: Schema<'_>, out: &mut Map<String, Value>) {
    for index in &def.filled {
        let field = &def.fields[*index as usize];
        if !out.contains_key(&*field.name) {
            let node = schema.arena().at(field.node);
            let value = if field.pointer { Value::Null } else { zero(node) };
            out.insert(field.name.clone().into_owned(), value);
        }
    }
}

/// The zero value of a type as Go writes it.
pub(crate) fn zero(schema: Schema<'_>) -> Value {
    match schema.shape() {
        Shape::Bool => false.into(),
        Shape::Int(_) | Shape::Number | Shape::IntOrString => 0.into(),
        Shape::String => "".into(),
        Shape::Quantity => "0".into(),
        Shape::Duration => "0s".into(),
        Shape::Struct(id) => {
            let mut out = Map::new();
            fill(schema.arena().get_struct(id), schema, &mut out);
            Value::Object(out)
        }
        _ => Value::Null,
    }
}

/// The zero value as an element of a list or map, where bytes of nothing are an empty text.
fn zero_entry(schema: Schema<'_>) -> Value {
    if schema.shape() == Shape::Bytes { "".into() } else { zero(schema) }
}
