//! From flags and kubeconfig files to a server and an identity.

pub mod file;

use crate::error::{Result, message};
use crate::flags::global::Global;
use gantry_client::ClientConfig;
use gantry_types::field::go_quote;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use std::path::PathBuf;

/// The kubeconfig files in order of precedence: `--kubeconfig`, `$KUBECONFIG`, `~/.kube/config`.
pub fn paths(global: &Global) -> Vec<PathBuf> {
    if !global.kubeconfig.is_empty() {
        return vec![PathBuf::from(&global.kubeconfig)];
    }
    if let Some(list) = std::env::var_os("KUBECONFIG").filter(|v| !v.is_empty()) {
        return std::env::split_paths(&list).filter(|p| !p.as_os_str().is_empty()).collect();
    }
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config")).into_iter().collect()
}

/// Reads and merges the kubeconfig files; the first to say something wins.
///
/// # Errors
/// A broken file, or a missing one that `--kubeconfig` names.
pub fn load(global: &Global) -> Result<Kubeconfig> {
    let mut merged = Kubeconfig::default();
    for path in paths(global) {
        if !path.exists() {
            if global.kubeconfig.is_empty() {
                continue;
            }
            return Err(message(format!("stat {}: no such file or directory", path.display())));
        }
        let found = Kubeconfig::read_from(&path).map_err(|e| {
            message(format!("error loading config file {}: {e}", go_quote(&path.to_string_lossy())))
        })?;
        merged = merged.merge(found).map_err(|e| message(e.to_string()))?;
    }
    Ok(merged)
}

/// A server, an identity and the namespace to work in.
pub struct Resolved {
    pub client: ClientConfig,
    pub namespace: String,
    /// `host:port`, as messages name the server.
    pub host: String,
    /// The server's address.
    pub server: String,
}

fn set(slot: &mut Option<String>, value: &str) {
    if !value.is_empty() {
        *slot = Some(value.to_owned());
    }
}

/// Resolves flags over files over the pod's own environment.
///
/// # Errors
/// Contexts, clusters and users that do not exist; unreadable certificates; bad addresses.
pub async fn resolve(global: &Global) -> Result<Resolved> {
    let file = load(global)?;
    let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    let context = some(&global.context).or_else(|| file.current_context.clone()).filter(|c| !c.is_empty());
    let known = context.as_ref().is_some_and(|c| file.contexts.iter().any(|n| n.name == *c));
    if let (Some(name), false) = (&context, known)
        && (!global.context.is_empty() || !file.contexts.is_empty())
    {
        return Err(message(format!("context {} does not exist", go_quote(name))));
    }
    let mut namespace = None;
    let mut config = if known {
        namespace = file
            .contexts
            .iter()
            .find(|n| Some(&n.name) == context.as_ref())
            .and_then(|n| n.context.as_ref())
            .and_then(|c| c.namespace.clone());
        let options = KubeConfigOptions { context, cluster: some(&global.cluster), user: some(&global.user) };
        let mut file = file;
        overrides(&mut file, global);
        Config::from_custom_kubeconfig(file, &options).await.map_err(|e| message(e.to_string()))?
    } else if global.server.is_empty() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        let config = Config::incluster().map_err(|e| message(e.to_string()))?;
        namespace = Some(config.default_namespace.clone());
        config
    } else {
        let server = if global.server.is_empty() { "http://localhost:8080" } else { &global.server };
        let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let mut config =
            Config::new(server.parse().map_err(|e| message(format!("invalid server address: {e}")))?);
        if !global.certificate_authority.is_empty() {
            config.root_cert_file = Some(PathBuf::from(&global.certificate_authority));
        }
        config
    };
    let auth = &mut config.auth_info;
    if !global.token.is_empty() {
        auth.token = Some(global.token.clone().into());
        auth.token_file = None;
    }
    set(&mut auth.client_certificate, &global.client_certificate);
    set(&mut auth.client_key, &global.client_key);
    if !global.client_certificate.is_empty() {
        auth.client_certificate_data = None;
    }
    if !global.client_key.is_empty() {
        auth.client_key_data = None;
    }
    set(&mut auth.impersonate, &global.as_user);
    if !global.as_groups.is_empty() {
        if global.as_user.is_empty() {
            return Err(message("requesting uid, groups or user-extra without impersonating a user"));
        }
        auth.impersonate_groups = Some(global.as_groups.clone());
    }
    if !global.as_uid.is_empty() {
        if global.as_user.is_empty() {
            return Err(message("requesting uid, groups or user-extra without impersonating a user"));
        }
        let uid = global.as_uid.parse().map_err(|_| message("invalid --as-uid"))?;
        config.headers.push((http::HeaderName::from_static("impersonate-uid"), uid));
    }
    set(&mut config.tls_server_name, &global.tls_server_name);
    if global.insecure {
        config.accept_invalid_certs = true;
        config.root_cert = None;
        config.root_cert_file = None;
    }
    config.default_retry = false;
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let namespace = some(&global.namespace)
        .or_else(|| namespace.filter(|n| !n.is_empty()))
        .unwrap_or_else(|| "default".into());
    let client = ClientConfig::new(config).user_agent(concat!("kctl/v", env!("CARGO_PKG_VERSION")));
    Ok(Resolved { client, namespace, host, server })
}

/// Flags that replace what the chosen cluster says, so that it need not be sound itself.
fn overrides(file: &mut Kubeconfig, global: &Global) {
    for named in &mut file.clusters {
        let Some(cluster) = &mut named.cluster else { continue };
        set(&mut cluster.server, &global.server);
        if !global.certificate_authority.is_empty() {
            cluster.certificate_authority_data = None;
            set(&mut cluster.certificate_authority, &global.certificate_authority);
        }
    }
}
