//! What the port presents: a certificate from files that may change while we run.

use crate::config::Config;
use gantry_auth::authenticate::RequestClientCert;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Why the port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path:?}: {why}")]
    Pem { path: PathBuf, why: String },
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Ca(#[from] gantry_pki::Error),
}

struct State {
    config: Arc<ServerConfig>,
    stamps: [Option<SystemTime>; 2],
    looked: Instant,
}

/// The current configuration, rebuilt on a handshake after a file has changed. A broken replacement keeps the
/// last good one.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    verifier: Arc<RequestClientCert>,
    state: Mutex<State>,
}

const LOOK_AGAIN: Duration = Duration::from_secs(10);

fn build(
    certificate: &PathBuf,
    key: &PathBuf,
    verifier: &Arc<RequestClientCert>,
) -> Result<Arc<ServerConfig>, Error> {
    let wrong = |path: &PathBuf, why: rustls_pki_types::pem::Error| Error::Pem {
        path: path.clone(),
        why: why.to_string(),
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|e| wrong(certificate, e))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.clone())
        .with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Clients are few and keep their connections; a resumed session would skip the certificate.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

impl Tls {
    /// # Errors
    /// Where a file is missing or is not what it should be.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let header = config.request_header.as_ref().map(|r| r.ca.as_str());
        let bundles: Vec<&str> = config.client_ca.as_deref().into_iter().chain(header).collect();
        let verifier = Arc::new(RequestClientCert::new(&bundles)?);
        let (certificate, key) = (config.certificate.clone(), config.key.clone());
        let built = build(&certificate, &key, &verifier)?;
        let this = Self {
            certificate,
            key,
            verifier,
            state: Mutex::new(State { config: built, stamps: [None; 2], looked: Instant::now() }),
        };
        this.state.lock().stamps = this.stamps();
        Ok(this)
    }

    fn stamps(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
    }

    pub fn current(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock();
        if state.looked.elapsed() > LOOK_AGAIN {
            state.looked = Instant::now();
            let stamps = self.stamps();
            if stamps != state.stamps {
                match build(&self.certificate, &self.key, &self.verifier) {
                    Ok(config) => {
                        state.config = config;
                        state.stamps = stamps;
                    }
                    Err(error) => tracing::warn!(%error, "cannot reload the serving certificate"),
                }
            }
        }
        state.config.clone()
    }
}
