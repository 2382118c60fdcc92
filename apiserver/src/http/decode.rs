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
    let media = media(content_type)?;
    let text = match media {
        Media::Yaml => yaml_to_json(bytes).map_err(|e| broken(e.to_string()))?.0.into(),
        _ => bytes.clone(),
    };
    let mut gvk = GroupVersionKind { group: "".into(), version: "v1".into(), kind: DELETE_OPTIONS.into() };
    let media = if media == Media::Yaml { Media::Json } else { media };
    if media == Media::Json
        && let Ok(given) = Document::from_json(&text)
    {
        // Every group has delete options; nothing else will do.
        let kind = if given.kind().is_empty() { DELETE_OPTIONS } else { given.kind() };
        if kind != DELETE_OPTIONS {
            let version = if given.api_version().is_empty() { "v1" } else { given.api_version() };
            return Err(broken(format!(
                "no kind {kind:?} is registered for version {version:?} in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
            )));
        }
        if let Some((group, version)) = given.api_version().split_once('/') {
            (gvk.group, gvk.version) = (group.to_owned().into(), version.to_owned().into());
        }
        let plain = GroupVersionKind { group: "".into(), version: "v1".into(), ..gvk.clone() };
        let mut given = given;
        given.set_type("v1", DELETE_OPTIONS);
        return read_delete_options(&given.to_json().into(), Media::Json, &plain);
    }
    read_delete_options(&text, media, &gvk)
}

const DELETE_OPTIONS: &str = "DeleteOptions";

fn read_delete_options(bytes: &Bytes, media: Media, gvk: &GroupVersionKind) -> StatusResult<DeleteOptions> {
    let decoded = decode_body(builtin(), bytes, media, gvk, FieldValidation::Ignore).map_err(|status| {
        // The cause alone, without the words about which kind could not be handled.
        let words = format!("cannot be handled as a {DELETE_OPTIONS}: ");
        let why = status.message().split_once(&words).map_or(status.message(), |(_, why)| why);
        let unread = format!("the object provided is unrecognized (must be of type {DELETE_OPTIONS}): ");
        let why = match why.strip_prefix(&unread) {
            Some(why) => why.rsplit_once(" (").map_or(why, |(why, _)| why),
            None => why,
        };
        Status::bad_request(why)
    })?;
    decoded.document.to_typed().map_err(|e| Status::bad_request(e.to_string()))
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
