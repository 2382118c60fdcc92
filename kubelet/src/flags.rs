//! The command line, as typed.

use clap::Parser;
use std::path::PathBuf;

/// The node agent. Flags are upstream's; those that a configuration file may hold too win over it.
#[derive(Parser, Clone, Debug)]
#[command(name = "kubelet", version = gantry_daemon::version::GIT_VERSION, disable_help_subcommand = true)]
pub struct Flags {
    /// File with a KubeletConfiguration.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// How to reach the API server. Without it the kubelet runs static pods only.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Used to ask for a client certificate when the file named by --kubeconfig does not exist.
    #[arg(long = "bootstrap-kubeconfig")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Name of this node instead of the host's.
    #[arg(long = "hostname-override")]
    pub hostname_override: Option<String>,
    /// Address of the node, or two comma-separated ones of different families.
    #[arg(long = "node-ip")]
    pub node_ip: Option<String>,
    /// Where pods' files live.
    #[arg(long = "root-dir", default_value = "/var/lib/kubelet")]
    pub root_dir: PathBuf,
    /// Where certificates live.
    #[arg(long = "cert-dir", default_value = "/var/lib/kubelet/pki")]
    pub cert_dir: PathBuf,
    /// Labels to register the node with, `key=value` separated by commas.
    #[arg(long = "node-labels")]
    pub node_labels: Option<String>,
    /// Taints to register the node with, `key=value:effect` separated by commas.
    #[arg(long = "register-with-taints")]
    pub register_with_taints: Option<String>,
    #[arg(long = "register-node")]
    pub register_node: Option<bool>,
    #[arg(long = "container-runtime-endpoint")]
    pub container_runtime_endpoint: Option<String>,
    #[arg(long = "pod-manifest-path")]
    pub pod_manifest_path: Option<PathBuf>,
    #[arg(long = "cluster-dns", value_delimiter = ',')]
    pub cluster_dns: Option<Vec<String>>,
    #[arg(long = "cluster-domain")]
    pub cluster_domain: Option<String>,
    #[arg(long = "cgroup-root")]
    pub cgroup_root: Option<String>,
    #[arg(long = "cgroup-driver")]
    pub cgroup_driver: Option<String>,
    #[arg(long = "max-pods")]
    pub max_pods: Option<i64>,
    #[arg(long = "port")]
    pub port: Option<i32>,
    #[arg(long = "address")]
    pub address: Option<String>,
    #[arg(long = "resolv-conf")]
    pub resolv_conf: Option<PathBuf>,
    #[arg(long = "provider-id")]
    pub provider_id: Option<String>,
    #[arg(long = "fail-swap-on")]
    pub fail_swap_on: Option<bool>,
    /// Renew the client certificate by requests to the API before it runs out.
    #[arg(long = "rotate-certificates", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub rotate_certificates: Option<bool>,
    /// Ask the API for a serving certificate, and renew it.
    #[arg(long = "rotate-server-certificates", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub rotate_server_certificates: Option<bool>,
    #[arg(long = "tls-cert-file")]
    pub tls_cert_file: Option<PathBuf>,
    #[arg(long = "tls-private-key-file")]
    pub tls_private_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub logs: gantry_daemon::logs::LogArgs,
}
