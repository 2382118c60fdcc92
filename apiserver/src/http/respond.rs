//! Writing answers: status errors, single objects, plain text.

use super::body::Body;
use super::json::indent;
use super::negotiate::{Accepted, Media};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use gantry_types::{Status, StatusResult};
use http::{HeaderValue, Response, StatusCode, header};
use std::io::Write;

pub type Answer = Response<Body>;

/// Answers at least this large are compressed for who asks.
const GZIP_FROM: usize = 128 << 10;

fn code(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Bytes with a status and a type.
pub fn bytes(status: u16, content_type: &'static str, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = code(status);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub fn text(status: u16, body: impl Into<Body>) -> Answer {
    let mut answer = bytes(status, "text/plain; charset=utf-8", body);
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

/// The answer to a path nobody serves.
pub fn page_not_found() -> Answer {
    text(404, "404 page not found\n")
}

/// Puts compact JSON into the accepted form. `kind` names the protobuf message.
///
/// # Errors
/// Where the JSON does not fit the schema of its kind.
pub fn encode(json: &Bytes, accepted: Accepted) -> StatusResult<Bytes> {
    match accepted.media {
        Media::Json if accepted.pretty => Ok(indent(json).into()),
        Media::Json => Ok(json.clone()),
        Media::Yaml => super::decode::yaml_from_json(json).map(Bytes::from),
        Media::Protobuf => super::decode::protobuf_from_json(json).map(Bytes::from),
    }
}

/// One object.
///
/// # Errors
/// As [`encode`].
pub fn object(status: u16, json: &Bytes, accepted: Accepted, gzip: bool) -> StatusResult<Answer> {
    let body = encode(json, accepted)?;
    let content_type = accepted.media.content_type();
    if gzip && body.len() >= GZIP_FROM {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
        // Writing to memory does not fail; if it did, the plain body would serve as well.
        if encoder.write_all(&body).is_ok()
            && let Ok(compressed) = encoder.finish()
        {
            let mut answer = bytes(status, content_type, compressed);
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            return Ok(answer);
        }
    }
    Ok(bytes(status, content_type, body))
}

/// A refusal. Where the accepted form cannot carry it, it goes out as JSON.
pub fn status(status: &Status, accepted: Accepted) -> Answer {
    let json = Bytes::from(status.to_json());
    let (content_type, body) = match encode(&json, accepted) {
        Ok(body) => (accepted.media.content_type(), body),
        Err(_) => ("application/json", json),
    };
    let http_code = if status.code() == 0 { 200 } else { status.code() };
    let mut answer = bytes(http_code, content_type, body);
    let retry = status.body().details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if retry > 0 {
        answer.headers_mut().insert(header::RETRY_AFTER, retry.into());
    }
    answer
}

/// A `Warning` header's value: code 299, the text quoted.
pub fn warning_value(text: &str) -> Option<HeaderValue> {
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str("299 - \"");
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    HeaderValue::from_bytes(out.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn warnings_are_quoted() {
        let value = super::warning_value("a \"b\"\n").unwrap();
        assert_eq!(value.as_bytes(), br#"299 - "a \"b\"""#);
    }
}
