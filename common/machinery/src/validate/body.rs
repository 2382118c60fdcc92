//! A request body to a document, with upstream's refusals.

use super::decode::{self, DecodeError, Decoded};
use super::lex::{Kind, Lexer};
use super::yaml;
use crate::schema::{Schema, Schemas};
use gantry_types::{Document, GroupVersion, GroupVersionKind, Status, StatusResult};
use serde_json::Value;

/// `fieldValidation`: what becomes of unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Dropped silently.
    Ignore,
    /// Dropped, with a `Warning` header each.
    #[default]
    Warn,
    /// Refused with 400.
    Strict,
}

impl FieldValidation {
    /// The query parameter; absent and empty mean [`FieldValidation::Warn`], `None` is for anything unknown.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Json,
    Yaml,
    /// Kubernetes' own envelope around protobuf.
    Protobuf,
}

impl Media {
    /// By the `Content-Type`, parameters ignored; `None` for a type the API does not speak.
    pub fn parse(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" => Some(Self::Json),
            "application/yaml" => Some(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }
}

/// A decoded body.
#[derive(Debug)]
pub struct Body {
    /// Carries its apiVersion and kind, whether the client sent them or not.
    pub document: Document,
    /// Texts for `Warning` headers (`unknown field "spec.foo"`).
    pub warnings: Vec<String>,
}

/// Decodes a body that must be of the `expected` kind. A body without kind or version is taken for it.
///
/// # Errors
/// 400 in upstream's words: not the format, not this kind, not this version, ill-typed, or not strict.
pub fn decode_body(
    schemas: &Schemas,
    bytes: &[u8],
    media: Media,
    expected: &GroupVersionKind,
    validation: FieldValidation,
) -> StatusResult<Body> {
    let schema =
        schemas.gvk(expected).ok_or_else(|| Status::internal(format!("no schema for {expected}")))?;
    let read = Reading { schemas, expected, original: bytes, validation };
    match media {
        Media::Json => read.json(schema, bytes, Vec::new()),
        Media::Yaml => match yaml::to_json(bytes) {
            Ok((json, repeats)) => read.json(schema, &json, repeats),
            Err(e) => Err(read.unrecognized(&e.to_string())),
        },
        Media::Protobuf => read.protobuf(),
    }
}

struct Reading<'a> {
    schemas: &'a Schemas,
    expected: &'a GroupVersionKind,
    original: &'a [u8],
    validation: FieldValidation,
}

