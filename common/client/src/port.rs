//! The secure port of a control plane daemon: health, metrics and version over TLS, authenticated and
//! authorized by asking the apiserver, as upstream delegates both.

use crate::informer::Scope;
use crate::{Client, Informer};
use anyhow::Context;
use clap::Args;
use gantry_daemon::ops::{Ask, Authorize, Ops, Verdict};
use gantry_daemon::serving;
use gantry_daemon::serving::Peer;
use gantry_daemon::tls::{Pem, TlsOptions, TlsSource};
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ConfigMap;
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
    let follows = client_ca.is_none();
    let tls = Arc::new(TlsSource::new(TlsOptions { certificate, key, client_ca, http2: true })?);
    let address = SocketAddr::new(args.bind_address, port);
    let listener = serving::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    if follows {
        follow_client_ca(&client, &tls, &stop);
    }
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

/// Believes the client authorities the apiserver publishes in `kube-system/extension-apiserver-authentication`,
/// whatever they come to be.
fn follow_client_ca(client: &Client, tls: &Arc<TlsSource>, stop: &CancellationToken) {
    let scope = Scope {
        namespace: "kube-system".into(),
        field_selector: Some("metadata.name=extension-apiserver-authentication".into()),
        ..Scope::default()
    };
    let informer: Informer<ConfigMap> = Informer::new(client.clone(), scope);
    let tls = tls.clone();
    informer.on(move |delta| {
        if delta.is_deleted() {
            return; // It comes back; what it said holds until then.
        }
        let bundle = delta.object().data.as_ref().and_then(|d| d.get("client-ca-file")).cloned();
        let ca = bundle.filter(|b| !b.is_empty()).map(|b| Pem::Data(b.into_bytes()));
        if let Err(error) = tls.believe(ca) {
            tracing::warn!(%error, "cannot use the published client CA, keeping the last one");
        }
    });
    informer.start(stop);
}

/// Authenticates client certificates (which TLS has verified) and, by `TokenReview`, bearer tokens; whoever has
/// neither is anonymous. Authorizes by `SubjectAccessReview`, all but `system:masters`.
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

/// The user a verified certificate names, if any.
fn of_certificate(peer: Option<&Peer>) -> Option<UserInfo> {
    let (name, mut groups) = gantry_pki::verify::subject(peer?.certificates.first()?).ok()?;
    groups.push("system:authenticated".into());
    (!name.is_empty()).then(|| UserInfo { username: Some(name), groups: Some(groups), ..UserInfo::default() })
}

fn anonymous() -> UserInfo {
    UserInfo {
        username: Some("system:anonymous".into()),
        groups: Some(vec!["system:unauthenticated".into()]),
        ..UserInfo::default()
    }
}

/// The user behind a token; `None` where the apiserver does not know it.
async fn of_token(client: &Client, token: &str) -> Result<Option<UserInfo>, kube::Error> {
    let review = TokenReview {
        spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
        ..TokenReview::default()
    };
    let tokens: Api<TokenReview> = Api::all(client.clone());
    let status = tokens.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
    Ok(status.user.filter(|_| status.authenticated == Some(true)))
}

async fn decide(client: Client, ask: Ask) -> Result<Verdict, kube::Error> {
    let header = ask.headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
    let user = match (of_certificate(ask.peer.as_ref()), header.strip_prefix("Bearer ")) {
        (Some(user), _) => user,
        (None, Some(token)) => match of_token(&client, token).await? {
            Some(user) => user,
            None => return Ok(Verdict::Unauthenticated),
        },
        (None, None) => anonymous(),
    };
    if user.groups.iter().flatten().any(|g| g == "system:masters") {
        return Ok(Verdict::Allowed);
    }
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
