//! From flags, a kubeconfig or the pod's own environment to a client.

use crate::connector::{Connector, KeepAlive};
use http::header::USER_AGENT;
use http::{HeaderValue, Uri};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use parking_lot::Mutex;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tower::ServiceBuilder;

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("error loading config file {path:?}: {source}")]
    Kubeconfig { path: PathBuf, source: kube::config::KubeconfigError },
    #[error(
        "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined: {0}"
    )]
    InCluster(kube::config::InClusterError),
    #[error("invalid master URL {0:?}: {1}")]
    Master(String, http::uri::InvalidUri),
    #[error("invalid TLS server name {0:?}")]
    ServerName(String),
    #[error("invalid user agent or impersonated user")]
    Header,
    #[error(transparent)]
    Client(#[from] kube::Error),
}

/// How to reach one apiserver as one identity. Token files are read again each minute, client certificate
/// files on a new connection after they changed.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    config: Config,
    user_agent: String,
    http1_only: bool,
    keep_alive: Option<KeepAlive>,
}

impl ClientConfig {
    /// Reads one kubeconfig file and takes its current context.
    ///
    /// # Errors
    /// Where the file is missing, broken, or names what it does not hold.
    pub async fn from_kubeconfig(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::from_kubeconfig_context(path, &KubeConfigOptions::default()).await
    }

    /// As [`Self::from_kubeconfig`], with a context, cluster or user chosen.
    ///
    /// # Errors
    /// As there.
    pub async fn from_kubeconfig_context(
        path: impl AsRef<Path>,
        options: &KubeConfigOptions,
    ) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let wrap = |source| ConfigError::Kubeconfig { path: path.into(), source };
        let kubeconfig = Kubeconfig::read_from(path).map_err(wrap)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, options).await.map_err(wrap)?;
        Ok(Self::new(config))
    }

    /// The service account of the pod we run in.
    ///
    /// # Errors
    /// Outside a pod.
    pub fn in_cluster() -> Result<Self, ConfigError> {
        Config::incluster().map(Self::new).map_err(ConfigError::InCluster)
    }

    /// `--kubeconfig` and `--master`, as daemons take them: the file, else the pod's environment; `master`
    /// overrides the address.
    ///
    /// # Errors
    /// As the others.
    pub async fn from_flags(kubeconfig: Option<&Path>, master: Option<&str>) -> Result<Self, ConfigError> {
        let mut found = match kubeconfig {
            Some(path) => Self::from_kubeconfig(path).await?,
            None => Self::in_cluster()?,
        };
        if let Some(master) = master.filter(|m| !m.is_empty()) {
            found.config.cluster_url =
                master.parse::<Uri>().map_err(|e| ConfigError::Master(master.to_owned(), e))?;
        }
        Ok(found)
    }

    /// From an already resolved kube configuration.
    pub fn new(config: Config) -> Self {
        Self { config, user_agent: "gantry".into(), http1_only: false, keep_alive: KeepAlive::from_env() }
    }

    /// The underlying configuration (server address, certificates), for callers that need to show it.
    pub fn kube(&self) -> &Config {
        &self.config
    }

    #[must_use]
    pub fn user_agent(mut self, agent: impl Into<String>) -> Self {
        self.user_agent = agent.into();
        self
    }

    /// Acts as another user, with the caller's right to impersonate.
    #[must_use]
    pub fn impersonate(mut self, user: &str, groups: &[&str]) -> Self {
        self.config.auth_info.impersonate = Some(user.to_owned());
        self.config.auth_info.impersonate_groups = Some(groups.iter().map(|g| (*g).to_owned()).collect());
        self
    }

    /// As another bearer token instead of the configured identity (service account per controller).
    #[must_use]
    pub fn with_token(mut self, token: String) -> Self {
        self.config.auth_info = kube::config::AuthInfo { token: Some(token.into()), ..Default::default() };
        self
    }

    /// As the service account token in a file, read again each minute.
    #[must_use]
    pub fn with_token_file(mut self, path: &Path) -> Self {
        self.config.auth_info = kube::config::AuthInfo {
            token_file: Some(path.to_string_lossy().into_owned()),
            ..Default::default()
        };
        self
    }

    /// Speaks HTTP/1.1 only; needed for exec, attach and port-forward, which upgrade their connection.
    #[must_use]
    pub fn http1_only(mut self) -> Self {
        self.http1_only = true;
        self
    }

    /// Gives a silent connection up after other times than those of the environment: asks the peer when it has
    /// been silent for `idle`, and waits for an answer for `answer`.
    #[must_use]
    pub fn keep_alive(mut self, idle: Duration, answer: Duration) -> Self {
        self.keep_alive = Some(KeepAlive { idle, answer });
        self
    }

    /// A client with its own connection pool. Needs a runtime around it.
    ///
    /// # Errors
    /// Where certificates, keys or names are not sound.
    pub fn build(&self) -> Result<Client, ConfigError> {
        let (config, http) = self.connections()?;
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .map_err(tower::BoxError::from)
            .service(http);
        Ok(Client::new(service, config.default_namespace))
    }

    /// Connections to the same server without any identity, for clients that each bring a token.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn bearers(&self) -> Result<Bearers, ConfigError> {
        let mut bare = self.clone();
        bare.config.auth_info = kube::config::AuthInfo::default();
        let (config, http) = bare.connections()?;
        Ok(Bearers { config, http })
    }

    fn connections(&self) -> Result<(Config, Http), ConfigError> {
        // An error says a provider is installed already, and there is only this one in the tree.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = self.config.clone();
        let agent = HeaderValue::from_str(&self.user_agent).map_err(|_| ConfigError::Header)?;
        config.headers.push((USER_AGENT, agent));
        let mut tls = config.rustls_client_config()?;
        let mut identity = None;
        if let (Some(certificate), Some(key)) =
            (&config.auth_info.client_certificate, &config.auth_info.client_key)
            && config.auth_info.client_certificate_data.is_none()
        {
            let reloading = Arc::new(ReloadingIdentity::new(certificate.into(), key.into()));
            tls.client_auth_cert_resolver = reloading.clone();
            identity = Some(reloading);
        }
        if !self.http1_only {
            tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        tls.resumption = rustls::client::Resumption::in_memory_sessions(4);
        let server_name = config
            .tls_server_name
            .clone()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| ConfigError::ServerName(name)))
            .transpose()?;
        let http: Http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .http2_keep_alive_interval(self.keep_alive.map(|k| k.idle))
            .http2_keep_alive_timeout(self.keep_alive.map_or(Duration::MAX, |k| k.answer))
            .http2_keep_alive_while_idle(true)
            .http2_initial_stream_window_size(256 << 10)
            .http2_initial_connection_window_size(1 << 20)
            .build(Connector::new(tls, server_name, self.keep_alive).with_identity(identity));
        Ok((config, http))
    }
}

