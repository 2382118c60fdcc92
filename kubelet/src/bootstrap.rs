//! A client certificate of our own: asked for with the bootstrap identity, renewed with itself.

use crate::certificates::Manager;
use crate::config::Config;
use anyhow::Context as _;
use base64::Engine as _;
use gantry_client::ClientConfig;
use std::path::{Path, PathBuf};

/// Certificate and key together, where the kubeconfig points.
fn pair_path(config: &Config) -> PathBuf {
    config.cert_dir.join("kubelet-client-current.pem")
}

/// The client certificate, as it is kept.
pub fn manager(config: &Config) -> Manager {
    Manager::client(&config.node_name, pair_path(config))
}

/// Makes the kubeconfig where there is none, or its certificate has run out, and a bootstrap one is named.
///
/// # Errors
/// Where the bootstrap identity cannot be used or nobody signs.
pub async fn ensure(config: &Config) -> anyhow::Result<()> {
    let (Some(target), Some(from)) = (&config.kubeconfig, &config.bootstrap_kubeconfig) else {
        return Ok(());
    };
    let manager = manager(config);
    let over = manager.held().is_some_and(|held| held.not_after <= jiff::Timestamp::now());
    if target.exists() && !over {
        return Ok(());
    }
    let with = ClientConfig::from_kubeconfig(from).await.context("cannot read the bootstrap kubeconfig")?;
    let client = with.clone().user_agent(gantry_daemon::version::user_agent("kubelet")).build()?;
    tracing::info!("asking for a client certificate");
    manager.obtain(client).await?;
    write_kubeconfig(&with, target, &std::path::absolute(pair_path(config))?)
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
