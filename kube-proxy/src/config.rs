//! Flags and the `KubeProxyConfiguration` file, and what they resolve to.

use anyhow::{Context, bail};
use clap::Parser;
use gantry_daemon::logs::LogArgs;
use gantry_kube_proxy_core::Options;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "kube-proxy", about = "The Kubernetes network proxy of a node", version)]
pub struct Flags {
    /// The path to the configuration file; it wins over the other flags, save --hostname-override.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Path to kubeconfig file with authorization information.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The address of the Kubernetes API server (overrides any value in kubeconfig).
    #[arg(long)]
    master: Option<String>,
    /// The name of the node this process serves; the host name where absent.
    #[arg(long)]
    hostname_override: Option<String>,
    /// The range of pods' addresses; traffic from elsewhere to cluster addresses is masqueraded.
    #[arg(long, default_value = "")]
    cluster_cidr: String,
    /// Which proxy mode to use; `nftables` is the one there is.
    #[arg(long, default_value = "nftables")]
    proxy_mode: String,
    /// Masquerade all traffic to cluster addresses.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    masquerade_all: String,
    /// Ranges of addresses node ports answer on; all local ones where absent.
    #[arg(long, value_delimiter = ',')]
    nodeport_addresses: Vec<String>,
    /// The address and port of the health check server.
    #[arg(long, default_value = "0.0.0.0:10256")]
    healthz_bind_address: String,
    /// The address and port of the metrics server.
    #[arg(long, default_value = "127.0.0.1:10249")]
    metrics_bind_address: String,
    /// The shortest time between two changes of the rules.
    #[arg(long, default_value = "10ms")]
    min_sync_period: String,
    #[command(flatten)]
    pub log: LogArgs,
}

/// The part of `kubeproxy.config.k8s.io/v1alpha1` this proxy acts on; other known fields are accepted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    client_connection: ClientConnection,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: String,
    hostname_override: String,
    mode: String,
    healthz_bind_address: String,
    metrics_bind_address: String,
    node_port_addresses: Vec<String>,
    nftables: Nftables,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClientConnection {
    kubeconfig: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Nftables {
    masquerade_all: bool,
}

/// What the flags and the file mean.
#[derive(Clone, Debug)]
pub struct Config {
    pub kubeconfig: Option<PathBuf>,
    pub master: Option<String>,
    pub node: String,
    pub rules: Options,
    /// `None`: not served.
    pub healthz: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    pub min_sync: Duration,
}

impl Config {
    /// # Errors
    /// Naming the flag or field that makes no sense.
    pub fn resolve(flags: Flags) -> anyhow::Result<Self> {
        let file: File = match &flags.config {
            Some(path) => gantry_daemon::config_file::load(
                path,
                "KubeProxyConfiguration",
                &["kubeproxy.config.k8s.io/v1alpha1"],
            )?,
            None => File {
                cluster_cidr: flags.cluster_cidr,
                mode: flags.proxy_mode,
                healthz_bind_address: flags.healthz_bind_address,
                metrics_bind_address: flags.metrics_bind_address,
                node_port_addresses: flags.nodeport_addresses,
                nftables: Nftables { masquerade_all: flags.masquerade_all == "true" },
                ..File::default()
            },
        };
        if !matches!(file.mode.as_str(), "" | "nftables") {
            bail!("unsupported proxy mode {:?}: this proxy has \"nftables\"", file.mode);
        }
        let ranges = [&file.cluster_cidr].into_iter().filter(|c| !c.is_empty());
        for cidr in
            ranges.flat_map(|c| c.split(',')).chain(file.node_port_addresses.iter().map(String::as_str))
        {
            cidr.parse::<ipnet::IpNet>().with_context(|| format!("{cidr:?} is not a range of addresses"))?;
        }
        let cluster_cidr = file.cluster_cidr.split(',').find(|c| c.contains('.')).map(str::to_owned);
        let kubeconfig = Some(file.client_connection.kubeconfig).filter(|k| !k.is_empty()).map(PathBuf::from);
        let node = match flags.hostname_override.or(Some(file.hostname_override).filter(|h| !h.is_empty())) {
            Some(name) => name,
            None => {
                std::fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host name")?
            }
        };
        Ok(Self {
            kubeconfig: kubeconfig.or(flags.kubeconfig),
            master: flags.master,
            node: node.trim().to_lowercase(),
            rules: Options {
                cluster_cidr,
                masquerade_all: file.nftables.masquerade_all,
                node_port_addresses: file
                    .node_port_addresses
                    .into_iter()
                    .filter(|a| a.contains('.'))
                    .collect(),
            },
            healthz: address("healthz-bind-address", &file.healthz_bind_address)?,
            metrics: address("metrics-bind-address", &file.metrics_bind_address)?,
            min_sync: period(&flags.min_sync_period)?,
        })
    }
}

fn address(flag: &str, text: &str) -> anyhow::Result<Option<SocketAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).with_context(|| format!("--{flag}: {text:?} is not an address and port"))
}

fn period(text: &str) -> anyhow::Result<Duration> {
    let parsed = match text.strip_suffix("ms") {
        Some(ms) => ms.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s').and_then(|s| s.parse().ok()).map(Duration::from_secs),
    };
    parsed.with_context(|| format!("--min-sync-period: {text:?} is not a duration such as 10ms or 1s"))
}
