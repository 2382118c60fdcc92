//! Streaming sub-protocols (exec, attach, port-forward): WebSocket and SPDY, both ends.
//!
//! Owns: carrying an HTTP/1.1 upgrade through to a backend byte for byte ([`upgrade`]); SPDY/3.1 as far as
//! remote commands use it ([`spdy`]); the server's end of a WebSocket ([`websocket`]) with the channels of
//! remote commands on it ([`channel`]); translating `v5.channel.k8s.io` onto SPDY ([`translate`]) and
//! unpacking SPDY tunnelled in a WebSocket ([`tunnel`]), as the API server and the kubelet both do
//! (KEP-4006). [`carry`] picks among the three.
//!
//! Tasks: one per carried upgrade, plus one for the HTTP connection to the backend. They end with the stream.
//! Channels: none between requests.
//!
//! Refuses: authentication and authorization (the caller's, before), dialling (the caller hands a connection
//! over), and translating the WebSocket sub-protocols before version 5: those pass through to the runtime,
//! which speaks them itself.

pub mod carry;
pub mod channel;
pub mod remote;
pub mod spdy;
pub mod translate;
pub mod tunnel;
pub mod upgrade;
pub mod websocket;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite};

pub use carry::{Kind, carry};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer on its way to the client.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A byte stream to a backend.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// Why a stream could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend could not be dialled; the caller's own words.
    #[error("{0}")]
    Dial(String),
    #[error("error dialing backend: {0}")]
    Backend(#[from] hyper::Error),
    #[error("the backend switched protocols unasked")]
    Unasked,
    #[error("unable to upgrade: missing upgrade headers in response")]
    Headers,
}

/// A plain text answer.
pub fn text(code: http::StatusCode, text: impl Into<Bytes>) -> http::Response<Body> {
    let body = http_body_util::Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut answer = http::Response::new(body);
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(http::header::CONTENT_TYPE, plain);
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    answer
}

/// An answer without a body.
pub fn empty() -> http::Response<Body> {
    http::Response::new(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync())
}
