//! Flags.

use clap::Parser;
use gantry_daemon::logs::LogArgs;
use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Parser)]
#[command(name = "gantry-dns", about = "Cluster DNS", version)]
pub struct Flags {
    /// Path to a kubeconfig; in-cluster credentials where absent.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The domain of the cluster's own names.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    #[arg(long, default_value_t = 53)]
    pub port: u16,
    /// The port of `/livez`, `/readyz` and `/metrics`.
    #[arg(long, default_value_t = 8080)]
    pub health_port: u16,
    /// Where other names are asked; the name servers of /etc/resolv.conf where absent.
    #[arg(long, value_delimiter = ',')]
    pub forward: Vec<IpAddr>,
    /// Seconds clients may keep an answer.
    #[arg(long, default_value_t = 5)]
    pub ttl: u32,
    #[command(flatten)]
    pub log: LogArgs,
}
