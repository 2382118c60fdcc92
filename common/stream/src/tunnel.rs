//! Port-forwarding's SPDY inside a WebSocket (`SPDY/3.1+portforward.k8s.io`): binary messages carry SPDY's bytes.

use crate::spdy::session::PROTOCOL;
use crate::{Error, Io, websocket};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

const PREFIX: &str = "SPDY/3.1+";
const SUFFIX: &str = ".k8s.io";

/// The protocols above SPDY that a WebSocket's opening offers to tunnel.
pub fn offered(headers: &HeaderMap) -> Vec<String> {
    websocket::protocols(headers)
        .filter_map(|p| p.strip_prefix(PREFIX).filter(|p| p.ends_with(SUFFIX)))
        .map(str::to_owned)
        .collect()
}

/// How the backend answered.
pub enum Opened {
    /// It switched: answer the client with this, and the tunnel stands once `client` is upgraded.
    Tunnel(Response<crate::Body>),
    /// It refused: this is for the client as it is.
    Refused(Response<Incoming>),
    /// It switched, but the client's request cannot be answered with a WebSocket.
    BadRequest,
}

/// The request for the backend, from the client's headers.
fn unwrapped(mut request: Request<()>, protocols: &[String]) -> Request<Empty<Bytes>> {
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    for name in [header::SEC_WEBSOCKET_PROTOCOL, header::SEC_WEBSOCKET_KEY, header::SEC_WEBSOCKET_VERSION] {
        headers.remove(name);
    }
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.remove(PROTOCOL);
    for protocol in protocols {
        if let Ok(value) = HeaderValue::from_str(protocol) {
            headers.append(PROTOCOL, value);
        }
    }
    request.map(|()| Empty::new())
}

/// Opens the backend's side with `request` (the client's, addressed to the backend) and ties it to `client`.
///
/// # Errors
/// Where the backend breaks, or switches to something else.
pub async fn open(
    io: impl Io,
    request: Request<()>,
    client_headers: &HeaderMap,
    client_method: &Method,
    client: OnUpgrade,
) -> Result<Opened, Error> {
    let mut answer = crate::upgrade::send(io, unwrapped(request, &offered(client_headers))).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        crate::upgrade::strip_hop(answer.headers_mut());
        return Ok(Opened::Refused(answer));
    }
    let value = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !value("upgrade").to_ascii_lowercase().contains("spdy/3.1") {
        return Err(Error::Headers);
    }
    let chosen = value(PROTOCOL).trim();
    let protocol = if chosen.is_empty() { String::new() } else { format!("{PREFIX}{chosen}") };
    let Some(accepted) = websocket::accept(client_method, client_headers, &protocol) else {
        return Ok(Opened::BadRequest);
    };
    let backend = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        if let (Ok(client), Ok(backend)) = (client.await, backend.await) {
            pump(TokioIo::new(client), TokioIo::new(backend)).await;
        }
    });
    Ok(Opened::Tunnel(accepted))
}

/// Moves bytes until either end closes.
async fn pump(client: impl Io, backend: impl Io) {
    let (mut to_client, mut from_client) = websocket::on(client).await.split();
    let (mut from_backend, mut to_backend) = tokio::io::split(backend);
    let inward = async {
        while let Some(Ok(message)) = from_client.next().await {
            match message {
                Message::Binary(bytes) => {
                    let written = async {
                        to_backend.write_all(&bytes).await?;
                        to_backend.flush().await
                    };
                    if written.await.is_err() {
                        break;
                    }
                }
                Message::Close(_) => break,
                _ => {}
            }
        }
    };
    let outward = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(16 << 10);
            match from_backend.read_buf(&mut buffer).await {
                Ok(n) if n > 0 => {
                    let bytes = buffer.split().freeze();
                    if to_client.send(Message::Binary(bytes)).await.is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
    };
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
    let _ = to_client.send(websocket::goodbye()).await;
    let _ = to_client.close().await;
    let _ = to_backend.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[test]
    fn tunnels_are_offered_by_prefix() {
        let check = |offer: &str, want: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offer.parse().unwrap());
            assert_eq!(offered(&headers), want, "{offer}");
        };
        check("SPDY/3.1+portforward.k8s.io", &["portforward.k8s.io"]);
        check("v4.channel.k8s.io, SPDY/3.1+v2.portforward.k8s.io", &["v2.portforward.k8s.io"]);
        check("SPDY/3.1+portforward.example.org", &[]);
        check("portforward.k8s.io", &[]);
    }

    #[test]
    fn the_backend_sees_no_websocket() {
        let request = Request::get("/x")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "k")
            .header("sec-websocket-protocol", "p")
            .body(())
            .unwrap();
        let out = unwrapped(request, &["portforward.k8s.io".into()]);
        assert_eq!((out.method(), &out.headers()["upgrade"]), (&Method::POST, &"SPDY/3.1".parse().unwrap()));
        assert_eq!(out.headers()[PROTOCOL], "portforward.k8s.io");
        assert!(!out.headers().keys().any(|k| k.as_str().starts_with("sec-websocket")));
    }

    #[tokio::test]
    async fn bytes_pass_in_messages() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (inner, mut backend) = tokio::io::duplex(1 << 16);
        let task = tokio::spawn(pump(near, inner));
        let mut client = tokio_tungstenite::WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        client.send(Message::Binary(Bytes::from_static(b"abc"))).await.unwrap();
        let mut got = [0; 3];
        backend.read_exact(&mut got).await.unwrap();
        backend.write_all(b"defg").await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap().into_data().as_ref(), b"defg");
        drop(backend);
        assert_eq!(client.next().await.unwrap().unwrap(), websocket::goodbye());
        assert_eq!(&got, b"abc");
        task.await.unwrap();
    }
}
