//! YAML bodies as JSON, resolved as YAML 1.1 the way upstream's parser does (`yes` is true, `012` is ten).

use granit_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};
use std::collections::HashMap;

/// A text that is not YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("yaml: {0}")]
pub struct YamlError(String);

/// The first document as JSON, and `line 5: key "name" already set in map` for every repeated key.
///
/// # Errors
/// Where the text is not YAML, or has keys that cannot be JSON keys.
pub fn to_json(text: &[u8]) -> Result<(Vec<u8>, Vec<String>), YamlError> {
    let text = std::str::from_utf8(text).map_err(|_| YamlError("invalid leading UTF-8 octet".into()))?;
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), repeats: Vec::new(), nodes: 0 };
    let value = reader.document()?;
    // A tree of JSON values always serializes.
    Ok((serde_json::to_vec(&value).unwrap_or_default(), reader.repeats))
}

/// What our parser says and upstream's says instead; `true` where upstream counts lines from the one before.
const WORDS: &[(&str, &str, bool)] = &[
    ("tabs disallowed", "found character that cannot start any token", false),
    ("unexpected character", "found character that cannot start any token", false),
    ("did not find expected key", "did not find expected key", true),
    ("unclosed bracket '['", "did not find expected ',' or ']'", false),
    ("unclosed bracket '{'", "did not find expected ',' or '}'", false),
    ("unclosed quote", "found unexpected end of stream", false),
    ("found unknown anchor", "unknown anchor referenced", false),
];

/// An error as upstream's parser words it, where it has other words; it names no first line.
fn upstream_words(line: usize, info: &str) -> YamlError {
    let found = WORDS.iter().find(|(ours, _, _)| info.contains(ours));
    let (words, line) = match found {
        Some((_, words, true)) => (*words, line.saturating_sub(1)),
        Some((_, words, false)) => (*words, line),
        None => (info, line),
    };
    YamlError(if line > 1 { format!("line {line}: {words}") } else { words.to_owned() })
}

/// Aliases may not blow a small text up into more nodes than this.
const MAX_NODES: usize = 1_000_000;

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    /// Anchored nodes, each with its size.
    anchors: HashMap<usize, (Value, usize)>,
    repeats: Vec<String>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        loop {
            match self.parser.next() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(e)) => return Err(upstream_words(e.marker().line(), &e.info())),
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    fn document(&mut self) -> Result<Value, YamlError> {
        loop {
            match self.next()? {
                (Event::StreamStart, _) => {}
                (Event::DocumentStart(..), _) => {
                    let event = self.next()?;
                    return self.node(event, 0);
                }
                _ => return Ok(Value::Null),
            }
        }
    }

    fn node(&mut self, (event, span): (Event<'a>, Span), depth: usize) -> Result<Value, YamlError> {
        self.nodes += 1;
        if depth > super::lex::MAX_DEPTH {
            return Err(YamlError("exceeded max depth".into()));
        }
        let before = self.nodes;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_ref().filter(|t| t.is_yaml_core_schema()).map(|t| t.suffix().to_owned());
                let plain = style == ScalarStyle::Plain && tag.as_deref() != Some("str");
                (if plain { resolve(&text) } else { text.into_owned().into() }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut out = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (Event::StreamEnd, _) => return Err(YamlError("unexpected end of stream".into())),
                        event => out.push(self.node(event, depth + 1)?),
                    }
                }
                (Value::Array(out), anchor)
            }
            Event::MappingStart(_, anchor, _) => (self.mapping(depth)?, anchor),
            Event::Alias(id) => {
                let (value, size) =
                    self.anchors.get(&id).cloned().ok_or_else(|| YamlError("unknown anchor".into()))?;
                self.nodes += size;
                if self.nodes > MAX_NODES {
                    return Err(YamlError("document contains excessive aliasing".into()));
                }
                (value, 0)
            }
            _ => {
                return Err(YamlError(format!(
                    "line {}: did not find expected node content",
                    span.start.line()
                )));
            }
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), self.nodes - before + 1));
        }
        Ok(value)
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut out = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let is_merge = matches!(&event, Event::Scalar(t, ScalarStyle::Plain, _, _) if t == "<<");
            match event {
                Event::MappingEnd => break,
                Event::StreamEnd => return Err(YamlError("unexpected end of stream".into())),
                _ => {}
            }
            let line = span.start.line();
            let key = self.node((event, span), depth + 1)?;
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            if is_merge {
                merged.push(value);
                continue;
            }
            let key = key_text(key)?;
            if out.contains_key(&key) {
                self.repeats.push(format!("line {line}: key {key:?} already set in map"));
            }
            out.insert(key, value);
        }
        for value in merged {
            let maps = match value {
                Value::Array(maps) => maps,
                one => vec![one],
            };
            for map in maps {
                let Value::Object(map) = map else {
                    return Err(YamlError("map merge requires map or sequence of maps as the value".into()));
                };
                for (k, v) in map {
                    out.entry(k).or_insert(v);
                }
            }
        }
        Ok(Value::Object(out))
    }
}

