//! Serving HTTP/1.1 and HTTP/2 on a listener, with or without TLS, until told to stop.

use crate::tls::TlsSource;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls_pki_types::CertificateDer;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Who is at the other end; in every request's extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// The verified client certificate chain, leaf first; empty where none was sent or asked for.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// Limits of a server.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// How long a client may take over its TLS handshake, and over its request's header.
    pub header_timeout: Duration,
    pub max_concurrent_streams: u32,
    /// How long open requests may go on after the stop signal.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(32),
            max_concurrent_streams: 250,
            drain: Duration::from_secs(10),
        }
    }
}

/// Opens a listener with `SO_REUSEADDR`, as upstream does, so that a restart need not wait.
///
/// # Errors
/// Where the address is taken or not ours.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Serves until `stop`; then refuses new connections, lets open requests finish within the drain time and
/// returns. `handle` is called for each request, with [`Peer`] in its extensions. `tls: None` serves plain.
pub async fn serve<H, F, B>(
    listener: TcpListener,
    tls: Option<Arc<TlsSource>>,
    options: ServeOptions,
    stop: CancellationToken,
    handle: H,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let tasks = TaskTracker::new();
    let force = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                // Out of descriptors, most likely: give connections time to end.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, options, stop, force, handle) =
            (tls.clone(), options.clone(), stop.clone(), force.clone(), handle.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = force.cancelled() => {}
                () = connection(stream, address, tls, options, stop, handle) => {}
            }
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(options.drain, tasks.wait()).await.is_err() {
        force.cancel();
        tasks.wait().await;
    }
}

async fn connection<H, F, B>(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<TlsSource>>,
    options: ServeOptions,
    stop: CancellationToken,
    handle: H,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Latency matters more than packet counts; an error only means slower answers.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        let peer = Peer { address, certificates: Arc::from([]) };
        return http(TokioIo::new(stream), peer, options, stop, handle).await;
    };
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.current());
    match tokio::time::timeout(options.header_timeout, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificates = stream
                .get_ref()
                .1
                .peer_certificates()
                .map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect())
                .unwrap_or_default();
            http(TokioIo::new(stream), Peer { address, certificates }, options, stop, handle).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake error"),
        Err(_) => tracing::debug!(%address, "TLS handshake timed out"),
    }
}

async fn http<I, H, F, B>(io: I, peer: Peer, options: ServeOptions, stop: CancellationToken, handle: H)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.max_concurrent_streams)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .enable_connect_protocol();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let answer = handle(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(io, service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}
