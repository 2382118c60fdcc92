//! Server certificates from files that may change while we run.

use parking_lot::Mutex;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read {path:?}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{0}: no certificate or key found in PEM data: {1}")]
    Pem(String, rustls_pki_types::pem::Error),
    #[error("no certificates found in {0}")]
    Empty(String),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("client CA: {0}")]
    ClientCa(String),
}

/// PEM text, from a file looked at again when it changes, or fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    File(PathBuf),
    Data(Vec<u8>),
}

impl Pem {
    fn read(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Data(data) => Ok(data.clone()),
            Self::File(path) => {
                std::fs::read(path).map_err(|source| Error::Read { path: path.clone(), source })
            }
        }
    }

    fn changed_at(&self) -> Option<SystemTime> {
        match self {
            Self::Data(_) => None,
            Self::File(path) => std::fs::metadata(path).and_then(|m| m.modified()).ok(),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Data(_) => "PEM data".into(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// What a TLS port presents and whom it believes.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Leaf first, then intermediates.
    pub certificate: Pem,
    pub key: Pem,
    /// When set, client certificates are asked for and, where sent, must chain to these. Sending none is
    /// always allowed; what an anonymous client may do is the handler's matter.
    pub client_ca: Option<Pem>,
    /// `h2` and `http/1.1` when true; `http/1.1` alone otherwise.
    pub http2: bool,
}

struct State {
    options: TlsOptions,
    config: Arc<ServerConfig>,
    stamps: Vec<Option<SystemTime>>,
    looked: Instant,
}

/// The current server configuration, rebuilt on a handshake after a file has changed (looked at no more than
/// once in ten seconds). A broken replacement keeps the last good one.
pub struct TlsSource {
    state: Mutex<State>,
}

const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl TlsSource {
    /// # Errors
    /// Where a file is missing or is not what it should be.
    pub fn new(options: TlsOptions) -> Result<Self, Error> {
        let config = build(&options)?;
        let stamps = stamps(&options);
        Ok(Self { state: Mutex::new(State { options, config, stamps, looked: Instant::now() }) })
    }

    /// Believes other client authorities (or none), from the next handshake on.
    ///
    /// # Errors
    /// Where they are not certificates: what was believed before stays.
    pub fn believe(&self, client_ca: Option<Pem>) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.options.client_ca == client_ca {
            return Ok(());
        }
        let options = TlsOptions { client_ca, ..state.options.clone() };
        state.config = build(&options)?;
        state.stamps = stamps(&options);
        state.options = options;
        Ok(())
    }

    pub fn current(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock();
        if state.looked.elapsed() > LOOK_AGAIN {
            state.looked = Instant::now();
            let now = stamps(&state.options);
            if now != state.stamps {
                match build(&state.options) {
                    Ok(config) => {
                        tracing::info!(
                            certificate = state.options.certificate.name(),
                            "reloaded serving certificate"
                        );
                        state.config = config;
                        state.stamps = now;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot reload serving certificate, keeping the last one")
                    }
                }
            }
        }
        state.config.clone()
    }
}

fn stamps(options: &TlsOptions) -> Vec<Option<SystemTime>> {
    [Some(&options.certificate), Some(&options.key), options.client_ca.as_ref()]
        .into_iter()
        .flatten()
        .map(Pem::changed_at)
        .collect()
}

/// Parses every certificate in PEM text.
///
/// # Errors
/// Where there is none, or one is broken.
pub fn certificates(pem: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Pem(name.into(), e))?;
    if found.is_empty() { Err(Error::Empty(name.into())) } else { Ok(found) }
}

fn build(options: &TlsOptions) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&options.certificate.read()?, &options.certificate.name())?;
    let key =
        PrivateKeyDer::from_pem_slice(&options.key.read()?).map_err(|e| Error::Pem(options.key.name(), e))?;
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(&ca.read()?, &ca.name())?);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|e| Error::ClientCa(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    if options.http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    // A small ticket cache: clients are few and keep their connections.
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(64);
    Ok(Arc::new(config))
}