/// Keys become text; only scalars can.
fn key_text(key: Value) -> Result<String, YamlError> {
    match key {
        Value::String(s) => Ok(s),
        Value::Null => Ok("null".into()),
        Value::Bool(_) | Value::Number(_) => Ok(key.to_string()),
        _ => Err(YamlError("unsupported map key".into())),
    }
}

/// A plain scalar's value.
fn resolve(text: &str) -> Value {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return true.into();
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return false.into();
        }
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        _ => {}
    }
    let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if !number {
        return text.into();
    }
    let plain = text.replace('_', "");
    if let Some(v) = integer(&plain) {
        return v;
    }
    let float = plain.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.' | b'e' | b'E'));
    match plain.parse::<f64>() {
        Ok(f) if float => go_float(f).unwrap_or_else(|| text.into()),
        _ => text.into(),
    }
}

/// An integer in any of Go's notations.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(d) = lower.strip_prefix("0x") {
        (16, d)
    } else if let Some(d) = lower.strip_prefix("0b") {
        (2, d)
    } else if let Some(d) = lower.strip_prefix("0o") {
        (8, d)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -magnitude } else { magnitude };
    i64::try_from(value).map(Value::from).or_else(|_| u64::try_from(value).map(Value::from)).ok()
}

/// A float as Go's JSON encoder prints it: whole numbers have no fraction.
fn go_float(f: f64) -> Option<Value> {
    if f.fract() == 0.0 && f.abs() < 1e15 {
        // Below 2^53 the cast is exact.
        return Some((f as i64).into());
    }
    Number::from_f64(f).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_resolves_as_upstream() {
        let check = |yaml: &str, json: &str| {
            let (got, _) = to_json(yaml.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(got).unwrap(), json, "{yaml}");
        };
        check(
            "a: yes\nb: 012\nc: 1e3\nd: ~\ne: 2020-01-01\nf: 0x10\n",
            r#"{"a":true,"b":10,"c":1000,"d":null,"e":"2020-01-01","f":16}"#,
        );
        check(
            "a: 'yes'\nb: \"1\"\nc: 1.5\nd: 1.0\ne: .5\nf: 1.2.3\n",
            r#"{"a":"yes","b":"1","c":1.5,"d":1,"e":0.5,"f":"1.2.3"}"#,
        );
        check("1: a\ntrue: b\n", r#"{"1":"a","true":"b"}"#);
        check(
            "a: &x {k: 1}\nb: *x\nc:\n  <<: *x\n  l: 2\n",
            r#"{"a":{"k":1},"b":{"k":1},"c":{"k":1,"l":2}}"#,
        );
        check("a: |\n  x\n  y\nb: >-\n  x\n  y\n", r#"{"a":"x\ny\n","b":"x y"}"#);
        check("---\na: 1\n---\nb: 2\n", r#"{"a":1}"#);
        check("", "null");
        check("# first\na: 1 # then\n# within\nb:\n  # deep\n  - x # y\n# last\n", r#"{"a":1,"b":["x"]}"#);
        let (_, repeats) = to_json(b"a: 1\nb:\n  c: 1\n  c: 2\n").unwrap();
        assert_eq!(repeats, ["line 4: key \"c\" already set in map"]);
        assert!(to_json(b"kind: x\n  b: [\n").is_err());
    }
}
