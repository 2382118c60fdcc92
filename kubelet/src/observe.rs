//! A pod as the runtime shows it, asking only for what can have changed.

use crate::ctx::Ctx;
use gantry_kubelet_core::observed::{ContainerSeen, PodSeen, RunState, SandboxSeen};
use gantry_kubelet_cri::{CriResult, cri, labels};
use jiff::Timestamp;
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// What one pod's worker remembers: instances that will not change any more by themselves.
#[derive(Default)]
pub struct Memory {
    containers: HashMap<String, ContainerSeen>,
    sandboxes: HashMap<String, SandboxSeen>,
}

impl Memory {
    /// Looks at the pod now.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn look(&mut self, ctx: &Ctx, uid: &str) -> CriResult<PodSeen> {
        let (sandboxes, containers) = tokio::try_join!(
            ctx.runtime.list_pod_sandboxes(Some(uid)),
            ctx.runtime.list_containers(Some(uid))
        )?;
        let mut seen = PodSeen::default();
        for s in &sandboxes {
            let ready = s.state() == cri::PodSandboxState::SandboxReady;
            let known = self
                .sandboxes
                .get(&s.id)
                .filter(|k| k.ready == ready && (k.host_network || !k.ips.is_empty()));
            let found = match known {
                Some(k) => k.clone(),
                None => match ctx.runtime.pod_sandbox_status(&s.id).await {
                    Ok(status) => sandbox(&status),
                    Err(e) if e.is_not_found() => continue,
                    // A stopped sandbox whose namespace is beyond asking is no less stopped.
                    Err(_) if !ready => SandboxSeen {
                        id: s.id.clone(),
                        attempt: s.metadata.as_ref().map_or(0, |m| m.attempt),
                        ready: false,
                        created: time(s.created_at).unwrap_or_default(),
                        ips: Vec::new(),
                        host_network: false,
                    },
                    Err(e) => return Err(e),
                },
            };
            self.sandboxes.insert(s.id.clone(), found.clone());
            seen.sandboxes.push(found);
        }
        for c in &containers {
            let state = run_state(c.state());
            let known = self.containers.get(&c.id).filter(|k| k.state == state && state != RunState::Unknown);
            let found = match known {
                Some(k) => k.clone(),
                None => match ctx.runtime.container_status(&c.id).await {
                    Ok(status) => container(&status, &c.pod_sandbox_id),
                    Err(e) if e.is_not_found() => continue,
                    Err(e) => return Err(e),
                },
            };
            self.containers.insert(c.id.clone(), found.clone());
            seen.containers.push(found);
        }
        self.containers.retain(|id, _| containers.iter().any(|c| c.id == *id));
        self.sandboxes.retain(|id, _| sandboxes.iter().any(|s| s.id == *id));
        seen.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.created));
        seen.containers.sort_by_key(|c| std::cmp::Reverse(c.created));
        Ok(seen)
    }
}

fn time(nanos: i64) -> Option<Timestamp> {
    if nanos <= 0 { None } else { Timestamp::from_nanosecond(i128::from(nanos)).ok() }
}

pub fn run_state(state: cri::ContainerState) -> RunState {
    match state {
        cri::ContainerState::ContainerCreated => RunState::Created,
        cri::ContainerState::ContainerRunning => RunState::Running,
        cri::ContainerState::ContainerExited => RunState::Exited,
        cri::ContainerState::ContainerUnknown => RunState::Unknown,
    }
}

fn sandbox(s: &cri::PodSandboxStatus) -> SandboxSeen {
    let options = s.linux.as_ref().and_then(|l| l.namespaces.as_ref()).and_then(|n| n.options.as_ref());
    let host_network = options.is_some_and(|o| o.network() == cri::NamespaceMode::Node);
    let mut ips = Vec::new();
    if let Some(n) = s.network.as_ref().filter(|_| !host_network) {
        ips.push(n.ip.clone());
        ips.extend(n.additional_ips.iter().map(|i| i.ip.clone()));
        ips.retain(|ip| !ip.is_empty());
    }
    SandboxSeen {
        id: s.id.clone(),
        attempt: s.metadata.as_ref().map_or(0, |m| m.attempt),
        ready: s.state() == cri::PodSandboxState::SandboxReady,
        created: time(s.created_at).unwrap_or_default(),
        ips,
        host_network,
    }
}

fn container(c: &cri::ContainerStatus, sandbox: &str) -> ContainerSeen {
    let state = run_state(c.state());
    let annotation = |key: &str| c.annotations.get(key).map(String::as_str);
    let mut message = c.message.clone();
    if state == RunState::Exited
        && let Some(own) = termination_message(c)
    {
        message.push_str(&own);
    }
    let user = c.user.as_ref().and_then(|u| u.linux.as_ref());
    ContainerSeen {
        id: c.id.clone(),
        sandbox: sandbox.to_owned(),
        name: c
            .labels
            .get(labels::CONTAINER_NAME)
            .cloned()
            .or_else(|| c.metadata.as_ref().map(|m| m.name.clone()))
            .unwrap_or_default(),
        state,
        restart_count: annotation(labels::RESTART_COUNT).and_then(|n| n.parse().ok()).unwrap_or(0),
        created: time(c.created_at).unwrap_or_default(),
        started: time(c.started_at),
        finished: time(c.finished_at),
        exit_code: c.exit_code,
        reason: c.reason.clone(),
        message,
        image: c.image.as_ref().map(|i| i.image.clone()).unwrap_or_default(),
        image_ref: c.image_ref.clone(),
        hash: annotation(labels::HASH).and_then(|h| u32::from_str_radix(h, 16).ok()),
        user: user.map(|u| (u.uid, u.gid, u.supplemental_groups.clone())),
    }
}

const MESSAGE_BYTES: u64 = 4096;
const LOG_BYTES: u64 = 2048;
const LOG_LINES: usize = 80;

/// What the container wrote as its last words, or the end of its log where policy allows.
fn termination_message(c: &cri::ContainerStatus) -> Option<String> {
    let path = c.annotations.get(labels::TERMINATION_PATH).filter(|p| !p.is_empty())?;
    let mount = c.mounts.iter().find(|m| m.container_path == *path);
    let text = mount.and_then(|m| tail(Path::new(&m.host_path), MESSAGE_BYTES)).unwrap_or_default();
    let fallback =
        c.annotations.get(labels::TERMINATION_POLICY).is_some_and(|p| p == "FallbackToLogsOnError");
    if text.is_empty() && fallback && c.exit_code != 0 && c.reason != "ContainerCannotRun" {
        // Generous for the line headers of the log format, which go.
        let log = tail(Path::new(&c.log_path), LOG_BYTES * 8)?;
        let lines: Vec<&str> = log.lines().filter_map(|l| l.splitn(4, ' ').nth(3)).collect();
        let mut out: String =
            lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|l| format!("{l}\n")).collect();
        let limit = usize::try_from(LOG_BYTES).unwrap_or(usize::MAX);
        if out.len() > limit {
            let mut cut = out.len() - limit;
            while !out.is_char_boundary(cut) {
                cut += 1;
            }
            out.drain(..cut);
        }
        return Some(out);
    }
    Some(text)
}

/// The last bytes of a file, as text.
fn tail(path: &Path, bytes: u64) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes))).ok()?;
    let mut out = Vec::new();
    file.take(bytes).read_to_end(&mut out).ok()?;
    Some(String::from_utf8_lossy(&out).into_owned())
}
