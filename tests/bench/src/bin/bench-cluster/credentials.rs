//! The credentials of a control plane that lives as long as a benchmark.

use gantry_pki::{Cluster, Layout};
use jiff::Timestamp;
use std::path::Path;

/// Makes authorities, certificates and kubeconfigs below `dir` for an apiserver at `server`.
pub fn make(dir: &Path, server: &str) -> anyhow::Result<()> {
    let cluster = Cluster {
        name: "bench".into(),
        server: server.into(),
        apiserver_names: vec!["localhost".into(), "127.0.0.1".into(), "10.96.0.1".into()],
        dns_domain: "cluster.local".into(),
        nodes: Vec::new(),
        etcd: None,
    };
    gantry_pki::ensure(&Layout::new(dir), &cluster, Timestamp::now())?;
    Ok(())
}
