//! A client certificate of our own: asked for with the bootstrap identity, renewed with itself.

use crate::config::Config;
use anyhow::Context as _;
use base64::Engine as _;
use gantry_client::ClientConfig;
use gantry_pki::keys::PrivateKey;
use gantry_pki::{Profile, ca};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{Api, PostParams};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// How long one request is waited for before the next is made.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Certificate and key together, where the kubeconfig points.
fn pair_path(config: &Config) -> PathBuf {
    config.cert_dir.join("kubelet-client-current.pem")
}

/// Makes the kubeconfig where there is none and a bootstrap one is named.
///
/// # Errors
/// Where the bootstrap identity cannot be used or nobody signs.
pub async fn ensure(config: &Config) -> anyhow::Result<()> {
    let (Some(target), Some(from)) = (&config.kubeconfig, &config.bootstrap_kubeconfig) else {
        return Ok(());
    };
    if target.exists() {
        return Ok(());
    }
    let with = ClientConfig::from_kubeconfig(from).await.context("cannot read the bootstrap kubeconfig")?;
    let client = with.clone().user_agent(gantry_daemon::version::user_agent("kubelet")).build()?;
    tracing::info!("asking for a client certificate");
    obtain(config, client).await?;
    write_kubeconfig(&with, target, &std::path::absolute(pair_path(config))?)
}

/// Asks for a certificate until one is issued, and stores it with its key.
async fn obtain(config: &Config, client: kube::Client) -> anyhow::Result<()> {
    let api: Api<CertificateSigningRequest> = Api::all(client);
    let profile = Profile::client(format!("system:node:{}", config.node_name), Some("system:nodes"));
    loop {
        let key = PrivateKey::generate()?;
        let mut wanted = CertificateSigningRequest::default();
        wanted.metadata.generate_name = Some("node-csr-".into());
        wanted.spec = CertificateSigningRequestSpec {
            request: ByteString(ca::request(&key, &profile)?.into_bytes()),
            signer_name: SIGNER.into(),
            usages: Some(vec!["digital signature".into(), "client auth".into()]),
            ..Default::default()
        };
        let made =
            api.create(&PostParams::default(), &wanted).await.context("cannot request a certificate")?;
        let name = made.metadata.name.unwrap_or_default();
        match tokio::time::timeout(PATIENCE, issued(&api, &name)).await {
            Ok(Ok(Some(cert))) => {
                std::fs::create_dir_all(&config.cert_dir)?;
                let text = format!("{cert}\n{}", key.to_pem());
                return Ok(gantry_pki::write_private(&pair_path(config), &text)?);
            }
            Ok(Err(error)) => return Err(error),
            Ok(Ok(None)) | Err(_) => {
                tracing::warn!(name, "nobody signed the certificate request, making another")
            }
        }
    }
}

/// The certificate, once it is there; `None` where the request is gone.
async fn issued(api: &Api<CertificateSigningRequest>, name: &str) -> anyhow::Result<Option<String>> {
    let mut pause = Duration::from_millis(200);
    loop {
        let status = match api.get_opt(name).await {
            Ok(Some(found)) => found.status.unwrap_or_default(),
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::debug!(%error, "cannot look at the certificate request");
                Default::default()
            }
        };
        if let Some(cert) = status.certificate {
            return Ok(Some(String::from_utf8(cert.0)?));
        }
        if let Some(c) =
            status.conditions.iter().flatten().find(|c| c.type_ == "Denied" || c.type_ == "Failed")
        {
            anyhow::bail!(
                "certificate signing request {name} was {}: {}",
                c.type_.to_lowercase(),
                c.message.clone().unwrap_or_default()
            );
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn write_kubeconfig(with: &ClientConfig, target: &Path, pair: &Path) -> anyhow::Result<()> {
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut authority = String::new();
    for der in with.kube().root_cert.iter().flatten() {
        authority.push_str("-----BEGIN CERTIFICATE-----\n");
        for chunk in encode(der).as_bytes().chunks(64) {
            authority.push_str(&String::from_utf8_lossy(chunk));
            authority.push('\n');
        }
        authority.push_str("-----END CERTIFICATE-----\n");
    }
    let (server, pair) = (with.kube().cluster_url.to_string(), pair.to_string_lossy());
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: {:?}\n  \
         name: default-cluster\ncontexts:\n- context:\n    cluster: default-cluster\n    namespace: default\n    \
         user: default-auth\n  name: default-context\ncurrent-context: default-context\nusers:\n- name: default-auth\n  \
         user:\n    client-certificate: {pair:?}\n    client-key: {pair:?}\n",
        encode(authority.as_bytes()),
        server.trim_end_matches('/'),
    );
    Ok(gantry_pki::write_private(target, &text)?)
}

/// Renews the certificate ahead of its end, for as long as the kubelet runs.
pub async fn rotate(config: Config, client: kube::Client) {
    let path = pair_path(&config);
    loop {
        let Ok(text) = gantry_pki::read(&path) else { return };
        let Ok(facts) = gantry_pki::verify::facts(&text) else { return };
        let left = gantry_pki::ensure::renewal(&facts).duration_since(jiff::Timestamp::now());
        tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
        if let Err(error) = obtain(&config, client.clone()).await {
            tracing::warn!(%error, "cannot renew the client certificate");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
}
