//! Passing a request on, and its bytes both ways where the protocol is switched.

use crate::assemble::Server;
use crate::cx::Cx;
use crate::http::body::Body;
use crate::http::respond::Answer;
use crate::kubelet::{Target, TargetTls};
use gantry_types::{Status, StatusResult};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use std::sync::Arc;

/// Headers that belong to one hop.
const HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// Passes the request on over a connection of its own, and its upgrade where both ends agree on one.
pub(super) async fn pass(
    server: &Arc<Server>,
    cx: &Cx,
    target: &Target,
    path: String,
    mut request: http::Request<Body>,
) -> StatusResult<Answer> {
    let io = TokioIo::new(server.backends.connect(target).await?);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|e| unreachable(&e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "proxied connection ended");
        }
    });
    let upgrade = cx.headers.get(header::UPGRADE).cloned();
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let mut headers = cx.headers.clone();
    for name in HOP {
        headers.remove(name);
    }
    forwarded(cx, target, upgrade.as_ref(), &mut headers);
    let uri: Uri = path.parse().map_err(|e| Status::bad_request(format!("{e}")))?;
    let mut outgoing = http::Request::new(request.into_body());
    *outgoing.method_mut() = cx.method.clone();
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = headers;
    let mut answer = sender.send_request(outgoing).await.map_err(|e| unreachable(&e))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client else {
            return Err(Status::internal("the backend switched protocols unasked"));
        };
        let backend = hyper::upgrade::on(&mut answer);
        tokio::spawn(async move {
            let (Ok(client), Ok(backend)) = (client.await, backend.await) else { return };
            let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
            // Either end closing ends the stream.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut backend).await;
        });
        return Ok(answer.map(|_| Body::Empty));
    }
    for name in HOP {
        answer.headers_mut().remove(name);
    }
    Ok(answer.map(Body::other))
}

/// Carries an exec, attach or port-forward to the kubelet, translated where the client speaks WebSocket.
pub(super) async fn stream(
    server: &Arc<Server>,
    cx: &Cx,
    kind: gantry_stream::Kind,
    target: Target,
    path: String,
    mut request: http::Request<Body>,
) -> StatusResult<Answer> {
    if !gantry_stream::upgrade::wanted(&cx.headers) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    *request.headers_mut() = cx.headers.clone();
    let mut headers = HeaderMap::new();
    forwarded(cx, &target, None, &mut headers);
    let mut address = http::Request::new(());
    *address.uri_mut() = path.parse().map_err(|e| Status::bad_request(format!("{e}")))?;
    *address.headers_mut() = headers;
    let server = server.clone();
    let connect = async move {
        let dialled = server.backends.connect(&target).await;
        dialled.map_err(|status| gantry_stream::Error::Dial(status.message().to_owned()))
    };
    let answer = gantry_stream::carry(kind, request, address, connect).await;
    answer.map(|a| a.map(Body::Other)).map_err(Status::internal)
}

fn unreachable(error: &hyper::Error) -> Status {
    Status::service_unavailable(format!("error trying to reach service: {error}"))
}

fn forwarded(cx: &Cx, target: &Target, upgrade: Option<&HeaderValue>, headers: &mut HeaderMap) {
    headers.remove(header::HOST);
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    if let Ok(value) = HeaderValue::from_str(&format!("{host}:{}", target.port)) {
        headers.insert(header::HOST, value);
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade.clone());
    }
    if target.tls != TargetTls::Kubelet
        && let Ok(value) = HeaderValue::from_str(&cx.path)
    {
        headers.insert(HeaderName::from_static("x-forwarded-uri"), value);
    }
}
