//! Connections to kubelets: HTTP/1.1 over TLS, one a node, kept between rounds.

use crate::config::Config;
use crate::kinds::Node;
use anyhow::Context;
use bytes::Bytes;
use gantry_client::ClientConfig;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The largest page taken.
const LIMIT: usize = 64 << 20;
const PATH: &str = "/metrics/resource";

/// Why a kubelet did not tell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no address matched types [{0}]")]
    Address(String),
    #[error("{0} is no name a certificate can have")]
    Name(String),
    #[error("connection to {0} failed: {1}")]
    Connection(String, std::io::Error),
    #[error("request to {0} failed: {1}")]
    Request(String, Box<dyn std::error::Error + Send + Sync>),
    #[error("request failed, status: {0:?}")]
    Status(String),
    #[error("{0}")]
    Page(String),
}

type Sender = SendRequest<Empty<Bytes>>;

pub struct Kubelets {
    tls: TlsConnector,
    /// The file of a bearer token, read anew for each request: it is replaced every hour.
    token: Option<PathBuf>,
    address_types: Vec<String>,
    port: Option<u16>,
    idle: Mutex<HashMap<String, (String, Sender)>>,
}

/// Where a node's kubelet listens: the first address of the most preferred type there is.
fn place(node: &Node, types: &[String], port: Option<u16>) -> Result<(String, u16), Error> {
    let of = |wanted: &String| node.status.addresses.iter().find(|a| a.type_ == *wanted);
    let address = types.iter().find_map(of).ok_or_else(|| Error::Address(types.join(" ")))?;
    let own = node.status.daemon_endpoints.kubelet_endpoint.as_ref();
    let port = port.or_else(|| u16::try_from(own?.port).ok()).filter(|p| *p > 0).unwrap_or(10250);
    Ok((address.address.clone(), port))
}

impl Kubelets {
    /// With the certificate or token file, and by default the authority, of the connection to the apiserver.
    ///
    /// # Errors
    /// Where the authority cannot be read.
    pub fn new(config: &Config, client: &ClientConfig) -> anyhow::Result<Self> {
        let mut own = client.kube().clone();
        own.accept_invalid_certs = config.kubelet_insecure;
        if let Some(path) = &config.kubelet_authority {
            let pem = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            let roots = gantry_pki::verify::certificates(&pem).with_context(|| path.display().to_string())?;
            own.root_cert = Some(roots.into_iter().map(|der| der.to_vec()).collect());
            own.root_cert_file = None;
        }
        let mut tls = own.rustls_client_config()?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsConnector::from(Arc::new(tls)),
            token: own.auth_info.token_file.map(PathBuf::from),
            address_types: config.address_types.clone(),
            port: config.kubelet_port,
            idle: Mutex::default(),
        })
    }

    /// A kubelet's page of resource metrics.
    ///
    /// # Errors
    /// No address, no connection, a refusal.
    pub async fn page(&self, node: &Node) -> Result<String, Error> {
        let (host, port) = place(node, &self.address_types, self.port)?;
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let known = self.idle.lock().remove(node.name()).filter(|(to, _)| *to == authority);
        if let Some((_, mut sender)) = known
            && sender.ready().await.is_ok()
            && let Ok(page) = self.ask(&mut sender, &authority).await
        {
            self.idle.lock().insert(node.name().to_owned(), (authority, sender));
            return Ok(page);
        }
        // None was open, or the kubelet closed it meanwhile.
        let mut sender = self.connect(&host, port, &authority).await?;
        let page = self.ask(&mut sender, &authority).await?;
        self.idle.lock().insert(node.name().to_owned(), (authority, sender));
        Ok(page)
    }

    /// Closes connections to nodes that are no more.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.idle.lock().retain(|node, _| is_there(node));
    }

    async fn connect(&self, host: &str, port: u16, authority: &str) -> Result<Sender, Error> {
        let failed = |e| Error::Connection(authority.to_owned(), e);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Name(host.to_owned()))?;
        let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
        // Latency matters more than packet counts; an error only means slower answers.
        let _ = stream.set_nodelay(true);
        let stream = self.tls.connect(name, stream).await.map_err(failed)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Error::Request(authority.to_owned(), e.into()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a kubelet ended");
            }
        });
        Ok(sender)
    }

    fn bearer(&self) -> Option<String> {
        let path = self.token.as_ref()?;
        let token = std::fs::read_to_string(path)
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "cannot read the token"))
            .ok()?;
        Some(format!("Bearer {}", token.trim()))
    }

    async fn ask(&self, sender: &mut Sender, authority: &str) -> Result<String, Error> {
        let mut request = Request::get(PATH)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, "gantry-metrics")
            .header(header::ACCEPT, "text/plain");
        if let Some(bearer) = self.bearer() {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| Error::Request(authority.to_owned(), e);
        let request = request.body(Empty::new()).map_err(|e| failed(e.into()))?;
        let answer = sender.send_request(request).await.map_err(|e| failed(e.into()))?;
        if !answer.status().is_success() {
            return Err(Error::Status(answer.status().to_string()));
        }
        let body = Limited::new(answer.into_body(), LIMIT).collect().await.map_err(failed)?;
        String::from_utf8(body.to_bytes().into()).map_err(|e| Error::Page(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{DaemonEndpoint, NodeAddress};

    #[test]
    fn addresses_are_chosen_by_type() {
        let check = |addresses: &[(&str, &str)], types: &str, port: Option<u16>, own: i32, want: &str| {
            let mut node = Node::default();
            node.status.addresses = addresses
                .iter()
                .map(|(t, a)| NodeAddress { type_: (*t).into(), address: (*a).into() })
                .collect();
            node.status.daemon_endpoints.kubelet_endpoint = Some(DaemonEndpoint { port: own });
            let types: Vec<String> = types.split(',').map(str::to_owned).collect();
            let got = place(&node, &types, port);
            assert_eq!(got.map_or_else(|e| e.to_string(), |(h, p)| format!("{h} {p}")), want);
        };
        let both = [("InternalIP", "10.0.0.1"), ("Hostname", "n"), ("InternalIP", "fd00::1")];
        check(&both, "Hostname,InternalIP", Some(10250), 0, "n 10250");
        check(&both, "ExternalIP,InternalIP", None, 10255, "10.0.0.1 10255");
        check(&both, "InternalIP", None, 0, "10.0.0.1 10250");
        check(&[], "InternalIP,Hostname", None, 1, "no address matched types [InternalIP Hostname]");
    }
}
