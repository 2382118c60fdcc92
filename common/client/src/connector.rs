//! TCP and TLS to the apiserver, with HTTP/2 where the server speaks it.

use crate::config::ReloadingIdentity;
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Short, so that a new try meets a network that has just come back: the kernel repeats a lost first packet
/// after 1, 3, 7 and 15 seconds.
const CONNECT: Duration = Duration::from_secs(10);

/// When a connection whose peer is silent is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    /// Nothing read for this long: the peer is asked.
    pub(crate) idle: Duration,
    /// How long it may take to answer.
    pub(crate) answer: Duration,
}

impl KeepAlive {
    /// `HTTP2_READ_IDLE_TIMEOUT_SECONDS` and `HTTP2_PING_TIMEOUT_SECONDS`, by default 30 and 15; an idle time
    /// of 0 turns asking off.
    pub(crate) fn from_env() -> Option<Self> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let seconds = |name: &str, default| {
            let found = variable(name).filter(|v| !v.is_empty());
            found.and_then(|v| v.parse::<u64>().ok()).map_or(default, Duration::from_secs)
        };
        let idle = seconds("HTTP2_READ_IDLE_TIMEOUT_SECONDS", Duration::from_secs(30));
        let answer = seconds("HTTP2_PING_TIMEOUT_SECONDS", Duration::from_secs(15));
        (!idle.is_zero()).then_some(Self { idle, answer })
    }
}

/// Opens connections; one per HTTP/2 pool, one per request in flight for HTTP/1.1.
#[derive(Clone)]
pub(crate) struct Connector {
    http: HttpConnector,
    tls: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    identity: Option<Arc<ReloadingIdentity>>,
}

impl Connector {
    pub(crate) fn new(
        tls: ClientConfig,
        server_name: Option<ServerName<'static>>,
        alive: Option<KeepAlive>,
    ) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        if let Some(alive) = alive {
            // What HTTP/1.1 connections have instead of pings.
            http.set_keepalive(Some(alive.idle));
            http.set_keepalive_interval(Some(alive.answer));
            http.set_keepalive_retries(Some(1));
            // Sent and not acknowledged for this long: the kernel gives the connection up.
            #[cfg(target_os = "linux")]
            http.set_tcp_user_timeout(Some(alive.idle));
        }
        Self { http, tls: Arc::new(tls), server_name, identity: None }
    }

    /// Closes connections once this identity has another certificate than they were opened with: a server
    /// goes by what it was shown.
    #[must_use]
    pub(crate) fn with_identity(mut self, identity: Option<Arc<ReloadingIdentity>>) -> Self {
        self.identity = identity;
        self
    }
}

/// How often a connection in use looks whether its certificate is still the current one.
const LOOK: Duration = Duration::from_secs(1);

/// The certificate a connection was opened with.
struct Shown {
    identity: Arc<ReloadingIdentity>,
    stamp: Option<SystemTime>,
    next: Instant,
}

impl Shown {
    fn of(identity: Arc<ReloadingIdentity>) -> Self {
        Self { stamp: identity.stamp(), identity, next: Instant::now() + LOOK }
    }

    /// Whether there is another by now.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.next = now + LOOK;
        self.identity.renewed_since(self.stamp)
    }
}

pub(crate) struct Stream {
    io: TokioIo<Box<dyn Io>>,
    http2: bool,
    shown: Option<Shown>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let plain = uri.scheme_str() == Some("http");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let server_name = self.server_name.clone();
        let tls = self.tls.clone();
        let identity = self.identity.clone();
        let tcp = self.http.call(uri);
        Box::pin(async move {
            let tcp = tcp.await?.into_inner();
            if plain {
                return Ok(Stream { io: TokioIo::new(Box::new(tcp)), http2: false, shown: None });
            }
            let name = match server_name {
                Some(name) => name,
                None => ServerName::try_from(host)?,
            };
            let stream = tokio_rustls::TlsConnector::from(tls).connect(name, tcp).await?;
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(Stream { io: TokioIo::new(Box::new(stream)), http2, shown: identity.map(Shown::of) })
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.shown.as_mut().is_some_and(Shown::is_over) {
            // The end of the stream: requests in flight fail and are made again, on a new connection.
            tracing::info!("client certificate rotated, closing the connection opened with the one before");
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_follows_the_environment() {
        let check = |idle: Option<&str>, answer: Option<&str>, expected: Option<(u64, u64)>| {
            let found = KeepAlive::read(|name| {
                let value = if name.starts_with("HTTP2_READ") { idle } else { answer };
                value.map(str::to_owned)
            });
            let expected = expected.map(|(idle, answer)| KeepAlive {
                idle: Duration::from_secs(idle),
                answer: Duration::from_secs(answer),
            });
            assert_eq!(found, expected, "{idle:?} {answer:?}");
        };
        check(None, None, Some((30, 15)));
        check(Some("5"), Some("2"), Some((5, 2)));
        check(Some("many"), Some(""), Some((30, 15)));
        check(Some("0"), None, None);
    }
}
