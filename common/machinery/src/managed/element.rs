//! One step of a path into an object, ordered and printed as upstream orders and prints it.

use gantry_types::field::go_quote;
use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The key fields of an item of a keyed list, sorted by name.
pub type Keys<'a> = Arc<[(&'a str, Cow<'a, Value>)]>;

/// A step: into a field of an object, an item of a keyed list, a member of a set, an item by position.
/// Borrows from the objects it was made from.
#[derive(Clone, Debug)]
pub enum Element<'a> {
    Field(&'a str),
    Key(Keys<'a>),
    Value(Cow<'a, Value>),
    Index(i64),
}

fn rank(e: &Element<'_>) -> u8 {
    match e {
        Element::Field(_) => 0,
        Element::Key(_) => 1,
        Element::Value(_) => 2,
        Element::Index(_) => 3,
    }
}

impl Ord for Element<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => {
                for ((an, av), (bn, bv)) in a.iter().zip(b.iter()) {
                    let by = an.cmp(bn).then_with(|| compare_values(av, bv));
                    if by != Ordering::Equal {
                        return by;
                    }
                }
                a.len().cmp(&b.len())
            }
            (Self::Value(a), Self::Value(b)) => compare_values(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl PartialOrd for Element<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Element<'_> {}

/// A total order on JSON values: numbers, strings, booleans, lists, maps, null. Whole and broken numbers
/// compare by amount.
pub fn compare_values(a: &Value, b: &Value) -> Ordering {
    let rank = |v: &Value| match v {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            // JSON numbers are never NaN.
            _ => x.as_f64().partial_cmp(&y.as_f64()).unwrap_or(Ordering::Equal),
        },
        (Value::String(x), Value::String(y)) => x.cmp(y),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
        (Value::Array(x), Value::Array(y)) => x
            .iter()
            .zip(y)
            .map(|(x, y)| compare_values(x, y))
            .find(|o| *o != Ordering::Equal)
            .unwrap_or_else(|| x.len().cmp(&y.len())),
        (Value::Object(x), Value::Object(y)) => x
            .iter()
            .zip(y)
            .map(|((xk, xv), (yk, yv))| xk.cmp(yk).then_with(|| compare_values(xv, yv)))
            .find(|o| *o != Ordering::Equal)
            .unwrap_or_else(|| x.len().cmp(&y.len())),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Whether two values are the same; numbers by amount, so that `1` and `1.0` are one value.
pub fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => compare_values(a, b) == Ordering::Equal,
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same_value(x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|((xk, xv), (yk, yv))| xk == yk && same_value(xv, yv))
        }
        _ => a == b,
    }
}

/// A value as it appears in printed paths.
fn print_value(v: &Value) -> String {
    match v {
        Value::String(s) => go_quote(s),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(print_value).collect::<Vec<_>>().join(","))
        }
        Value::Object(map) => map.iter().map(|(k, v)| format!("{k}={}", print_value(v))).collect(),
        other => other.to_string(),
    }
}

impl fmt::Display for Element<'_> {
    /// `.name`, `[name="a",port=80]`, `[="a"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                f.write_str("[")?;
                for (i, (name, value)) in keys.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{name}={}", print_value(value))?;
                }
                f.write_str("]")
            }
            Self::Value(v) => write!(f, "[={}]", print_value(v)),
            Self::Index(i) => write!(f, "[{i}]"),
        }
    }
}

impl<'a> Element<'a> {
    /// The form a key of `fieldsV1` has: `f:name`, `k:{"name":"a"}`, `v:"a"`, `i:0`.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Field(name) => {
                out.push_str("f:");
                out.push_str(name);
            }
            Self::Key(keys) => {
                out.push_str("k:{");
                for (i, (name, value)) in keys.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(name, out);
                    out.push(':');
                    write_value(value, out);
                }
                out.push('}');
            }
            Self::Value(v) => {
                out.push_str("v:");
                write_value(v, out);
            }
            Self::Index(i) => {
                out.push_str("i:");
                out.push_str(&i.to_string());
            }
        }
    }

    /// Reads that form. `Ok(None)` for kinds of steps this version does not know, which are skipped.
    ///
    /// # Errors
    /// Says what is wrong with the key.
    pub fn parse(key: &'a str) -> Result<Option<Self>, String> {
        let bytes = key.as_bytes();
        if bytes.len() < 2 {
            return Err("key must be 2 characters long:".to_owned());
        }
        if bytes[1] != b':' {
            return Err(format!("missing colon: {key}"));
        }
        let rest = &key[2..];
        Ok(Some(match bytes[0] {
            b'f' => Self::Field(rest),
            b'v' => Self::Value(Cow::Owned(serde_json::from_str(rest).map_err(|e| e.to_string())?)),
            b'k' => {
                let fields: KeyFields<'a> = serde_json::from_str(rest).map_err(|e| e.to_string())?;
                let mut fields = fields.0;
                fields.sort_by(|a, b| a.0.cmp(b.0));
                Self::Key(fields.into())
            }
            b'i' => Self::Index(rest.parse().map_err(|_| format!("bad index: {key}"))?),
            _ => return Ok(None),
        }))
    }
}

/// The object in a `k:` step. Field names borrow; the API has none that JSON would have to escape.
struct KeyFields<'a>(Vec<(&'a str, Cow<'a, Value>)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for KeyFields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = KeyFields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut out = Vec::with_capacity(2);
                while let Some((k, v)) = map.next_entry::<&'de str, Value>()? {
                    out.push((k, Cow::Owned(v)));
                }
                Ok(KeyFields(out))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A JSON string with the characters Go's encoder escapes escaped.
pub(super) fn write_string(s: &str, out: &mut String) {
    let plain = |b: u8| b >= 0x20 && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&' | 0x7f..);
    if s.bytes().all(plain) {
        out.push('"');
        out.push_str(s);
        out.push('"');
        return;
    }
    let json = Value::String(s.to_owned()).to_string();
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
}

fn write_value(v: &Value, out: &mut String) {
    match v {
        Value::String(s) => write_string(s, out),
        other => out.push_str(&other.to_string()),
    }
}
