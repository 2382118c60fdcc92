//! Answers in the forms the kubelet gives them.

use bytes::Bytes;
use gantry_stream::Body;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

pub type Answer = Response<Body>;

fn with(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub fn text(code: u16, body: impl Into<Bytes>) -> Answer {
    with(code, "text/plain; charset=utf-8", body)
}

pub fn json(body: impl Into<Bytes>) -> Answer {
    with(200, "application/json", body)
}

/// A page in Prometheus's text format.
pub fn metrics(body: impl Into<Bytes>) -> Answer {
    with(200, gantry_daemon::metrics::CONTENT_TYPE, body)
}
