//! Carrying a client's upgrade request to a backend that speaks SPDY, whichever way the client asks.

use crate::remote::Options;
use crate::{Body, BoxError, Error, Io, channel, text, translate, tunnel, upgrade, websocket};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use std::future::Future;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An exec or attach.
    Command(Options),
    PortForward,
}

/// Ways of carrying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Byte for byte.
    Forward,
    Translate(Options),
    Tunnel,
}

/// The way for a request: WebSockets of protocol 5 are translated and tunnels unpacked, all else passes
/// through.
pub fn way(kind: Kind, headers: &HeaderMap) -> Way {
    match kind {
        _ if !websocket::is_request(headers) => Way::Forward,
        Kind::Command(options) if websocket::protocols(headers).any(|p| p == channel::V5) => {
            Way::Translate(options)
        }
        Kind::PortForward if !tunnel::offered(headers).is_empty() => Way::Tunnel,
        _ => Way::Forward,
    }
}

/// Answers `client`, whose upgrade is carried on to the backend that `connect` dials. `address` is the request
/// to the backend without a body: its URI, and headers the client's own are replaced by. A request that does
/// not ask for an upgrade is refused, as upstream does.
///
/// # Errors
/// Where the backend cannot be dialled or breaks before it has answered.
pub async fn carry<B, I, C>(
    kind: Kind,
    mut client: Request<B>,
    address: Request<()>,
    connect: C,
) -> Result<Response<Body>, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    I: Io,
    C: Future<Output = Result<I, Error>> + Send + 'static,
{
    if !upgrade::wanted(client.headers()) {
        return Ok(text(StatusCode::BAD_REQUEST, "Upgrade request required\n"));
    }
    let connection = hyper::upgrade::on(&mut client);
    match way(kind, client.headers()) {
        Way::Translate(options) => {
            let Some(answer) = websocket::accept(client.method(), client.headers(), channel::V5) else {
                return Ok(text(StatusCode::BAD_REQUEST, "Bad Request"));
            };
            tokio::spawn(translate::run(connection, connect, address, options));
            Ok(answer)
        }
        Way::Tunnel => {
            let (method, headers) = (client.method().clone(), client.headers().clone());
            match tunnel::open(connect.await?, address, &headers, &method, connection).await? {
                tunnel::Opened::Tunnel(answer) => Ok(answer),
                tunnel::Opened::Refused(answer) => Ok(boxed(answer)),
                tunnel::Opened::BadRequest => Ok(text(StatusCode::BAD_REQUEST, "Bad Request\n")),
            }
        }
        Way::Forward => {
            let (parts, body) = client.into_parts();
            let (mut to, ()) = address.into_parts();
            to.method = parts.method;
            let replaced = std::mem::replace(&mut to.headers, parts.headers);
            for name in replaced.keys() {
                to.headers.remove(name);
            }
            to.headers.extend(replaced);
            upgrade::strip_hop(&mut to.headers);
            let request = Request::from_parts(to, body);
            Ok(boxed(upgrade::forward(connect.await?, request, Some(connection)).await?))
        }
    }
}

fn boxed(answer: Response<hyper::body::Incoming>) -> Response<Body> {
    answer.map(|b| b.map_err(Into::into).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_depends_on_the_offer() {
        let options = Options { stdout: true, ..Options::default() };
        let check = |kind: Kind, upgrade: &str, offer: &str, want: Way| {
            let mut headers = HeaderMap::new();
            headers.insert("connection", "Upgrade".parse().unwrap());
            headers.insert("upgrade", upgrade.parse().unwrap());
            headers.insert("sec-websocket-protocol", offer.parse().unwrap());
            assert_eq!(way(kind, &headers), want, "{kind:?} {upgrade} {offer}");
        };
        let (exec, forward) = (Kind::Command(options), Kind::PortForward);
        check(exec, "SPDY/3.1", "", Way::Forward);
        check(exec, "websocket", "v5.channel.k8s.io,v4.channel.k8s.io", Way::Translate(options));
        check(exec, "websocket", "v4.channel.k8s.io", Way::Forward);
        check(exec, "websocket", "base64.channel.k8s.io", Way::Forward);
        check(forward, "websocket", "SPDY/3.1+portforward.k8s.io", Way::Tunnel);
        check(forward, "websocket", "v4.channel.k8s.io", Way::Forward);
        check(forward, "SPDY/3.1", "", Way::Forward);
    }
}
