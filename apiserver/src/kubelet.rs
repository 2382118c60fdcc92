//! Reaching kubelets and pods: addresses, TLS, and one connection per proxied request.

use crate::config::{KeyPair, Kubelet};
use gantry_types::{Document, Status, StatusResult};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde::Deserialize;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Why backends cannot be reached as configured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("kubelet client: {0}")]
    Pem(String),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// A byte stream to a backend.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Where a proxied request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub tls: TargetTls,
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetTls {
    /// Plain HTTP, to pods and services.
    None,
    /// HTTPS without looking at the certificate, as upstream reaches pods and services.
    Unverified,
    /// With our client certificate, against the kubelet CA when there is one.
    Kubelet,
}

/// How backends are reached.
pub struct Backends {
    address_types: Vec<String>,
    kubelet: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
}

/// Takes any certificate: upstream does, where no authority is configured for kubelets, and for pods.
#[derive(Debug)]
struct AnyCertificate(rustls::crypto::WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// TLS as a client: against these authorities, or any certificate; as `pair`, where there is one.
///
/// # Errors
/// Where a certificate or key is not one.
pub(crate) fn client(ca: Option<&str>, pair: Option<&KeyPair>) -> Result<Arc<ClientConfig>, Error> {
    let pem = |e: rustls_pki_types::pem::Error| Error::Pem(e.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for cert in CertificateDer::pem_slice_iter(ca.as_bytes()) {
                roots.add(cert.map_err(pem)?)?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(algorithms))),
    };
    let config = match pair {
        Some(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(pem)?;
            builder.with_client_auth_cert(
                chain,
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(pem)?,
            )?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

impl Backends {
    /// # Errors
    /// Where a certificate or key is not one.
    pub fn new(config: &Kubelet) -> Result<Self, Error> {
        Ok(Self {
            address_types: config.address_types.clone(),
            kubelet: client(config.ca.as_deref(), config.client.as_ref())?,
            unverified: client(None, None)?,
        })
    }

    /// The kubelet of a node, at the first of its addresses in the preferred order of types.
    ///
    /// # Errors
    /// 500 where the node has no address yet, in upstream's words.
    pub fn kubelet_of(&self, node: &Document) -> StatusResult<Target> {
        let addresses: Vec<Address> = node.get_at(&["status", "addresses"]).unwrap_or_default();
        let host = self
            .address_types
            .iter()
            .find_map(|kind| addresses.iter().find(|a| a.kind == *kind))
            .map(|a| a.address.clone())
            .ok_or_else(|| Status::internal("no preferred addresses found; known addresses: []"))?;
        let port: u16 = node
            .get_at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"])
            .filter(|p| *p != 0)
            .unwrap_or(10250);
        Ok(Target { tls: TargetTls::Kubelet, host, port })
    }

    /// Opens a connection for one request or stream.
    ///
    /// # Errors
    /// 503 where nobody answers there, in the words of upstream's proxy.
    pub async fn connect(&self, target: &Target) -> StatusResult<Box<dyn Io>> {
        let trouble =
            |why: String| Status::service_unavailable(format!("error trying to reach service: {why}"));
        let unreachable = |why: String| trouble(format!("dial tcp {}:{}: {why}", target.host, target.port));
        let stream = dial(&target.host, target.port).await.map_err(trouble)?;
        let config = match target.tls {
            TargetTls::None => return Ok(Box::new(stream)),
            TargetTls::Unverified => &self.unverified,
            TargetTls::Kubelet => &self.kubelet,
        };
        over_tls(config.clone(), &target.host, stream).await.map_err(unreachable)
    }
}

/// A TCP connection.
///
/// # Errors
/// Why there is none, as Go says it.
pub(crate) async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let connecting = TcpStream::connect((host, port));
    let stream = match tokio::time::timeout(std::time::Duration::from_secs(30), connecting).await {
        Err(_) => return Err(format!("dial tcp {host}:{port}: i/o timeout")),
        Ok(Err(e)) => return Err(format!("dial tcp {host}:{port}: connect: {}", go_error(&e))),
        Ok(Ok(stream)) => stream,
    };
    // Latency matters more than packet counts.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// TLS over a connection, with whoever `name` is.
///
/// # Errors
/// Why the other end is not believed.
pub(crate) async fn over_tls(
    config: Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
) -> Result<Box<dyn Io>, String> {
    let name = ServerName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(config);
    Ok(Box::new(connector.connect(name, stream).await.map_err(|e| e.to_string())?))
}

/// An operating system error as Go prints it.
fn go_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "no route to host".into(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        _ => error.to_string(),
    }
}
