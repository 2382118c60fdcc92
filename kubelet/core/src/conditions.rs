//! The pod conditions the kubelet owns.

use crate::observed::PodSeen;
use crate::{plan, pods};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

/// Condition types written by the kubelet; others are left as they are.
pub const OWNED: [&str; 8] = [
    "PodScheduled",
    "Ready",
    "ContainersReady",
    "Initialized",
    "PodReadyToStartContainers",
    "PodResizePending",
    "PodResizeInProgress",
    "AllContainersRestarting",
];

pub fn condition(pod: &Pod, kind: &str, status: bool, reason: &str, message: String) -> PodCondition {
    PodCondition {
        type_: kind.into(),
        status: if status { "True" } else { "False" }.into(),
        reason: (!reason.is_empty()).then(|| reason.into()),
        message: (!message.is_empty()).then_some(message),
        observed_generation: pod.metadata.generation.filter(|g| *g != 0),
        ..PodCondition::default()
    }
}

fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn unready_message(unknown: &[&str], other: &[&str], word: &str) -> String {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: {}", list(unknown)));
    }
    if !other.is_empty() {
        parts.push(format!("containers with {word} status: {}", list(other)));
    }
    parts.join(", ")
}

fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|s| s.name == name)
}

/// `statuses` holds init and regular containers together; `None` where nothing is known at all.
pub fn containers_ready(
    pod: &Pod,
    kind: &str,
    statuses: Option<&[ContainerStatus]>,
    phase: &str,
) -> PodCondition {
    let make = |status, reason: &str, message| condition(pod, kind, status, reason, message);
    let Some(statuses) = statuses else { return make(false, "UnknownContainerStatuses", String::new()) };
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = pods::init_containers(pod).iter().filter(|c| pods::is_sidecar(c));
    for c in sidecars.chain(pods::containers(pod)) {
        match find(statuses, &c.name) {
            None => unknown.push(c.name.as_str()),
            Some(s) if !s.ready => unready.push(c.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return make(false, "PodCompleted", String::new());
    }
    if phase == "Failed" {
        return make(false, "PodFailed", String::new());
    }
    let message = unready_message(&unknown, &unready, "unready");
    if message.is_empty() { make(true, "", message) } else { make(false, "ContainersNotReady", message) }
}

/// Ready: containers ready, and every readiness gate found true among `conditions`.
pub fn ready(
    pod: &Pod,
    conditions: &[PodCondition],
    statuses: Option<&[ContainerStatus]>,
    phase: &str,
) -> PodCondition {
    let containers = containers_ready(pod, "Ready", statuses, phase);
    if containers.status != "True" {
        return containers;
    }
    let gates = pods::spec(pod).readiness_gates.as_deref().unwrap_or_default();
    let missing: Vec<String> = gates
        .iter()
        .filter_map(|g| match conditions.iter().find(|c| c.type_ == g.condition_type) {
            None => Some(format!(
                "corresponding condition of pod readiness gate {:?} does not exist.",
                g.condition_type
            )),
            Some(c) if c.status != "True" => Some(format!(
                "the status of pod readiness gate {:?} is not \"True\", but {}",
                g.condition_type, c.status
            )),
            Some(_) => None,
        })
        .collect();
    if missing.is_empty() {
        containers
    } else {
        condition(pod, "Ready", false, "ReadinessGatesNotReady", missing.join(", "))
    }
}

pub fn initialized(pod: &Pod, statuses: Option<&[ContainerStatus]>, phase: &str) -> PodCondition {
    let make = |status, reason: &str, message| condition(pod, "Initialized", status, reason, message);
    let inits = pods::init_containers(pod);
    let Some(statuses) = statuses else {
        return if inits.is_empty() {
            make(true, "", String::new())
        } else {
            make(false, "UnknownContainerStatuses", String::new())
        };
    };
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for c in inits {
        match find(statuses, &c.name) {
            None => unknown.push(c.name.as_str()),
            Some(s) => {
                let done = if pods::is_sidecar(c) { s.started == Some(true) } else { s.ready };
                if !done {
                    incomplete.push(c.name.as_str());
                }
            }
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return make(true, "PodCompleted", String::new());
    }
    let started = pods::containers(pod).iter().filter_map(|c| find(statuses, &c.name)).any(|s| {
        let ended = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
            state.as_ref().is_some_and(|s| s.terminated.is_some())
        };
        s.started == Some(true)
            || s.state.as_ref().is_some_and(|s| s.running.is_some())
            || ended(&s.state)
            || ended(&s.last_state)
    });
    if started {
        return make(true, "", String::new());
    }
    let message = unready_message(&unknown, &incomplete, "incomplete");
    if message.is_empty() {
        make(true, "", message)
    } else {
        make(false, "ContainersNotInitialized", message)
    }
}

/// True once a sandbox with its network stands.
pub fn ready_to_start(pod: &Pod, seen: &PodSeen) -> PodCondition {
    let (needed, _, _) = plan::sandbox_changed(pod, seen);
    condition(pod, "PodReadyToStartContainers", !needed, "", String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Container, PodReadinessGate, PodSpec};

    fn pod() -> Pod {
        let named = |n: &str| Container { name: n.into(), ..Default::default() };
        Pod {
            spec: Some(PodSpec {
                init_containers: Some(vec![named("i")]),
                containers: vec![named("a"), named("b")],
                readiness_gates: Some(vec![PodReadinessGate { condition_type: "g".into() }]),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn statuses(text: &str) -> Vec<ContainerStatus> {
        text.split_whitespace()
            .map(|n| ContainerStatus {
                name: n.trim_end_matches('+').into(),
                ready: n.ends_with('+'),
                ..Default::default()
            })
            .collect()
    }

    fn show(c: PodCondition) -> String {
        let parts = [Some(c.type_), Some(c.status), c.reason, c.message];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn conditions_in_upstream_words() {
        let p = pod();
        let check = |got: PodCondition, want: &str| assert_eq!(show(got), want);
        let s = statuses("i+ a+ b");
        check(
            containers_ready(&p, "ContainersReady", Some(&s), "Running"),
            "ContainersReady | False | ContainersNotReady | containers with unready status: [b]",
        );
        check(
            containers_ready(&p, "Ready", Some(&statuses("a")), "Pending"),
            "Ready | False | ContainersNotReady | containers with unknown status: [b], containers with unready status: [a]",
        );
        check(containers_ready(&p, "Ready", Some(&s), "Failed"), "Ready | False | PodFailed");
        check(containers_ready(&p, "Ready", Some(&s), "Succeeded"), "Ready | False | PodCompleted");
        check(containers_ready(&p, "Ready", None, "Pending"), "Ready | False | UnknownContainerStatuses");
        check(
            ready(&p, &[], Some(&statuses("i+ a+ b+")), "Running"),
            "Ready | False | ReadinessGatesNotReady | corresponding condition of pod readiness gate \"g\" does not exist.",
        );
        let gate = PodCondition { type_: "g".into(), status: "True".into(), ..Default::default() };
        check(ready(&p, &[gate], Some(&statuses("i+ a+ b+")), "Running"), "Ready | True");
        check(
            initialized(&p, Some(&statuses("i a b")), "Pending"),
            "Initialized | False | ContainersNotInitialized | containers with incomplete status: [i]",
        );
        check(initialized(&p, Some(&statuses("i+ a b")), "Pending"), "Initialized | True");
        check(ready_to_start(&p, &PodSeen::default()), "PodReadyToStartContainers | False");
    }
}
