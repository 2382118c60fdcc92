//! Command line flags, raw: names and forms are kube-apiserver's. [`crate::config`] makes sense of them.

use clap::Parser;
use gantry_daemon::logs::LogArgs;
use std::net::IpAddr;
use std::path::PathBuf;

/// Which store keeps the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// One file on this machine.
    #[default]
    Embedded,
    Etcd3,
}

/// Serves the Kubernetes API from an embedded store or from etcd.
#[derive(Clone, Debug, Parser)]
#[command(name = "kube-apiserver", version = gantry_daemon::version::GIT_VERSION, disable_help_subcommand = true)]
pub struct Flags {
    /// `embedded` or `etcd3`; `etcd3` when servers are given.
    #[arg(long, value_enum)]
    pub storage_backend: Option<Backend>,
    /// Where the embedded store keeps its file.
    #[arg(long, default_value = "/var/lib/gantry/apiserver")]
    pub data_dir: PathBuf,
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    #[arg(long)]
    pub etcd_certfile: Option<PathBuf>,
    #[arg(long)]
    pub etcd_keyfile: Option<PathBuf>,
    #[arg(long, default_value = "/registry")]
    pub etcd_prefix: String,
    /// How often history is forgotten, in both stores; `0s` for never.
    #[arg(long, default_value = "5m0s")]
    pub etcd_compaction_interval: String,

    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The address members of the cluster reach this server at; found from the routes when absent.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    #[arg(long)]
    pub tls_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub tls_private_key_file: Option<PathBuf>,
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    #[arg(long, default_value = "VersionTLS12")]
    pub tls_min_version: String,

    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub anonymous_auth: bool,
    /// Whether secrets of type `bootstrap.kubernetes.io/token` in `kube-system` authenticate.
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub enable_bootstrap_token_auth: bool,
    #[arg(long)]
    pub service_account_key_file: Vec<PathBuf>,
    #[arg(long)]
    pub service_account_signing_key_file: Option<PathBuf>,
    #[arg(long)]
    pub service_account_issuer: Vec<String>,
    #[arg(long)]
    pub service_account_jwks_uri: Option<String>,
    /// Seconds with a unit, `24h`; `0s` for no limit.
    #[arg(long, default_value = "0s")]
    pub service_account_max_token_expiration: String,
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub service_account_extend_token_expiration: bool,
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    #[arg(long)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
    #[arg(long, value_delimiter = ',', default_value = "Node,RBAC")]
    pub authorization_mode: Vec<String>,

    #[arg(long, value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    #[arg(long)]
    pub admission_control_config_file: Option<PathBuf>,
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub allow_privileged: bool,
    #[arg(long, default_value_t = 300)]
    pub default_not_ready_toleration_seconds: i64,
    #[arg(long, default_value_t = 300)]
    pub default_unreachable_toleration_seconds: i64,

    #[arg(long, value_delimiter = ',', default_value = "10.0.0.0/24")]
    pub service_cluster_ip_range: Vec<ipnet::IpNet>,
    #[arg(long, default_value = "30000-32767")]
    pub service_node_port_range: String,
    #[arg(long, default_value = "1h0m0s")]
    pub event_ttl: String,

    #[arg(long)]
    pub kubelet_client_certificate: Option<PathBuf>,
    #[arg(long)]
    pub kubelet_client_key: Option<PathBuf>,
    #[arg(long)]
    pub kubelet_certificate_authority: Option<PathBuf>,
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP"
    )]
    pub kubelet_preferred_address_types: Vec<String>,
    #[arg(long)]
    pub proxy_client_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub proxy_client_key_file: Option<PathBuf>,

    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    #[arg(long, default_value = "1m0s")]
    pub request_timeout: String,
    #[arg(long, default_value_t = 1800)]
    pub min_request_timeout: u64,
    #[arg(long, default_value = "0s")]
    pub shutdown_delay_duration: String,

    #[command(flatten)]
    pub inert: Inert,
    #[command(flatten)]
    pub logs: LogArgs,
}

/// Flags of kube-apiserver that are taken and change nothing here, so that its manifests start us unchanged.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Accepted without effect")]
pub struct Inert {
    #[arg(long)]
    pub endpoint_reconciler_type: Option<String>,
    #[arg(long)]
    pub profiling: Option<bool>,
    #[arg(long)]
    pub enable_aggregator_routing: Option<bool>,
    #[arg(long)]
    pub apiserver_count: Option<u32>,
    #[arg(long)]
    pub kubelet_timeout: Option<String>,
    #[arg(long)]
    pub kubelet_port: Option<u16>,
    #[arg(long)]
    pub storage_media_type: Option<String>,
    #[arg(long)]
    pub feature_gates: Vec<String>,
    #[arg(long)]
    pub runtime_config: Vec<String>,
    #[arg(long)]
    pub watch_cache: Option<bool>,
    #[arg(long)]
    pub default_watch_cache_size: Option<u32>,
    #[arg(long)]
    pub watch_cache_sizes: Vec<String>,
    #[arg(long)]
    pub enable_priority_and_fairness: Option<bool>,
    #[arg(long)]
    pub goaway_chance: Option<f64>,
}

impl Inert {
    /// The flags given, by name, for the log.
    pub fn given(&self) -> Vec<&'static str> {
        let mut out = Vec::new();
        let mut note = |given: bool, name| out.extend(given.then_some(name));
        note(self.endpoint_reconciler_type.is_some(), "--endpoint-reconciler-type");
        note(self.profiling.is_some(), "--profiling");
        note(self.enable_aggregator_routing.is_some(), "--enable-aggregator-routing");
        note(self.apiserver_count.is_some(), "--apiserver-count");
        note(self.kubelet_timeout.is_some(), "--kubelet-timeout");
        note(self.kubelet_port.is_some(), "--kubelet-port");
        note(self.storage_media_type.is_some(), "--storage-media-type");
        note(!self.feature_gates.is_empty(), "--feature-gates");
        note(!self.runtime_config.is_empty(), "--runtime-config");
        note(self.watch_cache.is_some(), "--watch-cache");
        note(self.default_watch_cache_size.is_some(), "--default-watch-cache-size");
        note(!self.watch_cache_sizes.is_empty(), "--watch-cache-sizes");
        note(self.enable_priority_and_fairness.is_some(), "--enable-priority-and-fairness");
        note(self.goaway_chance.is_some(), "--goaway-chance");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeadm_like_command_line_is_taken() {
        let flags = Flags::try_parse_from([
            "kube-apiserver",
            "--advertise-address=10.0.0.1",
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--client-ca-file=/pki/ca.crt",
            "--enable-admission-plugins=NodeRestriction",
            "--profiling=true",
            "--etcd-servers=https://127.0.0.1:2379,https://b:2379",
            "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--v=2",
        ])
        .unwrap();
        assert_eq!(flags.etcd_servers.len(), 2);
        assert_eq!(flags.inert.given(), ["--profiling"]);
        assert!(Flags::try_parse_from(["kube-apiserver", "--no-such-flag"]).is_err());
    }
}
