//! The server without its port: the same chain, called in the same process. For tests and for tools that
//! embed an apiserver; whoever calls shows real certificates, as over TLS.

use crate::assemble::Server;
use crate::http::body::{Body, BoxError};
use crate::http::respond::Answer;
use crate::http::serve::{Peer, Service as _};
use bytes::Bytes;
use http::Request;
use rustls_pki_types::CertificateDer;
use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A connection to the server that is only a function call. Cheap to clone.
#[derive(Clone)]
pub struct InProcess {
    server: Arc<Server>,
    peer: Peer,
}

impl InProcess {
    /// `chain` is the client's certificate chain, leaf first; empty for a client that shows none and sends a
    /// token, or is anonymous.
    pub fn new(server: Arc<Server>, chain: &[CertificateDer<'_>]) -> Self {
        let connection = Arc::new(server.connection(chain));
        let peer = Peer { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), connection };
        Self { server, peer }
    }
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::other);
        request.extensions_mut().insert(self.peer.clone());
        let server = self.server.clone();
        Box::pin(async move { Ok(server.call(request).await) })
    }
}
