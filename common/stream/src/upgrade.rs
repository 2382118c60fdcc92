//! Passing requests on to a backend over a connection of their own, upgrades included.

use crate::{Error, Io};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

/// Headers that belong to one hop.
const HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// Removes what must not be passed on. An upgrade keeps `Connection` and `Upgrade`.
pub fn strip_hop(headers: &mut HeaderMap) {
    let upgrade = headers.contains_key(header::UPGRADE);
    for name in HOP {
        headers.remove(name);
    }
    if upgrade {
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    }
}

/// Whether a request asks for another protocol on its connection.
pub fn wanted(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .any(|v| v.to_str().is_ok_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case("upgrade"))))
}

/// Sends one request over a fresh HTTP/1.1 connection. The answer may be upgraded.
///
/// # Errors
/// Where the connection breaks or the backend does not speak HTTP.
pub async fn send<B>(io: impl Io, request: Request<B>) -> Result<Response<Incoming>, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<crate::BoxError>,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "proxied connection ended");
        }
    });
    Ok(sender.send_request(request).await?)
}

/// Sends a request on and, where the backend switches protocols, ties the two connections together until
/// either end closes. `client` is the requester's connection once the answer is out.
///
/// # Errors
/// As [`send`]; and where the backend switches although nobody asked.
pub async fn forward<B>(
    io: impl Io,
    request: Request<B>,
    client: Option<OnUpgrade>,
) -> Result<Response<Incoming>, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<crate::BoxError>,
{
    let mut answer = send(io, request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        strip_hop(answer.headers_mut());
        return Ok(answer);
    }
    let client = client.ok_or(Error::Unasked)?;
    let backend = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        if let (Ok(client), Ok(backend)) = (client.await, backend.await) {
            splice(TokioIo::new(client), TokioIo::new(backend)).await;
        }
    });
    Ok(answer)
}

/// Copies both ways until one way ends; what was read before that has been delivered.
pub async fn splice(a: impl Io, b: impl Io) {
    let (mut ar, mut aw) = tokio::io::split(a);
    let (mut br, mut bw) = tokio::io::split(b);
    // Errors mean that an end is gone, which is how streams end.
    tokio::select! {
        _ = tokio::io::copy(&mut ar, &mut bw) => {}
        _ = tokio::io::copy(&mut br, &mut aw) => {}
    }
    let _ = tokio::join!(aw.shutdown(), bw.shutdown());
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[test]
    fn upgrades_are_told_from_others() {
        let check = |connection: &str, upgrade: &str, want: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, connection.parse().unwrap());
            if !upgrade.is_empty() {
                headers.insert(header::UPGRADE, upgrade.parse().unwrap());
            }
            assert_eq!(wanted(&headers), want, "{connection} {upgrade}");
        };
        check("Upgrade", "SPDY/3.1", true);
        check("keep-alive, upgrade", "websocket", true);
        check("keep-alive", "websocket", false);
        check("Upgrade", "", false);
    }

    #[tokio::test]
    async fn an_end_ends_both() {
        let (mut client, a) = tokio::io::duplex(64);
        let (mut backend, b) = tokio::io::duplex(64);
        let task = tokio::spawn(splice(a, b));
        client.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        backend.read_exact(&mut buffer).await.unwrap();
        backend.write_all(b"pong!").await.unwrap();
        drop(backend);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!((&buffer, rest.as_slice()), (b"ping", b"pong!".as_slice()));
        task.await.unwrap();
    }
}
