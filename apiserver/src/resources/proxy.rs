//! Passing a request on, and its bytes both ways where the protocol is switched.

use crate::assemble::Server;
use crate::cx::Cx;
use crate::http::body::Body;
use crate::http::respond::Answer;
use crate::kubelet::{Target, TargetTls};
use gantry_stream::upgrade;
use gantry_types::{Status, StatusResult};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use http_body_util::BodyExt;
use std::sync::Arc;

/// What is read of a kubelet's refusal.
const MAX_REFUSAL: usize = 50_000;

/// Passes the request on over a connection of its own, and its upgrade where both ends agree on one.
pub(super) async fn pass(
    server: &Arc<Server>,
    cx: &Cx,
    target: &Target,
    path: String,
    request: http::Request<Body>,
) -> StatusResult<Answer> {
    let io = server.backends.connect(target).await?;
    let mut headers = cx.headers.clone();
    upgrade::strip_hop(&mut headers);
    forwarded(cx, target, &mut headers);
    exchange(io, cx, headers, path, request).await
}

/// Sends the request with these headers over a connection; an upgrade ties it to the client's.
pub(crate) async fn exchange(
    io: impl gantry_stream::Io,
    cx: &Cx,
    mut headers: HeaderMap,
    path: String,
    mut request: http::Request<Body>,
) -> StatusResult<Answer> {
    let client = upgrade::wanted(&cx.headers).then(|| hyper::upgrade::on(&mut request));
    if client.is_none() {
        // Without its companion the header means nothing, and would make a backend switch for nobody.
        headers.remove(header::UPGRADE);
        headers.remove(header::CONNECTION);
    }
    let uri: Uri = path.parse().map_err(|e| Status::bad_request(format!("{e}")))?;
    let mut outgoing = http::Request::new(request.into_body());
    *outgoing.method_mut() = cx.method.clone();
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = headers;
    let answer = upgrade::forward(io, outgoing, client).await;
    answer.map(|a| a.map(Body::other)).map_err(|e| match e {
        gantry_stream::Error::Backend(e) => unreachable(&e),
        other => Status::internal(other),
    })
}

/// Passes a request for a log on; a refusal of the kubelet's becomes a status of ours.
pub(super) async fn log(
    server: &Arc<Server>,
    cx: &Cx,
    target: &Target,
    path: String,
    request: http::Request<Body>,
) -> StatusResult<Answer> {
    let answer = pass(server, cx, target, path, request).await?;
    let code = answer.status().as_u16();
    if (200..=206).contains(&code) {
        return Ok(answer);
    }
    let body = http_body_util::Limited::new(answer.into_body(), MAX_REFUSAL).collect().await;
    let text = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned()).unwrap_or_default();
    Err(refusal(code, &text, cx))
}

fn refusal(code: u16, text: &str, cx: &Cx) -> Status {
    let (reason, message) = match code {
        400 => return Status::bad_request(text),
        500 => return Status::internal(text),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_owned()),
        403 => ("Forbidden", text.to_owned()),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        422 => ("Invalid", "the server rejected our request due to an error in our request".to_owned()),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned()),
        code if code >= 500 => {
            let quoted = gantry_types::field::go_quote(text);
            let why = format!("an error on the server ({quoted}) has prevented the request from succeeding");
            ("InternalError", why)
        }
        _ => {
            let why = format!(
                "the server responded with the status code {code} but did not return more information"
            );
            ("", why)
        }
    };
    let mut status = Status::failure(code, reason, format!("{message} ( pods {})", cx.info.name));
    let details = status.body_mut().details.get_or_insert_default();
    (details.kind, details.name) = ("pods".into(), cx.info.name.clone());
    status
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
    if !upgrade::wanted(&cx.headers) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    *request.headers_mut() = cx.headers.clone();
    let mut headers = HeaderMap::new();
    forwarded(cx, &target, &mut headers);
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

fn forwarded(cx: &Cx, target: &Target, headers: &mut HeaderMap) {
    headers.remove(header::HOST);
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    if let Ok(value) = HeaderValue::from_str(&format!("{host}:{}", target.port)) {
        headers.insert(header::HOST, value);
    }
    if target.tls != TargetTls::Kubelet
        && let Ok(value) = HeaderValue::from_str(&cx.path)
    {
        headers.insert(HeaderName::from_static("x-forwarded-uri"), value);
    }
}