type Http = hyper_util::client::legacy::Client<Connector, Body>;

/// A bearer token that may be replaced while clients use it; requests wait for the first one.
#[derive(Clone)]
pub struct Bearer(Arc<tokio::sync::watch::Sender<Option<HeaderValue>>>);

impl Default for Bearer {
    fn default() -> Self {
        Self(Arc::new(tokio::sync::watch::channel(None).0))
    }
}

impl Bearer {
    /// # Errors
    /// Where the token cannot stand in a header.
    pub fn set(&self, token: &str) -> Result<(), ConfigError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ConfigError::Header)?;
        value.set_sensitive(true);
        self.0.send_replace(Some(value));
        Ok(())
    }
}

/// One connection pool for many identities; see [`ClientConfig::bearers`].
#[derive(Clone)]
pub struct Bearers {
    config: Config,
    http: Http,
}

impl Bearers {
    /// A client that acts as whoever the token names.
    ///
    /// # Errors
    /// Where the configured headers are not sound.
    pub fn client(&self, bearer: &Bearer) -> Result<Client, ConfigError> {
        let http = self.http.clone();
        let tokens = bearer.0.clone();
        let service = ServiceBuilder::new()
            .layer(self.config.base_uri_layer())
            .layer(self.config.extra_headers_layer()?)
            .map_err(tower::BoxError::from)
            .service(tower::service_fn(move |mut request: http::Request<Body>| {
                let (http, mut tokens) = (http.clone(), tokens.subscribe());
                async move {
                    // The sender lives in the service, so a token comes or the request is dropped.
                    if let Ok(token) = tokens.wait_for(Option::is_some).await.map(|t| t.clone())
                        && let Some(token) = token
                    {
                        request.headers_mut().insert(http::header::AUTHORIZATION, token);
                    }
                    http.request(request).await.map_err(tower::BoxError::from)
                }
            }));
        Ok(Client::new(service, self.config.default_namespace.clone()))
    }
}

/// A client certificate in files, loaded again for a new connection once they changed.
#[derive(Debug)]
pub(crate) struct ReloadingIdentity {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Mutex<Option<(SystemTime, Arc<CertifiedKey>)>>,
}

impl ReloadingIdentity {
    fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, loaded: Mutex::new(None) }
    }

    /// When the certificate last shown was written.
    pub(crate) fn stamp(&self) -> Option<SystemTime> {
        self.loaded.lock().as_ref().map(|(at, _)| *at)
    }

    /// Whether another certificate can be shown than the one written at `stamp`.
    pub(crate) fn renewed_since(&self, stamp: Option<SystemTime>) -> bool {
        let (Some(then), Ok(now)) = (stamp, std::fs::metadata(&self.certificate).and_then(|m| m.modified()))
        else {
            return false;
        };
        now != then && self.load().is_some()
    }

    fn load(&self) -> Option<Arc<CertifiedKey>> {
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(&self.certificate).ok()?.collect::<Result<_, _>>().ok()?;
        let key = PrivateKeyDer::from_pem_file(&self.key).ok()?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key).ok()?;
        Some(Arc::new(CertifiedKey::new(chain, key)))
    }
}

impl ResolvesClientCert for ReloadingIdentity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let stamp =
            std::fs::metadata(&self.certificate).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut loaded = self.loaded.lock();
        if loaded.as_ref().is_none_or(|(at, _)| *at != stamp) {
            match self.load() {
                Some(key) => *loaded = Some((stamp, key)),
                // Half-written or gone: the last good pair serves until the next connection.
                None => tracing::warn!(path = %self.certificate.display(), "cannot load client certificate"),
            }
        }
        loaded.as_ref().map(|(_, key)| key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
