//! The stored form: JSON with `apiVersion`, `kind` and `metadata` in front, without `resourceVersion`.
//!
//! The fixed front makes two things cheap: the revision is spliced in by copying, and a list drops the type
//! of an item by skipping a known prefix. Values written by others (upstream's JSON or protobuf) are
//! brought into this form once, when read.

use crate::strategy::AnyStrategy;
use bytes::Bytes;
use gantry_storage::KeyValue;
use gantry_types::object::{Meta, Object, Revision};
use gantry_types::scheme::Kind;
use gantry_types::{Document, Status, StatusResult};
use gantry_watch_cache::{Decode, DecodeError, Decoded, splice_revision};
use std::sync::Arc;

/// `{"apiVersion":"v1","kind":"Pod",` for a kind.
pub fn type_prefix(kind: &Kind) -> String {
    format!("{{\"apiVersion\":\"{}\",\"kind\":\"{}\",", kind.api_version(), kind.kind)
}

const METADATA: &[u8] = b"\"metadata\":{";

fn write_value(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    // Writing a tree of JSON values to memory cannot fail.
    let _ = gantry_types::json::to_writer(&mut *out, value);
}

/// Serializes an object in the stored order, without `metadata.resourceVersion`, whatever its type says:
/// `prefix` is [`type_prefix`].
pub fn encode(object: &Document, prefix: &str) -> Vec<u8> {
    let map = object.map();
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(METADATA);
    let mut first = true;
    let entry = |out: &mut Vec<u8>, key: &str, first: &mut bool| {
        if !std::mem::take(first) {
            out.push(b',');
        }
        write_value(out, &key);
        out.push(b':');
    };
    if let Some(metadata) = map.get("metadata").and_then(|m| m.as_object()) {
        for (key, value) in metadata.iter().filter(|(k, _)| *k != "resourceVersion") {
            entry(&mut out, key, &mut first);
            write_value(&mut out, value);
        }
    }
    out.push(b'}');
    first = false;
    for (key, value) in map.iter().filter(|(k, _)| !matches!(k.as_str(), "apiVersion" | "kind" | "metadata"))
    {
        entry(&mut out, key, &mut first);
        write_value(&mut out, value);
    }
    out.push(b'}');
    out
}

/// Stored bytes as the object they are at a revision.
///
/// # Errors
/// `InternalError` where the bytes are not an object, which they are when they come from [`encode`].
pub fn object(stored: &[u8], revision: Revision) -> StatusResult<Object> {
    let body = spliced(stored, revision)?;
    let meta = Object::parse_meta(&body).map_err(Status::internal)?;
    Ok(Object::new(meta, revision, body))
}

fn spliced(stored: &[u8], revision: Revision) -> StatusResult<Bytes> {
    splice_revision(stored, revision.0).ok_or_else(|| Status::internal("a stored object has no metadata"))
}

/// The answer for an object just written. Only its name, namespace and UID are looked up.
///
/// # Errors
/// As [`object`].
pub fn written(document: &Document, stored: &[u8], revision: Revision) -> StatusResult<Object> {
    let meta = Meta {
        name: document.name().into(),
        namespace: document.namespace().into(),
        uid: document.uid().into(),
        ..Meta::default()
    };
    Ok(Object::new(meta, revision, spliced(stored, revision)?))
}

/// A stored value as an object: one in stored form as it is, anything else brought into it.
///
/// # Errors
/// `InternalError` where the value is neither JSON nor upstream's protobuf.
pub fn read(kind: &Kind, prefix: &str, kv: &KeyValue) -> StatusResult<Object> {
    let body = normalize(kind, prefix, &kv.value).map_err(Status::internal)?;
    object(&body, Revision(kv.mod_revision))
}

/// Brings any stored value into stored form.
fn normalize(kind: &Kind, prefix: &str, value: &Bytes) -> Result<Bytes, String> {
    if value.starts_with(prefix.as_bytes()) {
        return Ok(value.clone());
    }
    let document = if value.starts_with(PROTOBUF) {
        super::fields::from_protobuf(kind, value)?
    } else {
        Document::from_json(value).map_err(|e| e.to_string())?
    };
    Ok(encode(&document, prefix).into())
}

/// The magic of upstream's protobuf envelope.
const PROTOBUF: &[u8] = b"k8s\0";

/// How the watch cache reads values of a kind.
pub fn decoder(kind: &'static Kind, strategy: Arc<dyn AnyStrategy>) -> Decode {
    let prefix = type_prefix(kind);
    Arc::new(move |kv| {
        let body = normalize(kind, &prefix, &kv.value).map_err(DecodeError)?;
        let mut meta = Object::parse_meta(&body).map_err(|e| DecodeError(e.to_string()))?;
        meta.fields = strategy.fields(&body).into_iter().map(|(k, v)| (k, v.into_boxed_str())).collect();
        Ok(Decoded { meta, body })
    })
}

/// The answer to a dry run, or any object that has no revision of its own.
///
/// # Errors
/// As [`object`].
pub fn unstored(document: &Document, prefix: &str, revision: Option<Revision>) -> StatusResult<Object> {
    let stored = encode(document, prefix);
    match revision {
        Some(revision) => object(&stored, revision),
        None => {
            let meta: Meta = Object::parse_meta(&stored).map_err(Status::internal)?;
            Ok(Object::new(meta, Revision(0), stored.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_spliced_in_and_left_out() {
        let kind = gantry_types::scheme::find("", "v1", "configmaps").unwrap();
        let prefix = type_prefix(kind);
        let doc = Document::from_json(
            br#"{"data":{"a":"b"},"kind":"X","metadata":{"name":"n","resourceVersion":"7","uid":"u"}}"#,
        )
        .unwrap();
        let stored = encode(&doc, &prefix);
        assert_eq!(
            String::from_utf8_lossy(&stored),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"n","uid":"u"},"data":{"a":"b"}}"#
        );
        let o = object(&stored, Revision(9)).unwrap();
        assert_eq!(
            String::from_utf8_lossy(o.body()),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"9","name":"n","uid":"u"},"data":{"a":"b"}}"#
        );
        assert_eq!((o.name(), o.uid()), ("n", "u"));
    }
}