impl Reading<'_> {
    fn json(&self, schema: Schema<'_>, bytes: &[u8], repeats: Vec<String>) -> StatusResult<Body> {
        let collect = self.validation != FieldValidation::Ignore;
        match decode::json(schema, bytes, collect) {
            Ok(decoded) => {
                let text = |key| decoded.value.get(key).and_then(Value::as_str).unwrap_or_default();
                let (api_version, kind) = (text("apiVersion").to_owned(), text("kind").to_owned());
                self.check_type(&api_version, &kind, None)?;
                self.finish(decoded, repeats)
            }
            Err(DecodeError::Syntax(e)) => Err(self.no_type(&e.to_string())),
            Err(DecodeError::Type(message)) => {
                let (api_version, kind) = peek_type(bytes).map_err(|e| self.no_type(&e))?;
                let actual = self.check_type(&api_version, &kind, Some(&message))?;
                Err(self.unfit(&actual, &message))
            }
        }
    }

    fn protobuf(&self) -> StatusResult<Body> {
        let decoded = crate::protobuf::decode_envelope(self.schemas, self.original, Some(self.expected));
        let document = decoded.map_err(|e| self.unrecognized(&e.to_string()))?;
        self.check_type(document.api_version(), document.kind(), None)?;
        Ok(Body { document, warnings: Vec::new() })
    }

    /// The kind the body says it is, defaulted; an error where it cannot be handled as the expected one.
    /// `why` is what else is wrong, which upstream finds out before it compares versions.
    fn check_type(&self, api_version: &str, kind: &str, why: Option<&str>) -> StatusResult<GroupVersionKind> {
        let mut actual = self.expected.clone();
        if !kind.is_empty() {
            actual.kind = kind.to_owned().into();
        }
        if !api_version.is_empty() {
            let Some(gv) = GroupVersion::parse(api_version) else {
                return Err(self.unrecognized(&format!("unexpected GroupVersion string: {api_version}")));
            };
            (actual.group, actual.version) = (gv.group, gv.version);
        }
        if actual == *self.expected || (kind.ends_with("Options") && actual.kind == self.expected.kind) {
            return Ok(actual);
        }
        if self.schemas.gvk(&actual).is_none() {
            let gv = actual.group_version();
            let message = format!(
                "no kind \"{}\" is registered for version \"{gv}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
                actual.kind
            );
            return Err(self.unfit(&actual, &message));
        }
        if actual.kind != self.expected.kind {
            let internal = self.expected.group.split('.').next().filter(|g| !g.is_empty()).unwrap_or("core");
            let message = format!(
                "converting ({}.{}) to ({internal}.{}): unknown conversion",
                actual.version, actual.kind, self.expected.kind
            );
            return Err(self.unfit(&actual, &message));
        }
        if let Some(why) = why {
            return Err(self.unfit(&actual, why));
        }
        Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            actual.group_version(),
            self.expected.group_version()
        )))
    }

    fn finish(&self, decoded: Decoded, repeats: Vec<String>) -> StatusResult<Body> {
        let Value::Object(map) = decoded.value else {
            return Err(self.unrecognized("json: cannot unmarshal into Go value"));
        };
        let mut document = Document::new(map);
        document.set_type(&self.expected.group_version().to_string(), &self.expected.kind);
        match self.validation {
            FieldValidation::Ignore => Ok(Body { document, warnings: Vec::new() }),
            FieldValidation::Warn => {
                let warnings = repeats.into_iter().chain(decoded.problems).collect();
                Ok(Body { document, warnings })
            }
            FieldValidation::Strict => {
                let mut all = Vec::new();
                if !repeats.is_empty() {
                    all.push(format!("yaml: unmarshal errors:\n  {}", repeats.join("\n  ")));
                }
                all.extend(decoded.problems);
                if all.is_empty() {
                    return Ok(Body { document, warnings: Vec::new() });
                }
                Err(self.unfit(self.expected, &format!("strict decoding error: {}", all.join(", "))))
            }
        }
    }

    fn unfit(&self, actual: &GroupVersionKind, why: &str) -> Status {
        Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            actual.kind,
            actual.version.as_ref(),
            self.expected.kind
        ))
    }

    fn no_type(&self, why: &str) -> Status {
        self.unrecognized(&format!("couldn't get version/kind; json parse error: {why}"))
    }

    fn unrecognized(&self, why: &str) -> Status {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            self.expected.kind,
            summary(self.original)
        ))
    }
}

/// The beginning of a body: as text where it looks like JSON, in hexadecimal otherwise.
fn summary(bytes: &[u8]) -> String {
    const MAX: usize = 30;
    let head = &bytes[..bytes.len().min(MAX)];
    let rest = if bytes.len() > MAX { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{rest}", String::from_utf8_lossy(head)),
        Some(_) => format!("{}{rest}", head.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

/// The apiVersion and kind of a body, without decoding the rest.
fn peek_type(bytes: &[u8]) -> Result<(String, String), String> {
    let mut lex = Lexer::new(bytes);
    let kind = lex.peek().map_err(|e| e.to_string())?;
    let (mut api_version, mut name) = (String::new(), String::new());
    if kind == Kind::Null {
        return Ok((api_version, name));
    }
    if kind != Kind::Object {
        return Err(format!(
            "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \
             \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            kind.word()
        ));
    }
    lex.open().map_err(|e| e.to_string())?;
    let mut first = true;
    while let Some(key) = lex.key(first).map_err(|e| e.to_string())? {
        first = false;
        let target = match &*key {
            "apiVersion" => &mut api_version,
            "kind" => &mut name,
            _ => {
                lex.skip().map_err(|e| e.to_string())?;
                continue;
            }
        };
        match lex.peek().map_err(|e| e.to_string())? {
            Kind::String => *target = lex.string().map_err(|e| e.to_string())?.into_owned(),
            Kind::Null => lex.skip().map_err(|e| e.to_string())?,
            other => {
                return Err(format!(
                    "json: cannot unmarshal {} into Go struct field .{key} of type string",
                    other.word()
                ));
            }
        }
    }
    Ok((api_version, name))
}

#[cfg(test)]
mod tests;
