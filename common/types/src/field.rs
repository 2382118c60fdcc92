//! Field paths and field errors, printed word for word as upstream's `field` package prints them.

use serde::Serialize;
use std::fmt;

/// Where in an object an error sits: `spec.containers[0].image`, `metadata.labels`, `data[key]`.
/// Immutable and cheap to extend; the root prints as `<nil>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub fn root() -> Self {
        Self(String::new())
    }

    /// A field below this one: `.name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An element of this list: `[index]`.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of this map: `[key]`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What is wrong with a field. The reason is the `type` of a cause in a `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TooFew,
    TooShort,
    Internal,
    TypeInvalid,
}

impl ErrorType {
    /// The machine-readable reason (`FieldValueInvalid`, …).
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::TooShort => "FieldValueTooShort",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    /// The words a message starts with.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::TooShort => "Too short",
            Self::Internal => "Internal error",
        }
    }
}

/// One field error. `value` is the rendered bad value (quoted when a string, JSON otherwise), absent where
/// the type prints none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorType,
    pub field: String,
    pub value: Option<String>,
    pub detail: String,
}

/// The errors found in one object, in the order found.
pub type ErrorList = Vec<Error>;

/// Renders a bad value as upstream does: strings in Go quotes, numbers and booleans plain, the rest as JSON.
fn render<V: Serialize + ?Sized>(value: &V) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(s)) => go_quote(&s),
        Ok(other) => go_json(&other),
        Err(_) => String::new(),
    }
}

/// Compact JSON with the characters Go's encoder escapes (`<`, `>`, `&`) escaped.
fn go_json(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Quotes a string as Go's `%q` does.
pub fn go_quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{07}' => out.push_str("\\a"),
            '\u{08}' => out.push_str("\\b"),
            '\u{0c}' => out.push_str("\\f"),
            '\u{0b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Error {
    fn new(kind: ErrorType, path: &Path, value: Option<String>, detail: impl Into<String>) -> Self {
        Self { kind, field: path.to_string(), value, detail: detail.into() }
    }

    pub fn not_found<V: Serialize + ?Sized>(path: &Path, value: &V) -> Self {
        Self::new(ErrorType::NotFound, path, Some(render(value)), "")
    }

    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Required, path, None, detail)
    }

    pub fn duplicate<V: Serialize + ?Sized>(path: &Path, value: &V) -> Self {
        Self::new(ErrorType::Duplicate, path, Some(render(value)), "")
    }

    pub fn invalid<V: Serialize + ?Sized>(path: &Path, value: &V, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, Some(render(value)), detail)
    }

    pub fn type_invalid<V: Serialize + ?Sized>(path: &Path, value: &V, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::TypeInvalid, path, Some(render(value)), detail)
    }

    /// `supported` is printed in the order given; upstream sorts where its source is a set.
    pub fn not_supported<V: Serialize + ?Sized>(path: &Path, value: &V, supported: &[&str]) -> Self {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = supported.iter().map(|s| go_quote(s)).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(ErrorType::NotSupported, path, Some(render(value)), detail)
    }

    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, path, None, detail)
    }

    /// `max` in bytes.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(ErrorType::TooLong, path, None, format!("may not be more than {max} {unit}"))
    }

    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(
            ErrorType::TooMany,
            path,
            Some(actual.to_string()),
            format!("must have at most {max} {unit}"),
        )
    }

    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Internal, path, None, detail)
    }

    /// The message without the field, as in a cause of a `Status`.
    pub fn body(&self) -> String {
        let mut s = self.kind.words().to_owned();
        if let Some(value) = &self.value {
            s.push_str(": ");
            s.push_str(value);
        }
        if !self.detail.is_empty() {
            s.push_str(": ");
            s.push_str(&self.detail);
        }
        s
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Joins errors as upstream's aggregate does: one bare, several in brackets, repeats dropped.
pub fn aggregate(errors: &[Error]) -> String {
    let mut seen: Vec<String> = Vec::with_capacity(errors.len());
    for e in errors {
        let text = e.to_string();
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    if seen.len() == 1 { seen.swap_remove(0) } else { format!("[{}]", seen.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_print_in_upstream_words() {
        let p = Path::new("spec").child("containers").index(0).child("image");
        let check = |e: Error, want: &str| assert_eq!(e.to_string(), want);
        check(Error::required(&p, ""), "spec.containers[0].image: Required value");
        check(Error::invalid(&p, "a\"b", "no"), r#"spec.containers[0].image: Invalid value: "a\"b": no"#);
        check(Error::invalid(&p, &-1, "too small"), "spec.containers[0].image: Invalid value: -1: too small");
        check(
            Error::not_supported(&p, "x", &["A", "B"]),
            r#"spec.containers[0].image: Unsupported value: "x": supported values: "A", "B""#,
        );
        check(
            Error::too_long(&Path::new("metadata").child("name"), 253),
            "metadata.name: Too long: may not be more than 253 bytes",
        );
        assert_eq!(
            aggregate(&[Error::required(&p, ""), Error::required(&p, "")]),
            "spec.containers[0].image: Required value"
        );
    }
}
