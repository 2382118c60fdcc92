//! The TLS port: connections, each with an identity worked out once, and their requests.

use super::body::Body;
use super::cork::{self, Cork};
use gantry_auth::Connection;
use http::{Request, Response};
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

/// Who is at the other end of a connection; in every request's extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    pub connection: Arc<Connection>,
}

/// What a connection is served with.
pub trait Service: Send + Sync + 'static {
    /// Works out what the client's certificates say, once.
    fn connection(&self, chain: &[CertificateDer<'_>]) -> Connection;
    /// The current TLS configuration.
    fn tls(&self) -> Arc<rustls::ServerConfig>;
    fn call(self: Arc<Self>, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

const HANDSHAKE: Duration = Duration::from_secs(32);
const STREAMS: u32 = 250;

/// Serves until `stop`; then takes no new connections and gives open requests `drain` to finish.
pub async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    stop: CancellationToken,
    drain: Duration,
) {
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
        let (service, stop, force) = (service.clone(), stop.clone(), force.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = force.cancelled() => {}
                () = connection(stream, address, service, stop) => {}
            }
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
        force.cancel();
        tasks.wait().await;
    }
}

async fn connection<S: Service>(
    stream: TcpStream,
    address: SocketAddr,
    service: Arc<S>,
    stop: CancellationToken,
) {
    // Latency matters more than packet counts; an error only means slower answers.
    let _ = stream.set_nodelay(true);
    let acceptor = tokio_rustls::TlsAcceptor::from(service.tls());
    // What is corked together is to go out in one system call.
    let accepted = acceptor.accept_with(stream, |tls| tls.set_buffer_limit(Some(cork::KEEP)));
    let stream = match tokio::time::timeout(HANDSHAKE, accepted).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake error"),
        Err(_) => return tracing::debug!(%address, "TLS handshake timed out"),
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = Peer { address, connection: Arc::new(service.connection(chain)) };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_frame_size(64 << 10)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15))
        .enable_connect_protocol();
    let handler = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::other);
        request.extensions_mut().insert(peer.clone());
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.call(request).await) }
    });
    // Upgrades take HTTP/1 streams over: those are not to wait for a connection that is done.
    let result = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let (stream, sender) = Cork::new(stream);
        let mut connection =
            std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), handler));
        tokio::select! {
            result = cork::together(connection.as_mut(), &sender) => result,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                cork::together(connection, &sender).await
            }
        }
    } else {
        let mut connection =
            std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), handler));
        tokio::select! {
            result = connection.as_mut() => result,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%address, %error, "connection ended");
    }
}
