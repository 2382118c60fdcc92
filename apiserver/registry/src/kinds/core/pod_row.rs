//! The Table row of a pod: what it is doing, in one word.

use crate::kinds::prelude::*;
use crate::kinds::{print, validate::containers::is_sidecar};
use gantry_types::k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};

/// Restarts and the last time one ended.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i32,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, s: &ContainerStatus) {
        self.count += s.restart_count;
        let ended =
            s.last_state.as_ref().and_then(|l| l.terminated.as_ref()).and_then(|t| t.finished_at.as_ref());
        self.last = self.last.max(ended.map(|t| t.0));
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a str> {
    list(&status.conditions).iter().find(|c| c.type_ == kind).map(|c| c.status.as_str())
}

fn ended(t: &ContainerStateTerminated) -> String {
    match (text(&t.reason), t.signal.unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", t.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

pub fn row(pod: &Pod, now: Timestamp) -> Vec<Cell> {
    let spec = pod.spec.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let init = list(&spec.init_containers);
    let sidecar = |name: &str| init.iter().rfind(|c| c.name == name).is_some_and(is_sidecar);
    let total = spec.containers.len() + init.iter().filter(|c| is_sidecar(c)).count();
    let phase = text(&status.phase);
    let mut reason = match text(&status.reason) {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    const GATED: &str = "SchedulingGated";
    if list(&status.conditions).iter().any(|c| c.type_ == "PodScheduled" && text(&c.reason) == GATED) {
        reason = GATED.to_owned();
    }
    let (mut restarts, mut of_sidecars) = (Restarts::default(), Restarts::default());
    let (mut ready, mut initializing) = (0, false);
    for (i, s) in list(&status.init_container_statuses).iter().enumerate() {
        restarts.add(s);
        if sidecar(&s.name) {
            of_sidecars.add(s);
        }
        let state = s.state.as_ref();
        let terminated = state.and_then(|st| st.terminated.as_ref());
        if terminated.is_some_and(|t| t.exit_code == 0) {
            continue;
        }
        if sidecar(&s.name) && flag(s.started) {
            ready += usize::from(s.ready);
            continue;
        }
        let waiting = state.and_then(|st| st.waiting.as_ref()).map(|w| text(&w.reason)).unwrap_or_default();
        reason = match terminated {
            Some(t) => format!("Init:{}", ended(t)),
            None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
            None => format!("Init:{i}/{}", init.len()),
        };
        initializing = true;
        break;
    }
    if !initializing || condition(&status, "Initialized") == Some("True") {
        restarts = of_sidecars;
        let (mut running, mut error) = (false, None);
        for s in list(&status.container_statuses).iter().rev() {
            restarts.add(s);
            let state = s.state.as_ref();
            let waiting =
                state.and_then(|st| st.waiting.as_ref()).map(|w| text(&w.reason)).unwrap_or_default();
            if !waiting.is_empty() {
                reason = waiting.to_owned();
            } else if let Some(t) = state.and_then(|st| st.terminated.as_ref()) {
                reason = ended(t);
                if t.exit_code != 0 {
                    error = Some(reason.clone());
                }
            } else if s.ready && state.is_some_and(|st| st.running.is_some()) {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" {
            if running && condition(&status, "Ready") == Some("True") {
                reason = "Running".to_owned();
            } else if let Some(error) = error {
                reason = error;
            } else if running {
                reason = "NotReady".to_owned();
            }
        }
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if text(&status.reason) == "NodeLost" {
            reason = "Unknown".to_owned();
        } else if !matches!(phase, "Failed" | "Succeeded") {
            reason = "Terminating".to_owned();
        }
    }
    let restarted = match restarts.last {
        Some(last) if restarts.count != 0 => format!("{} ({} ago)", restarts.count, print::ago(last, now)),
        _ => restarts.count.to_string(),
    };
    let or_none = |s: &str| Cell::from(if s.is_empty() { "<none>" } else { s });
    let gates = list(&spec.readiness_gates);
    let gates = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        let open = gates.iter().filter(|g| condition(&status, &g.condition_type) == Some("True")).count();
        format!("{open}/{}", gates.len())
    };
    vec![
        print::name(&pod.metadata),
        format!("{ready}/{total}").into(),
        reason.into(),
        restarted.into(),
        print::age(pod.metadata.creation_timestamp.as_ref(), now).into(),
        or_none(list(&status.pod_ips).first().map(|p| p.ip.as_str()).unwrap_or_default()),
        or_none(text(&spec.node_name)),
        or_none(text(&status.nominated_node_name)),
        gates.into(),
    ]
}
