//! The server's end of a WebSocket: the opening handshake, and the messages after it.

use crate::{Body, Io, empty};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// What a client may send in one message.
const MAX_MESSAGE: usize = 16 << 20;

/// Whether this is a WebSocket's opening request.
pub fn is_request(headers: &HeaderMap) -> bool {
    crate::upgrade::wanted(headers)
        && headers
            .get(header::UPGRADE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
}

/// The sub-protocols a client offers, in its order.
pub fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|p| !p.is_empty())
}

/// The answer that opens the WebSocket with `protocol` (none where empty); `None` where the request is not
/// one that can be.
pub fn accept(method: &Method, headers: &HeaderMap, protocol: &str) -> Option<Response<Body>> {
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|v| v == "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    if method != Method::GET || !version || !is_request(headers) {
        return None;
    }
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()?;
    let mut answer = empty();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = answer.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).ok()?);
    }
    Some(answer)
}

/// The end of a stream that went as it should; clients take a close without this code for a failure.
pub fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// Messages on an accepted connection.
pub async fn open(upgraded: Upgraded) -> WebSocketStream<TokioIo<Upgraded>> {
    on(TokioIo::new(upgraded)).await
}

/// As [`open`], on any connection.
pub async fn on<T: Io>(io: T) -> WebSocketStream<T> {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = 8 << 10;
    config.write_buffer_size = 0;
    config.max_message_size = Some(MAX_MESSAGE);
    config.max_frame_size = Some(MAX_MESSAGE);
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut out = HeaderMap::new();
        for (k, v) in pairs {
            out.append(http::HeaderName::from_bytes(k.as_bytes()).unwrap(), v.parse().unwrap());
        }
        out
    }

    const OPENING: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn openings_are_answered() {
        let answer = accept(&Method::GET, &headers(&OPENING), "p").unwrap();
        assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer.headers()["sec-websocket-protocol"], "p");
        assert!(accept(&Method::POST, &headers(&OPENING), "").is_none());
        for (i, missing) in OPENING.iter().enumerate() {
            let mut without = OPENING.to_vec();
            without.remove(i);
            assert!(accept(&Method::GET, &headers(&without), "").is_none(), "{missing:?}");
        }
    }

    #[test]
    fn protocols_come_in_lists_and_lines() {
        let h = headers(&[("sec-websocket-protocol", "a, b"), ("sec-websocket-protocol", "c")]);
        assert_eq!(protocols(&h).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
