//! The files of one node: containerd's configuration, its mirror entry for the local registry, the kubelet's.

use crate::layout::{Layout, Node, REGISTRY_HOST, REGISTRY_PORT, address};
use crate::units;
use anyhow::Context;
use std::fs;
use std::path::Path;

/// Writes what is missing or differs.
pub fn ensure(layout: &Layout, node: &Node) -> anyhow::Result<()> {
    let dir = layout.node_dir(node);
    for sub in ["cni", "manifests", "kubelet", "pki", "containerd", "certs.d"] {
        fs::create_dir_all(dir.join(sub)).with_context(|| dir.display().to_string())?;
    }
    fs::create_dir_all(node.run_dir()).context("cannot create the run directory under /run/gantry")?;
    fs::write(
        dir.join("containerd.toml"),
        containerd_config(&dir, node, cni_bin_dir()?, !may_lower_oom_score()?),
    )?;
    let mirror = dir.join("certs.d").join(REGISTRY_HOST);
    fs::create_dir_all(&mirror)?;
    fs::write(
        mirror.join("hosts.toml"),
        format!(
            "server = \"http://{0}:{REGISTRY_PORT}\"\n\n[host.\"http://{0}:{REGISTRY_PORT}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
            address(1)
        ),
    )?;
    fs::write(dir.join("kubelet.yaml"), units::kubelet_config(layout, node))?;
    Ok(())
}

/// Debian keeps the CNI plugins under /usr/lib/cni, others under /opt/cni/bin.
fn cni_bin_dir() -> anyhow::Result<&'static str> {
    ["/usr/lib/cni", "/opt/cni/bin"]
        .into_iter()
        .find(|d| Path::new(d).join("bridge").exists())
        .context("no CNI plugins found: install containernetworking-plugins")
}

/// Whether this machine lets root make a process less likely to be killed for memory (CAP_SYS_RESOURCE).
fn may_lower_oom_score() -> anyhow::Result<bool> {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status")?;
    let mask =
        status.lines().find_map(|l| l.strip_prefix("CapEff:")).context("no CapEff in /proc/self/status")?;
    Ok(u64::from_str_radix(mask.trim(), 16)? & (1 << CAP_SYS_RESOURCE) != 0)
}

fn containerd_config(dir: &Path, node: &Node, cni_bin: &str, restrict_oom: bool) -> String {
    format!(
        r#"version = 2
root = "{dir}/containerd"
state = "{run}/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]

[grpc]
  address = "{socket}"

[debug]
  level = "warn"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{REGISTRY_HOST}/gantry/pause:1"
  restrict_oom_score_adj = {restrict_oom}
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{dir}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    snapshotter = "overlayfs"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{dir}/certs.d"
"#,
        dir = dir.display(),
        run = node.run_dir().display(),
        socket = node.containerd_socket().display(),
    )
}
