//! Flags, and what they resolve to.

use clap::{Parser, ValueEnum};
use gantry_daemon::logs::LogArgs;
use ipnet::Ipv4Net;
use std::path::PathBuf;

/// How packets reach the pods of other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// A route by way of the other node's address; for nodes on one link.
    Routes,
    /// Encapsulated in UDP, port 4789; for nodes with routers between them.
    Vxlan,
}

#[derive(Parser)]
#[command(name = "gantry-network", about = "The pod network of a node", version)]
pub struct Flags {
    /// Path to a kubeconfig; in-cluster credentials where absent.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The Node this process serves.
    #[arg(long)]
    node_name: String,
    /// Where the runtime looks for CNI configurations.
    #[arg(long, default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
    /// Where the addresses given to pods are noted. Nodes that share a file system need one each: with another
    /// node's last address for its own, a node gives each address anew at once, while neighbours still take it
    /// for the pod before.
    #[arg(long, default_value = "/var/lib/cni/networks")]
    ipam_data_dir: PathBuf,
    /// The range all pods of the cluster have their addresses from.
    #[arg(long, default_value = "10.244.0.0/16")]
    cluster_cidr: Ipv4Net,
    #[arg(long, value_enum, default_value = "routes")]
    backend: Backend,
    /// The MTU of pods' links; 0 lets the kernel choose (less vxlan's 50 bytes with that backend).
    #[arg(long, default_value_t = 0)]
    mtu: u32,
    #[command(flatten)]
    pub log: LogArgs,
}

/// What the flags mean.
#[derive(Clone, Debug)]
pub struct Config {
    pub kubeconfig: Option<PathBuf>,
    pub node_name: String,
    pub cni_conf_dir: PathBuf,
    pub ipam_data_dir: PathBuf,
    pub cluster_cidr: Ipv4Net,
    pub backend: Backend,
    /// `None`: the kernel's choice.
    pub mtu: Option<u32>,
}

impl Config {
    /// # Errors
    /// Where a flag's value makes no sense.
    pub fn resolve(flags: Flags) -> anyhow::Result<Self> {
        if flags.mtu != 0 && !(576..=65535).contains(&flags.mtu) {
            anyhow::bail!("--mtu: {} is outside 576-65535", flags.mtu);
        }
        let mtu = match (flags.mtu, flags.backend) {
            (0, Backend::Routes) => None,
            (0, Backend::Vxlan) => Some(1450),
            (mtu, _) => Some(mtu),
        };
        Ok(Self {
            kubeconfig: flags.kubeconfig,
            node_name: flags.node_name,
            cni_conf_dir: flags.cni_conf_dir,
            ipam_data_dir: flags.ipam_data_dir,
            cluster_cidr: flags.cluster_cidr,
            backend: flags.backend,
            mtu,
        })
    }
}
