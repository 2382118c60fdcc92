//! The flags every command takes, raw; [`crate::config`] resolves them.

use super::{Args, Flag, array, on, text};

pub const FLAGS: &[Flag] = &[
    text("kubeconfig", "Path to the kubeconfig file to use for CLI requests."),
    text("context", "The name of the kubeconfig context to use"),
    text("cluster", "The name of the kubeconfig cluster to use"),
    text("user", "The name of the kubeconfig user to use"),
    text("namespace", "If present, the namespace scope for this CLI request").short('n'),
    text("server", "The address and port of the Kubernetes API server").short('s'),
    text("token", "Bearer token for authentication to the API server"),
    text("as", "Username to impersonate for the operation."),
    array("as-group", "Group to impersonate for the operation; may be given several times."),
    text("as-uid", "UID to impersonate for the operation."),
    text("certificate-authority", "Path to a cert file for the certificate authority"),
    text("client-certificate", "Path to a client certificate file for TLS"),
    text("client-key", "Path to a client key file for TLS"),
    text("tls-server-name", "Server name to use for server certificate validation."),
    on("insecure-skip-tls-verify", "If true, the server's certificate will not be checked for validity."),
    text("request-timeout", "How long to wait before giving up on a single server request; 0 waits forever.")
        .default("0"),
    text("cache-dir", "Accepted for compatibility; kctl keeps no cache."),
    on("disable-compression", "Accepted for compatibility; responses are never compressed."),
    on("match-server-version", "Require server version to match client version"),
    on(
        "warnings-as-errors",
        "Treat warnings received from the server as errors and exit with a non-zero exit code",
    ),
    text("v", "Number for the log level verbosity").short('v').default("0"),
];

/// The raw global flags.
#[derive(Clone, Debug, Default)]
pub struct Global {
    pub kubeconfig: String,
    pub context: String,
    pub cluster: String,
    pub user: String,
    pub namespace: String,
    pub server: String,
    pub token: String,
    pub as_user: String,
    pub as_groups: Vec<String>,
    pub as_uid: String,
    pub certificate_authority: String,
    pub client_certificate: String,
    pub client_key: String,
    pub tls_server_name: String,
    pub insecure: bool,
    pub timeout: Option<std::time::Duration>,
    pub verbosity: i64,
    pub warnings_as_errors: bool,
}

impl Global {
    /// Picks the global flags out of a command line.
    ///
    /// # Errors
    /// Malformed timeouts and levels.
    pub fn read(args: &Args) -> crate::error::Result<Self> {
        let text = |name: &str| args.text(name).to_owned();
        Ok(Self {
            kubeconfig: text("kubeconfig"),
            context: text("context"),
            cluster: text("cluster"),
            user: text("user"),
            namespace: text("namespace"),
            server: text("server"),
            token: text("token"),
            as_user: text("as"),
            as_groups: args.list("as-group"),
            as_uid: text("as-uid"),
            certificate_authority: text("certificate-authority"),
            client_certificate: text("client-certificate"),
            client_key: text("client-key"),
            tls_server_name: text("tls-server-name"),
            insecure: args.on("insecure-skip-tls-verify"),
            timeout: args.duration("request-timeout")?,
            verbosity: args.int("v")?,
            warnings_as_errors: args.on("warnings-as-errors"),
        })
    }
}
