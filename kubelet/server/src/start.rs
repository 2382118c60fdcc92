//! Opening the port.

use crate::auth::{Gate, Policy};
use crate::review::{Remote, Reviews};
use crate::server::Server;
use crate::stats::Collector;
use gantry_daemon::serving::{self, ServeOptions};
use gantry_daemon::tls::{Pem, TlsOptions, TlsSource};
use gantry_kubelet_cri::view::NodeView;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the kubelet's configuration says about its port.
pub struct Options {
    pub node_name: String,
    pub bind: SocketAddr,
    /// Names and addresses for a certificate of our own making.
    pub hostname: String,
    pub addresses: Vec<IpAddr>,
    /// `tlsCertFile` and `tlsPrivateKeyFile`; without them one is made, as `kubelet.crt` in `cert_dir`.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    pub cert_dir: PathBuf,
    pub client_ca: Option<PathBuf>,
    pub policy: Policy,
    pub root_dir: PathBuf,
    /// The body of `/configz`, JSON.
    pub configz: Vec<u8>,
    /// For reviews.
    pub client: Option<kube::Client>,
}

/// Why the port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error(transparent)]
    Tls(#[from] gantry_daemon::tls::Error),
    #[error("cannot make a serving certificate: {0}")]
    Certificate(String),
}

/// Opens the port and serves it in the background until `stop`. Answers the address it listens on.
///
/// # Errors
/// Where the address is taken or a certificate is no good.
pub async fn start(
    options: Options,
    view: Arc<dyn NodeView>,
    stop: CancellationToken,
) -> Result<SocketAddr, Error> {
    let (certificate, key) = match &options.tls_files {
        Some((certificate, key)) => (certificate.clone(), key.clone()),
        None => self_signed(&options).map_err(Error::Certificate)?,
    };
    let tls = TlsSource::new(TlsOptions {
        certificate: Pem::File(certificate),
        key: Pem::File(key),
        client_ca: options.client_ca.clone().map(Pem::File),
        http2: true,
    })?;
    let reviews = options.client.map(|c| Arc::new(Remote(c)) as Arc<dyn Reviews>);
    let server = Arc::new(Server {
        view,
        gate: Gate::new(options.node_name.clone(), options.policy, reviews),
        collector: Collector::new(options.node_name, options.root_dir),
        configz: options.configz,
    });
    let failed = |e| Error::Listen(options.bind, e);
    let listener = serving::bind(options.bind).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let handle = move |request| {
        let server = server.clone();
        async move { server.handle(request).await }
    };
    tokio::spawn(serving::serve(listener, Some(Arc::new(tls)), ServeOptions::default(), stop, handle));
    Ok(address)
}

/// Makes a certificate where there is none yet; like upstream's, it is signed by nobody the API server knows.
fn self_signed(options: &Options) -> Result<(PathBuf, PathBuf), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let files = (options.cert_dir.join("kubelet.crt"), options.cert_dir.join("kubelet.key"));
    if files.0.exists() && files.1.exists() {
        return Ok(files);
    }
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let now = jiff::Timestamp::now();
    let name = format!("{}@{}", options.hostname, now.as_second());
    let ca = gantry_pki::Ca::create(
        &format!("{}-ca@{}", options.hostname, now.as_second()),
        now,
        gantry_pki::LEAF_LIFETIME,
    )
    .map_err(|e| text(&e))?;
    let mut names = vec![options.hostname.clone()];
    names.extend(options.addresses.iter().map(ToString::to_string));
    let issued = ca.issue(&gantry_pki::Profile::server(name, names), now).map_err(|e| text(&e))?;
    std::fs::create_dir_all(&options.cert_dir).map_err(|e| text(&e))?;
    for (path, body, mode) in [(&files.0, &issued.cert, 0o644), (&files.1, &issued.key, 0o600)] {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)
            .map_err(|e| text(&e))?;
        std::io::Write::write_all(&mut file, body.as_bytes()).map_err(|e| text(&e))?;
    }
    Ok(files)
}
