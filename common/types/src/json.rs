//! JSON as Go writes it: what HTML gives a meaning is escaped.
//!
//! Upstream's controllers compare and hash some of what they read byte by byte (the `data` of a
//! ControllerRevision), so that these bytes have to be theirs.

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// Compact, with `<`, `>`, `&`, U+2028 and U+2029 as `\u003c` and the like.
struct Go;

/// U+2028 and U+2029 begin with it.
const SEPARATOR: u8 = 0xe2;

impl Formatter for Go {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if !fragment.bytes().any(|b| matches!(b, b'<' | b'>' | b'&' | SEPARATOR)) {
            return out.write_all(fragment.as_bytes());
        }
        let mut from = 0;
        for (at, letter) in fragment.char_indices() {
            if matches!(letter, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
                out.write_all(&fragment.as_bytes()[from..at])?;
                write!(out, "\\u{:04x}", u32::from(letter))?;
                from = at + letter.len_utf8();
            }
        }
        out.write_all(&fragment.as_bytes()[from..])
    }
}

/// # Errors
/// Where the value has no JSON form.
pub fn to_vec<T: ?Sized + Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(128);
    to_writer(&mut out, value)?;
    Ok(out)
}

/// # Errors
/// Where the value has no JSON form, or the writer fails.
pub fn to_writer<T: ?Sized + Serialize>(out: impl Write, value: &T) -> Result<(), serde_json::Error> {
    value.serialize(&mut Serializer::with_formatter(out, Go))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(String::from_utf8(to_vec(text).unwrap()).unwrap(), expected, "{text}");
        let back: String = serde_json::from_slice(&to_vec(text).unwrap()).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        check("plain", r#""plain""#);
        check("a<b>&c", r#""a\u003cb\u003e\u0026c""#);
        check("<", r#""\u003c""#);
        check("x\u{2028}y\u{2029}", r#""x\u2028y\u2029""#);
        check("€ … é \"\\\n\t\u{1}", "\"€ … é \\\"\\\\\\n\\t\\u0001\"");
    }

    #[test]
    fn keys_are_escaped_too() {
        let map = std::collections::BTreeMap::from([("a&b", vec!["<", "x"])]);
        assert_eq!(to_vec(&map).unwrap(), br#"{"a\u0026b":["\u003c","x"]}"#);
    }
}
