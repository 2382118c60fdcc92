//! Bodies in and out of the wire forms; the work is the machinery's.

use bytes::Bytes;
use gantry_machinery::protobuf;
use gantry_machinery::schema::builtin;
use gantry_machinery::validate::{FieldValidation, Media, decode_body, yaml_to_json};
use gantry_registry::generic::options::DeleteOptions;
use gantry_types::{Document, GroupVersionKind, Status, StatusResult};

fn media(content_type: &str) -> StatusResult<Media> {
    Media::parse(content_type).ok_or_else(|| {
        Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )
    })
}

/// Decodes a body that must be of the given kind.
///
/// # Errors
/// 415 for an unknown form, 400 for what does not decode.
pub fn body(
    bytes: &Bytes,
    content_type: &str,
    gvk: &GroupVersionKind,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> StatusResult<Document> {
    let decoded = decode_body(builtin(), bytes, media(content_type)?, gvk, validation)?;
    warnings.extend(decoded.warnings);
    Ok(decoded.document)
}

/// Decodes `DeleteOptions`.
///
/// # Errors
/// As [`body`].
pub fn delete_options(bytes: &Bytes, content_type: &str) -> StatusResult<DeleteOptions> {
    let broken = |why: String| Status::bad_request(why);
    let document = match media(content_type)? {
        Media::Json => Document::from_json(bytes).map_err(|e| broken(e.to_string()))?,
        Media::Yaml => {
            let (json, _) = yaml_to_json(bytes).map_err(|e| broken(e.to_string()))?;
            Document::from_json(&json).map_err(|e| broken(e.to_string()))?
        }
        Media::Protobuf => {
            let gvk =
                GroupVersionKind { group: "".into(), version: "v1".into(), kind: "DeleteOptions".into() };
            protobuf::decode_envelope(builtin(), bytes, Some(&gvk)).map_err(|e| broken(e.to_string()))?
        }
    };
    document.to_typed().map_err(|e| broken(e.to_string()))
}

/// Compact JSON as YAML.
///
/// # Errors
/// Where it is not JSON.
pub fn yaml_from_json(json: &[u8]) -> StatusResult<Vec<u8>> {
    let document = Document::from_json(json).map_err(Status::internal)?;
    serde_saphyr::to_string(document.map()).map(String::into_bytes).map_err(Status::internal)
}

/// The JSON of an object or list as protobuf in its envelope.
///
/// # Errors
/// Where the kind has no schema or the object does not fit it.
pub fn protobuf_from_json(json: &[u8]) -> StatusResult<Vec<u8>> {
    let document = Document::from_json(json).map_err(Status::internal)?;
    protobuf::encode_envelope(builtin(), &document).map_err(Status::internal)
}

/// One watch event as protobuf, with its length in front.
///
/// # Errors
/// As [`protobuf_from_json`].
pub fn protobuf_event(kind: &str, object: &[u8]) -> StatusResult<Bytes> {
    let event = protobuf::encode_watch_event(kind, &protobuf_from_json(object)?);
    let mut frame = Vec::with_capacity(event.len() + 4);
    // A frame is bounded by the largest object.
    frame.extend_from_slice(&u32::try_from(event.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&event);
    Ok(frame.into())
}
