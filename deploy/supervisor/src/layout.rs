//! The files and addresses of a cluster, in one place.

use crate::Datastore;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

pub const POD_CIDR: &str = "10.244.0.0/16";
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The first address of the service range: `kubernetes.default`.
pub const API_SERVICE: &str = "10.96.0.1";
pub const DNS_SERVICE: &str = "10.96.0.10";
pub const CLUSTER_DOMAIN: &str = "cluster.local";
pub const BRIDGE: &str = "gantry0";
pub const API_PORT: u16 = 6443;
pub const REGISTRY_PORT: u16 = 5000;
/// Where the metrics API is served; `deploy/manifests/metrics.yaml` leads there.
pub const METRICS_PORT: u16 = 4443;
/// The Service of the metrics API, in `kube-system`.
pub const METRICS_SERVICE: &str = "gantry-metrics";
/// The host name images carry; containerd resolves it to the local registry through a mirror entry.
pub const REGISTRY_HOST: &str = "registry.gantry.internal";

/// What was asked for at the last `up`, kept so that `down` and later `up`s agree with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub nodes: u8,
    pub etcd: bool,
}

impl Spec {
    pub fn new(nodes: u8, datastore: Datastore) -> Self {
        Self { nodes, etcd: datastore == Datastore::Etcd }
    }
}

/// One node: the machine itself, or a network namespace on it.
#[derive(Clone, Debug)]
pub struct Node {
    /// 1 for the machine itself.
    pub index: u8,
    pub name: String,
    pub address: Ipv4Addr,
}

impl Node {
    pub fn namespace(&self) -> Option<String> {
        (self.index > 1).then(|| format!("gantry-{}", self.index))
    }

    /// Short paths for sockets, whose names the kernel limits to 108 bytes.
    pub fn run_dir(&self) -> PathBuf {
        PathBuf::from(format!("/run/gantry/{}", self.name))
    }

    pub fn containerd_socket(&self) -> PathBuf {
        self.run_dir().join("containerd.sock")
    }

    /// The parent of this node's pod cgroups, so that nodes on one machine keep apart.
    pub fn cgroup_root(&self) -> String {
        if self.index == 1 { "/".into() } else { format!("/gantry-{}", self.index) }
    }
}

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Layout {
    pub dir: PathBuf,
    pub bins: PathBuf,
    pub repo: PathBuf,
}

impl Layout {
    /// # Errors
    /// Where the directory cannot be made.
    pub fn new(repo: &Path, dir: Option<PathBuf>) -> anyhow::Result<Self> {
        let dir = dir.unwrap_or_else(|| repo.join(".cluster"));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let bins = std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { dir, bins, repo: repo.to_path_buf() })
    }

    pub fn sub(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    pub fn text(&self, path: &str) -> String {
        self.sub(path).display().to_string()
    }

    pub fn bin(&self, name: &str) -> String {
        self.bins.join(name).display().to_string()
    }

    pub fn node_dir(&self, node: &Node) -> PathBuf {
        self.dir.join("nodes").join(&node.name)
    }

    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.sub("admin.kubeconfig")
    }

    pub fn load_spec(&self) -> Option<Spec> {
        serde_json::from_slice(&std::fs::read(self.sub("cluster.json")).ok()?).ok()
    }

    /// # Errors
    /// Where the directory cannot be written.
    pub fn save_spec(&self, spec: &Spec) -> anyhow::Result<()> {
        Ok(std::fs::write(self.sub("cluster.json"), serde_json::to_vec_pretty(spec)?)?)
    }
}

/// The address of node `index` on the bridge; the bridge itself holds the first.
pub fn address(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 31, 240, index)
}

pub fn nodes(spec: &Spec) -> Vec<Node> {
    (1..=spec.nodes)
        .map(|index| Node { index, name: format!("node-{index}"), address: address(index) })
        .collect()
}
