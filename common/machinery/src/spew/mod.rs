//! Objects as Go's `spew` prints them for hashing: the text behind `pod-template-hash`.
//!
//! `types.txt` says of each Go type what it is: a struct's fields in order (Go's name, JSON's name or `-` where
//! embedded, type), or after `=` what a named type is made of. Absent and empty lists and maps are the same, as
//! after a trip through protobuf.

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

struct Field {
    name: &'static str,
    /// `None`: embedded, its fields are among the outer ones.
    json: Option<&'static str>,
    of: &'static str,
}

enum Type {
    Struct(Vec<Field>),
    Named(&'static str),
}

static TYPES: LazyLock<HashMap<&'static str, Type>> = LazyLock::new(|| {
    let mut types = HashMap::new();
    let mut last = "";
    for line in include_str!("types.txt").lines() {
        if let Some((name, of)) = line.split_once(" = ") {
            types.insert(name, Type::Named(of));
        } else if let Some(field) = line.strip_prefix("  ") {
            let mut words = field.splitn(3, ' ');
            let mut word = || words.next().unwrap_or("");
            let (name, json, of) = (word(), word(), word());
            if let Some(Type::Struct(fields)) = types.get_mut(last) {
                fields.push(Field { name, json: (json != "-").then_some(json), of });
            }
        } else {
            last = line;
            types.insert(line, Type::Struct(Vec::new()));
        }
    }
    types
});

/// The text of an object of a Go type (`v1.PodTemplateSpec`); `None` where it holds something whose form in Go's
/// memory is not known here.
pub fn print(of: &str, value: &impl Serialize) -> Option<String> {
    let value = serde_json::to_value(value).ok()?;
    let mut out = String::with_capacity(4096);
    write(&mut out, of, Some(&value), true)?;
    Some(out)
}

/// `shown`: with the type in front.
fn write(out: &mut String, of: &str, value: Option<&Value>, shown: bool) -> Option<()> {
    let value = value.filter(|v| !v.is_null());
    if shown {
        out.extend(["(", of, ")"]);
    }
    if let Some(pointee) = of.strip_prefix('*') {
        return match value {
            None => {
                out.push_str("<nil>");
                Some(())
            }
            // Lists hold no pointers, so that the type has always been shown.
            Some(_) => write(out, pointee, value, false),
        };
    }
    if let Some(item) = of.strip_prefix("[]") {
        return list(out, item, value);
    }
    if let Some((_, item)) = of.strip_prefix("map[").and_then(|m| m.split_once(']')) {
        return map(out, item, value);
    }
    match (of, value) {
        ("string", _) => out.push_str(value.map_or(Some(""), Value::as_str)?),
        ("bool", _) => {
            out.push_str(if value.map_or(Some(false), Value::as_bool)? { "true" } else { "false" })
        }
        ("int32" | "int64", _) => out.push_str(&value.map_or(Some(0), Value::as_i64)?.to_string()),
        ("resource.Quantity", Some(value)) => quantity(out, value.as_str()?)?,
        ("intstr.IntOrString", _) => int_or_string(out, value)?,
        ("v1.Time", None) => {
            out.push_str("{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}");
        }
        _ => match TYPES.get(of)? {
            Type::Named(plain) => write(out, plain, value, false)?,
            Type::Struct(fields) => structure(out, fields, value)?,
        },
    }
    Some(())
}

fn structure(out: &mut String, fields: &[Field], value: Option<&Value>) -> Option<()> {
    let none = Map::new();
    let map = value.map_or(Some(&none), Value::as_object)?;
    out.push('{');
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        out.extend([field.name, ":"]);
        let inner = field.json.map_or(value, |json| map.get(json));
        write(out, field.of, inner, true)?;
    }
    out.push('}');
    Some(())
}

fn list(out: &mut String, item: &str, value: Option<&Value>) -> Option<()> {
    let items = value.map_or(Some(&[][..]), |v| v.as_array().map(Vec::as_slice))?;
    if items.is_empty() {
        out.push_str("<nil>");
        return Some(());
    }
    out.push('[');
    for (i, value) in items.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        write(out, item, Some(value), false)?;
    }
    out.push(']');
    Some(())
}

fn map(out: &mut String, item: &str, value: Option<&Value>) -> Option<()> {
    let none = Map::new();
    let map = value.map_or(Some(&none), Value::as_object)?;
    if map.is_empty() {
        out.push_str("<nil>");
        return Some(());
    }
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    out.push_str("map[");
    for (i, (key, value)) in entries.into_iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        out.extend([key, ":"]);
        write(out, item, Some(value), false)?;
    }
    out.push(']');
    Some(())
}

fn int_or_string(out: &mut String, value: Option<&Value>) -> Option<()> {
    let (kind, number, text) = match value {
        None => (0, 0, ""),
        Some(Value::String(text)) => (1, 0, text.as_str()),
        Some(number) => (0, number.as_i64()?, ""),
    };
    out.push_str(&format!("{{Type:(intstr.Type){kind} IntVal:(int32){number} StrVal:(string){text}}}"));
    Some(())
}

/// Powers of ten.
const DECIMAL: [(&str, i32); 10] =
    [("", 0), ("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
/// Powers of two.
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// A canonical quantity as Go parses it. Those it needs big numbers for are not known here.
fn quantity(out: &mut String, text: &str) -> Option<()> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    if number.is_empty() || number.len() > 1 && number.starts_with('0') {
        return None;
    }
    let length = i32::try_from(number.len()).ok()?;
    let value: i64 = number.parse().ok()?;
    let (value, scale, kept, format) = if text == "0" {
        (0, 0, true, "DecimalSI")
    } else if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        let kept = !number.ends_with("000") && value != 0;
        (value, *exponent, kept, "DecimalSI")
    } else {
        let (_, power) = BINARY.iter().find(|(s, _)| *s == suffix)?;
        // So many decimal digits fit beside the suffix.
        if 15 - length - i32::try_from(power * 3 / 10).ok()? - 1 < 0 {
            return None;
        }
        (value.checked_mul(1 << power)?, 0, value & 7 != 0, "BinarySI")
    };
    if length > 18 {
        return None;
    }
    let text = if kept { text } else { "" };
    out.push_str(&format!(
        "{{i:(resource.int64Amount){{value:(int64){value} scale:(resource.Scale){scale}}} \
         d:(resource.infDecAmount){{Dec:(*inf.Dec)<nil>}} s:(string){text} Format:(resource.Format){format}}}"
    ));
    Some(())
}
