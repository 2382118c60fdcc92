//! Kubeconfig files with embedded credentials, one cluster, one user.

use crate::{Error, Issued};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// What goes into a kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubeconfig<'a> {
    /// `kubernetes`, mostly.
    pub cluster: &'a str,
    /// `https://host:port`.
    pub server: &'a str,
    /// The authority's bundle, PEM.
    pub ca: &'a str,
    pub user: &'a str,
    pub credentials: &'a Issued,
}

impl Kubeconfig<'_> {
    /// The file's text, in the order client-go writes it.
    pub fn to_yaml(&self) -> String {
        let q = |s: &str| format!("{s:?}");
        let b64 = |s: &str| STANDARD.encode(s);
        format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    server: {server}\n  \
             name: {cluster}\ncontexts:\n- context:\n    cluster: {cluster}\n    user: {user}\n  name: {context}\n\
             current-context: {context}\nkind: Config\nusers:\n- name: {user}\n  user:\n    \
             client-certificate-data: {cert}\n    client-key-data: {key}\n",
            ca = b64(self.ca),
            server = q(self.server),
            cluster = q(self.cluster),
            user = q(self.user),
            context = q(&format!("{}@{}", self.user, self.cluster)),
            cert = b64(&self.credentials.cert),
            key = b64(&self.credentials.key),
        )
    }
}

/// The credentials found in a kubeconfig this crate, kubeadm or kubectl wrote with embedded data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    pub server: String,
    /// PEM.
    pub ca: String,
    /// PEM.
    pub cert: String,
    /// PEM.
    pub key: String,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    #[serde(default)]
    server: String,
    #[serde(default)]
    certificate_authority_data: String,
}

#[derive(Deserialize)]
struct NamedUser {
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    #[serde(default)]
    client_certificate_data: String,
    #[serde(default)]
    client_key_data: String,
}

/// Reads the first cluster and user of a kubeconfig.
///
/// # Errors
/// Where it is no kubeconfig, or its data is not embedded.
pub fn parse(text: &str) -> Result<Embedded, Error> {
    let bad = |why: &dyn std::fmt::Display| Error::malformed("kubeconfig", why);
    let file: File = serde_saphyr::from_str(text).map_err(|e| bad(&e))?;
    let cluster = file.clusters.into_iter().next().ok_or_else(|| bad(&"no cluster"))?.cluster;
    let user = file.users.into_iter().next().ok_or_else(|| bad(&"no user"))?.user;
    let decode = |data: &str| -> Result<String, Error> {
        let bytes = STANDARD.decode(data.trim()).map_err(|e| bad(&e))?;
        String::from_utf8(bytes).map_err(|e| bad(&e))
    };
    Ok(Embedded {
        server: cluster.server,
        ca: decode(&cluster.certificate_authority_data)?,
        cert: decode(&user.client_certificate_data)?,
        key: decode(&user.client_key_data)?,
    })
}
