//! `down`: leaves no process, mount, namespace, link, rule, cgroup or container behind.

use crate::layout::{self, Layout, Node};
use crate::progress::Progress;
use crate::{DownFlags, network, shell, supervise, units, up};
use anyhow::bail;
use gantry_proto::cri;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

pub async fn run(flags: DownFlags) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("deploy/down needs root");
    }
    let progress = Progress::start();
    let layout = Layout::new(&flags.repo, flags.dir)?;
    let spec = layout.load_spec();
    let found = spec.is_some();
    if let Some(spec) = spec {
        let nodes = layout::nodes(&spec);
        // First the kubelets, which would bring back what the next step removes.
        stop_units(&layout, |name| name.starts_with("kubelet"))?;
        for node in &nodes {
            if let Err(e) = remove_pods(node).await {
                progress.say(format!("pods of {} were not removed through containerd: {e:#}", node.name));
            }
        }
        progress.say("pods removed");
        stop_units(&layout, |_| true)?;
        for node in &nodes {
            end_shims(node);
            unmount_below(&layout.node_dir(node));
            unmount_below(&node.run_dir());
            // Sockets and runtime state; gone already when the machine rebooted.
            let _ = fs::remove_dir_all(node.run_dir());
            remove_cgroups(node);
        }
        let _ = fs::remove_dir("/run/gantry");
        network::remove(&layout, &nodes);
        progress.say("daemons stopped, network removed");
    }
    if flags.purge && !found {
        // Gone if `Layout::new` has just made it; anything else in it is not ours to delete.
        let _ = fs::remove_dir(&layout.dir);
        progress.say(format!("no cluster in {}, nothing deleted", layout.dir.display()));
    } else if flags.purge {
        fs::remove_dir_all(&layout.dir)?;
        progress.say("data removed");
    }
    Ok(())
}

/// Stops the supervisor, then every unit that matches and still runs.
fn stop_units(layout: &Layout, matches: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    if let Some(pid) = up::supervisor(layout) {
        // Killed, not asked: it would stop every unit, and this one wants an order of its own.
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        let _ = fs::remove_file(layout.sub("pids/supervisor.pid"));
    }
    let Ok(bytes) = fs::read(layout.sub("units.json")) else { return Ok(()) };
    let units: Vec<units::Unit> = serde_json::from_slice(&bytes)?;
    for unit in units.iter().rev().filter(|u| matches(&u.name)) {
        let file = layout.sub(&format!("pids/{}.pid", unit.name));
        if let Some(pid) = supervise::read_live(&file, unit) {
            end(pid, Duration::from_secs(10));
        }
        let _ = fs::remove_file(file);
    }
    Ok(())
}

/// Ends a process: asks, waits, then kills.
fn end(pid: u32, patience: Duration) {
    let Ok(raw) = i32::try_from(pid) else { return };
    let alive = || {
        Path::new(&format!("/proc/{pid}/exe")).exists()
            || fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| !c.is_empty())
    };
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let _ = kill(Pid::from_raw(raw), signal);
        let begin = Instant::now();
        while alive() && begin.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !alive() {
            return;
        }
    }
}

/// Stops and removes every pod of a node through its runtime, so that CNI takes its links and rules away.
async fn remove_pods(node: &Node) -> anyhow::Result<()> {
    let socket = node.containerd_socket();
    if !socket.exists() {
        return Ok(());
    }
    let channel = tonic::transport::Endpoint::from_static("http://containerd.invalid")
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        }))
        .await?;
    let mut runtime = cri::runtime_service_client::RuntimeServiceClient::new(channel);
    let pods = runtime.list_pod_sandbox(cri::ListPodSandboxRequest::default()).await?.into_inner().items;
    for pod in pods {
        runtime.stop_pod_sandbox(cri::StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
        runtime.remove_pod_sandbox(cri::RemovePodSandboxRequest { pod_sandbox_id: pod.id }).await?;
    }
    Ok(())
}

/// Ends shims of this node that outlived their containerd.
fn end_shims(node: &Node) {
    let socket = node.containerd_socket().display().to_string();
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for pid in processes.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()) {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&command);
        if text.contains("containerd-shim") && text.contains(&socket) {
            end(pid, Duration::from_secs(2));
        }
    }
}

/// Unmounts everything below a folder, the deepest first.
fn unmount_below(dir: &Path) {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return };
    let prefix = dir.display().to_string();
    let mut points: Vec<&str> =
        mounts.lines().filter_map(|l| l.split(' ').nth(1)).filter(|p| p.starts_with(&prefix)).collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.len()));
    for point in points {
        shell::attempt("umount", &["-l", point]);
    }
}

/// Removes the pod cgroups of a node in every hierarchy.
fn remove_cgroups(node: &Node) {
    let root = node.cgroup_root();
    let below = if root == "/" { "kubepods".to_owned() } else { root.trim_start_matches('/').to_owned() };
    let mut hierarchies = vec![Path::new("/sys/fs/cgroup").to_path_buf()];
    hierarchies.extend(fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path()));
    for hierarchy in hierarchies {
        remove_tree(&hierarchy.join(&below));
    }
}

fn remove_tree(dir: &Path) {
    if !dir.join("cgroup.procs").exists() {
        return;
    }
    for child in fs::read_dir(dir).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&child.path());
        }
    }
    let _ = fs::remove_dir(dir);
}
