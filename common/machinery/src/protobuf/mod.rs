//! Kubernetes protobuf, driven by the schema: `k8s\0`, a `runtime.Unknown` envelope, and the object in
//! gogo-proto's layout, byte for byte as upstream writes it.
//!
//! The transcoder goes between wire bytes and JSON documents; there are no generated types. What JSON inlines
//! and protobuf nests, or one wraps and the other does not, is in the schema ([`crate::schema::Wire`]).

mod read;
mod wire;
mod write;

use crate::schema::Schemas;
use gantry_types::{Document, GroupVersion, GroupVersionKind};
use serde_json::{Map, Value};
use wire::{Backwards, Fields};

/// The first bytes of every Kubernetes protobuf body.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Bytes that are not the protobuf they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: illegal wireType")]
    WireType,
    #[error("exceeded max depth")]
    Depth,
    #[error("no kind \"{kind}\" is registered for version \"{version}\"")]
    UnknownKind { kind: String, version: String },
    #[error("{0}")]
    Value(String),
}

/// What an envelope holds, still encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
    pub content_encoding: String,
    pub content_type: String,
}

/// Whether the bytes begin as an envelope does.
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Opens an envelope without decoding the object.
///
/// # Errors
/// Where the prefix is missing or the message is broken.
pub fn open_envelope(bytes: &[u8]) -> Result<Unknown<'_>, ProtobufError> {
    let mut fields = Fields(bytes.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?);
    let mut out = Unknown::default();
    while let Some((number, payload)) = fields.next()? {
        match number {
            1 => {
                let mut meta = Fields(payload.bytes()?);
                while let Some((number, payload)) = meta.next()? {
                    match number {
                        1 => out.api_version = payload.text()?,
                        2 => out.kind = payload.text()?,
                        _ => {}
                    }
                }
            }
            2 => out.raw = payload.bytes()?,
            3 => out.content_encoding = payload.text()?,
            4 => out.content_type = payload.text()?,
            _ => {}
        }
    }
    Ok(out)
}

/// Decodes an enveloped object. `expected` is the kind where the envelope names none.
///
/// # Errors
/// Where the bytes are no envelope, name a kind without a schema, or are broken.
pub fn decode_envelope(
    schemas: &Schemas,
    bytes: &[u8],
    expected: Option<&GroupVersionKind>,
) -> Result<Document, ProtobufError> {
    let unknown = open_envelope(bytes)?;
    let mut document = Document::default();
    let default_version = expected.map(|e| e.group_version().to_string()).unwrap_or_default();
    let version = if unknown.api_version.is_empty() { default_version } else { unknown.api_version };
    let kind = match expected {
        Some(e) if unknown.kind.is_empty() => e.kind.to_string(),
        _ => unknown.kind,
    };
    let schema = GroupVersion::parse(&version)
        .and_then(|gv| schemas.kind(&gv.group, &gv.version, &kind))
        .ok_or_else(|| ProtobufError::UnknownKind { kind: kind.clone(), version: version.clone() })?;
    *document.map_mut() = read::message(schema, unknown.raw)?;
    document.set_type(&version, &kind);
    Ok(document)
}

/// Decodes a bare message of a kind; the document has no apiVersion and kind.
///
/// # Errors
/// Where the bytes are broken.
pub fn decode_message(
    schema: crate::schema::Schema<'_>,
    bytes: &[u8],
) -> Result<Map<String, Value>, ProtobufError> {
    read::message(schema, bytes)
}

/// Encodes an object, with its envelope, by the apiVersion and kind it carries.
///
/// # Errors
/// Where the kind has no schema, or a value does not fit its type.
pub fn encode_envelope(schemas: &Schemas, document: &Document) -> Result<Vec<u8>, ProtobufError> {
    let (version, kind) = (document.api_version(), document.kind());
    let schema = GroupVersion::parse(version)
        .and_then(|gv| schemas.kind(&gv.group, &gv.version, kind))
        .ok_or_else(|| ProtobufError::UnknownKind { kind: kind.into(), version: version.into() })?;
    let mut out = Backwards::default();
    envelope_tail(&mut out);
    let mark = out.len();
    write::message(&mut out, schema, document.map())?;
    out.close(2, mark);
    envelope_head(&mut out, version, kind);
    Ok(out.finish())
}

/// Encodes a bare message of a kind.
///
/// # Errors
/// Where a value does not fit its type.
pub fn encode_message(
    schema: crate::schema::Schema<'_>,
    object: &Map<String, Value>,
) -> Result<Vec<u8>, ProtobufError> {
    let mut out = Backwards::default();
    write::message(&mut out, schema, object)?;
    Ok(out.finish())
}

/// Wraps an encoded message.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Backwards::default();
    envelope_tail(&mut out);
    out.bytes_field(2, message);
    envelope_head(&mut out, api_version, kind);
    out.finish()
}

/// A `*List`, with its envelope, of items encoded as bare messages. `metadata` is the list's `ListMeta`.
///
/// # Errors
/// Where a value of the metadata does not fit.
pub fn encode_list<'a>(
    schemas: &Schemas,
    api_version: &str,
    kind: &str,
    metadata: &Map<String, Value>,
    items: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, ProtobufError> {
    let mut out = Backwards::default();
    envelope_tail(&mut out);
    let mark = out.len();
    for item in items.rev() {
        out.bytes_field(2, item);
    }
    if let Some(schema) = schemas.definition("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta") {
        let mark = out.len();
        write::message(&mut out, schema, metadata)?;
        out.close(1, mark);
    }
    out.close(2, mark);
    envelope_head(&mut out, api_version, kind);
    Ok(out.finish())
}

/// A watch event as a stream carries it, without the four bytes of length before each frame. `object` is an
/// enveloped object.
pub fn encode_watch_event(event: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Backwards::default();
    let mark = out.len();
    out.bytes_field(1, object);
    out.close(2, mark);
    out.bytes_field(1, event.as_bytes());
    out.finish()
}

fn envelope_tail(out: &mut Backwards) {
    out.bytes_field(4, b"");
    out.bytes_field(3, b"");
}

fn envelope_head(out: &mut Backwards, api_version: &str, kind: &str) {
    let mark = out.len();
    out.bytes_field(2, kind.as_bytes());
    out.bytes_field(1, api_version.as_bytes());
    out.close(1, mark);
    out.raw(MAGIC);
}

#[cfg(test)]
mod tests;
