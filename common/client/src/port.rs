//! The secure port of a control plane daemon: health, metrics and version over TLS, authenticated and
//! authorized by asking the apiserver, as upstream delegates both.

use crate::Client;
use anyhow::Context;
use clap::Args;
use gantry_daemon::ops::{Ask, Authorize, Ops, Verdict};
use gantry_daemon::serving;
use gantry_daemon::tls::{Pem, TlsOptions, TlsSource};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The flags of the port.
#[derive(Args, Clone, Debug)]
pub struct PortArgs {
    /// The IP address on which to listen for the --secure-port port.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port on which to serve HTTPS with authentication and authorization; 0 serves none, the daemon's own
    /// well-known port where absent.
    #[arg(long)]
    pub secure_port: Option<u16>,
    #[arg(long)]
    pub tls_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub tls_private_key_file: Option<PathBuf>,
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// Accepted; the daemon's own credentials serve for delegation.
    #[arg(long)]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// Accepted; the daemon's own credentials serve for delegation.
    #[arg(long)]
    pub authorization_kubeconfig: Option<PathBuf>,
}

/// Opens the port (`default_port` where none is given) and serves it until `stop`; does nothing for port 0.
/// Without certificate files it presents a certificate of its own making, named for `component`.
///
/// # Errors
/// Where the address cannot be listened on or the certificate cannot be used.
pub async fn serve(
    args: &PortArgs,
    component: &str,
    default_port: u16,
    ops: Ops,
    client: Client,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let port = args.secure_port.unwrap_or(default_port);
    if port == 0 {
        return Ok(());
    }
    let (certificate, key) = match (&args.tls_cert_file, &args.tls_private_key_file) {
        (Some(certificate), Some(key)) => (Pem::File(certificate.clone()), Pem::File(key.clone())),
        (None, None) => self_signed(component).context("cannot make a serving certificate")?,
        _ => anyhow::bail!("--tls-cert-file and --tls-private-key-file go together"),
    };
    let client_ca = args.client_ca_file.clone().map(Pem::File);
    let tls = Arc::new(TlsSource::new(TlsOptions { certificate, key, client_ca, http2: true })?);
    let address = SocketAddr::new(args.bind_address, port);
    let listener = serving::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    tokio::spawn(ops.authorized_by(delegated(client)).serve(listener, Some(tls), stop));
    Ok(())
}

fn self_signed(component: &str) -> anyhow::Result<(Pem, Pem)> {
    let now = jiff::Timestamp::now();
    let ca = gantry_pki::Ca::create(&format!("{component}-ca"), now, gantry_pki::LEAF_LIFETIME)?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issued = ca.issue(&gantry_pki::Profile::server(component, names), now)?;
    Ok((Pem::Data(issued.cert.into_bytes()), Pem::Data(issued.key.into_bytes())))
}

/// Authenticates bearer tokens by `TokenReview` and authorizes by `SubjectAccessReview`.
pub fn delegated(client: Client) -> Authorize {
    Arc::new(move |ask| {
        let client = client.clone();
        Box::pin(async move {
            match decide(client, ask).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    tracing::warn!(%error, "cannot ask the API server about a request");
                    Verdict::Unauthenticated
                }
            }
        })
    })
}

async fn decide(client: Client, ask: Ask) -> Result<Verdict, kube::Error> {
    let header = ask.headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
    let Some(token) = header.strip_prefix("Bearer ") else { return Ok(Verdict::Unauthenticated) };
    let review = TokenReview {
        spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
        ..TokenReview::default()
    };
    let tokens: Api<TokenReview> = Api::all(client.clone());
    let status = tokens.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
    let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
        return Ok(Verdict::Unauthenticated);
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(ask.path),
                verb: Some(ask.method.as_str().to_ascii_lowercase()),
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let access: Api<SubjectAccessReview> = Api::all(client);
    let status = access.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
    Ok(if status.allowed { Verdict::Allowed } else { Verdict::Forbidden })
}
