//! The status a pod reports, from its spec, what the runtime shows and what was reported before.

use crate::conditions;
use crate::observed::{ContainerSeen, PodSeen, RunState};
use crate::plan::Verdicts;
use crate::probe::{Kind, Verdict};
use crate::{pods, resources, restart};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, HostIP, LinuxContainerUser, Pod, PodCondition, PodIP, PodStatus,
    VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::HashMap;

/// Why a container is not running: the reason and message of its waiting state.
pub type Reasons = HashMap<String, (String, String)>;

pub struct Input<'a> {
    pub pod: &'a Pod,
    pub seen: &'a PodSeen,
    /// What was reported last, or what the API holds.
    pub old: &'a PodStatus,
    pub verdicts: &'a dyn Verdicts,
    pub reasons: &'a Reasons,
    pub host_ips: &'a [String],
    /// The runtime's name, the scheme of container IDs.
    pub runtime: &'a str,
    /// Nothing of the pod will ever run again.
    pub terminal: bool,
    /// Phase, reason and message forced from outside (deadline, eviction).
    pub forced: Option<(&'a str, &'a str)>,
    pub now: Timestamp,
}

fn time(t: Timestamp) -> Time {
    // The API keeps seconds.
    Time(Timestamp::from_second(t.as_second()).unwrap_or(t))
}

/// Computes the whole status.
pub fn compute(input: &Input<'_>) -> PodStatus {
    let pod = input.pod;
    let mut s = PodStatus { qos_class: Some(resources::qos(pod).as_str().into()), ..PodStatus::default() };
    s.observed_generation = pod.metadata.generation.filter(|g| *g != 0);
    s.start_time = input.old.start_time.clone().or_else(|| Some(time(input.now)));
    let old = |list: &Option<Vec<ContainerStatus>>| list.clone().unwrap_or_default();
    let mut regular =
        container_statuses(input, pods::containers(pod), &old(&input.old.container_statuses), false);
    let mut init =
        container_statuses(input, pods::init_containers(pod), &old(&input.old.init_container_statuses), true);
    let ephemeral: Vec<Container> = pods::ephemeral_containers(pod).iter().map(pods::ordinary).collect();
    let mut ephemeral =
        container_statuses(input, &ephemeral, &old(&input.old.ephemeral_container_statuses), false);
    if input.terminal {
        close(&mut regular);
        close(&mut ephemeral);
    }
    let all: Vec<ContainerStatus> = regular.iter().chain(&init).cloned().collect();
    let phase = phase(input, &all);
    let api = pod.status.as_ref();
    let phase = match api.and_then(|a| a.phase.as_deref()) {
        Some(p) if pods::is_terminal_phase(Some(p)) => p,
        _ => match input.old.phase.as_deref() {
            Some(p) if pods::is_terminal_phase(Some(p)) && !pods::is_terminal_phase(Some(phase)) => p,
            _ => phase,
        },
    };
    let mut phase = phase.to_owned();
    if input.old.phase.as_deref() == Some(phase.as_str()) {
        s.reason = input.old.reason.clone();
        s.message = input.old.message.clone();
    }
    if let Some((reason, message)) = input.forced {
        phase = "Failed".into();
        s.reason = Some(reason.into());
        s.message = Some(message.into());
    }
    for c in regular.iter_mut().chain(ephemeral.iter_mut()) {
        set_started(input, c, pods::find_container(pod, &c.name).as_ref());
    }
    for c in &mut init {
        let spec = pods::find_container(pod, &c.name);
        if spec.as_ref().is_some_and(pods::is_sidecar) {
            set_started(input, c, spec.as_ref());
        } else {
            c.started = Some(c.state.as_ref().is_some_and(|s| s.running.is_some()));
            c.ready = c.state.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0);
        }
    }
    for c in &mut ephemeral {
        c.ready = false;
        c.started = None;
    }
    s.conditions = Some(conditions_of(input, &init, &regular, &phase));
    s.phase = Some(phase);
    s.container_statuses = Some(regular);
    s.init_container_statuses = (!init.is_empty()).then_some(init);
    s.ephemeral_container_statuses = (!ephemeral.is_empty()).then_some(ephemeral);
    addresses(input, &mut s);
    if let Some(api) = api {
        s.nominated_node_name = api.nominated_node_name.clone();
        s.resource_claim_statuses = api.resource_claim_statuses.clone();
    }
    s
}

fn conditions_of(
    input: &Input<'_>,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
    phase: &str,
) -> Vec<PodCondition> {
    let pod = input.pod;
    let api = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let before = input.old.conditions.as_deref().unwrap_or_default();
    let mut out: Vec<PodCondition> =
        api.iter().filter(|c| !conditions::OWNED.contains(&c.type_.as_str())).cloned().collect();
    if let Some(d) = before.iter().find(|c| c.type_ == "DisruptionTarget") {
        out.retain(|c| c.type_ != d.type_);
        out.push(d.clone());
    }
    let all: Vec<ContainerStatus> = init.iter().chain(regular).cloned().collect();
    let known = Some(all.as_slice());
    let mut own = vec![
        conditions::ready_to_start(pod, input.seen),
        conditions::initialized(pod, known, phase),
        conditions::ready(pod, &out, known, phase),
        conditions::containers_ready(pod, "ContainersReady", known, phase),
        conditions::condition(pod, "PodScheduled", true, "", String::new()),
    ];
    for c in &mut own {
        let was = before.iter().chain(api).find(|o| o.type_ == c.type_);
        c.last_transition_time = match was {
            Some(o) if o.status == c.status && o.last_transition_time.is_some() => {
                o.last_transition_time.clone()
            }
            _ => Some(time(input.now)),
        };
    }
    out.extend(own);
    out
}

fn addresses(input: &Input<'_>, s: &mut PodStatus) {
    let mut ips: Vec<String> = input.seen.ips().to_vec();
    if let Some(first) = input.host_ips.first() {
        // The pod's first address is of the node's first family.
        let v6 = first.contains(':');
        ips.sort_by_key(|ip| ip.contains(':') != v6);
        s.host_ip = Some(first.clone());
        s.host_ips = Some(input.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
        if ips.is_empty() && pods::host_network(input.pod) {
            ips = input.host_ips.to_vec();
        }
    }
    // A pod that is over keeps the address it had.
    if ips.is_empty()
        && let Some(old) = &input.old.pod_ips
        && !input.seen.sandboxes.iter().any(|s| s.ready)
    {
        ips = old.iter().map(|p| p.ip.clone()).collect();
    }
    s.pod_ip = ips.first().cloned();
    s.pod_ips = (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
}

fn same_instance(c: &ContainerStatus, old: Option<&ContainerStatus>) -> bool {
    old.is_some_and(|o| o.container_id.is_some() && o.container_id == c.container_id)
}

fn set_started(input: &Input<'_>, c: &mut ContainerStatus, spec: Option<&Container>) {
    let running = c.state.as_ref().is_some_and(|s| s.running.is_some());
    let (Some(spec), true) = (spec, running) else {
        c.started = Some(false);
        c.ready = false;
        return;
    };
    let id =
        c.container_id.as_deref().and_then(|i| i.split_once("://")).map(|(_, id)| id).unwrap_or_default();
    let lists = [&input.old.container_statuses, &input.old.init_container_statuses];
    let old = lists.into_iter().flatten().flatten().find(|o| o.name == c.name);
    let before = old.filter(|o| same_instance(c, Some(o)));
    let started = match (&spec.startup_probe, input.verdicts.verdict(id, Kind::Startup)) {
        (None, _) => true,
        (Some(_), Some(v)) => v == Verdict::Success,
        (Some(_), None) => before.is_some_and(|o| o.started == Some(true)),
    };
    c.started = Some(started);
    c.ready = started
        && match (&spec.readiness_probe, input.verdicts.verdict(id, Kind::Readiness)) {
            (None, _) => true,
            (Some(_), Some(v)) => v == Verdict::Success,
            (Some(_), None) => before.is_some_and(|o| o.ready),
        };
}

/// What is left running when the pod is over counts as killed.
fn close(statuses: &mut [ContainerStatus]) {
    for s in statuses {
        let state = s.state.get_or_insert_default();
        if state.terminated.is_none() {
            *state = ContainerState {
                terminated: Some(ContainerStateTerminated {
                    reason: Some("ContainerStatusUnknown".into()),
                    message: Some("The container could not be located when the pod was terminated".into()),
                    exit_code: 137,
                    ..Default::default()
                }),
                ..Default::default()
            };
        }
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: some(reason), message: some(message) }),
        ..Default::default()
    }
}

fn state_of(c: &ContainerSeen, id: &str, old: Option<&ContainerStatus>) -> ContainerState {
    let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    match c.state {
        RunState::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: c.started.map(time) }),
            ..Default::default()
        },
        RunState::Exited => ContainerState {
            terminated: Some(ContainerStateTerminated {
                container_id: Some(id.into()),
                exit_code: c.exit_code,
                reason: some(&c.reason),
                message: some(&c.message),
                started_at: Some(time(c.started.unwrap_or_default())),
                finished_at: Some(time(c.finished.unwrap_or_default())),
                ..Default::default()
            }),
            ..Default::default()
        },
        RunState::Unknown if old.and_then(|o| o.state.as_ref()).is_some_and(|s| s.running.is_some()) => {
            let mut s = [ContainerStatus::default()];
            close(&mut s);
            let [s] = s;
            s.state.unwrap_or_default()
        }
        _ => waiting("", ""),
    }
}

fn mounts(c: &Container) -> Option<Vec<VolumeMountStatus>> {
    let list: Vec<VolumeMountStatus> = c
        .volume_mounts
        .iter()
        .flatten()
        .map(|m| {
            let read_only = m.read_only.filter(|r| *r);
            VolumeMountStatus {
                name: m.name.clone(),
                mount_path: m.mount_path.clone(),
                read_only,
                recursive_read_only: read_only.map(|_| "Disabled".into()),
                ..Default::default()
            }
        })
        .collect();
    (!list.is_empty()).then_some(list)
}

fn container_statuses(
    input: &Input<'_>,
    specs: &[Container],
    old: &[ContainerStatus],
    init: bool,
) -> Vec<ContainerStatus> {
    let waits =
        if pods::init_containers(input.pod).is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let mut out: Vec<ContainerStatus> = Vec::with_capacity(specs.len());
    for spec in specs {
        let was = old.iter().find(|o| o.name == spec.name);
        let mut instances = input.seen.containers.iter().filter(|c| c.name == spec.name);
        let mut s = match instances.next() {
            Some(c) => from_seen(input, spec, c, was),
            None => unseen(input, spec, was, waits),
        };
        if let Some(previous) = instances.next() {
            let id = format!("{}://{}", input.runtime, previous.id);
            s.last_state = Some(state_of(previous, &id, None));
        }
        if !ended_init(input, spec, &mut s, init)
            && restart::wanted(input.pod, spec, input.seen)
            && let Some((reason, message)) = input.reasons.get(&spec.name)
        {
            if s.state.as_ref().is_some_and(|s| s.terminated.is_some()) {
                s.last_state = s.state.take();
            }
            s.state = Some(waiting(reason, message));
        }
        out.push(s);
    }
    if !init {
        out.sort_by(|a, b| a.name.cmp(&b.name));
    }
    out
}

/// An init container that is over for good; one whose record is gone though main containers exist counts so.
fn ended_init(input: &Input<'_>, spec: &Container, s: &mut ContainerStatus, init: bool) -> bool {
    if !init {
        return false;
    }
    match input.seen.container(&spec.name) {
        Some(c) => c.state == RunState::Exited && c.exit_code == 0 && !pods::is_sidecar(spec),
        None => {
            let created = pods::containers(input.pod).iter().any(|c| input.seen.container(&c.name).is_some());
            let waits = s.state.as_ref().is_some_and(|s| s.waiting.is_some());
            if !created || pods::is_sidecar(spec) || !waits {
                return false;
            }
            s.state = Some(ContainerState {
                terminated: Some(ContainerStateTerminated {
                    reason: Some("Completed".into()),
                    message: Some("Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally".into()),
                    ..Default::default()
                }),
                ..Default::default()
            });
            true
        }
    }
}

fn from_seen(
    input: &Input<'_>,
    spec: &Container,
    c: &ContainerSeen,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let id = format!("{}://{}", input.runtime, c.id);
    let last = old.and_then(|o| {
        let ended = |s: &Option<ContainerState>| s.clone().filter(|s| s.terminated.is_some());
        if o.container_id.as_deref() != Some(&id) {
            ended(&o.state).or(ended(&o.last_state))
        } else {
            ended(&o.last_state)
        }
    });
    let mut restart_count = c.restart_count.max(old.map_or(0, |o| o.restart_count));
    if c.state == RunState::Unknown && old.is_some() {
        restart_count += 1;
    }
    let requests = spec.resources.as_ref().and_then(|r| r.requests.clone());
    ContainerStatus {
        name: spec.name.clone(),
        image: c.image.clone(),
        image_id: c.image_ref.clone(),
        state: Some(state_of(c, &id, old)),
        container_id: Some(id),
        restart_count,
        last_state: Some(last.unwrap_or_default()),
        resources: Some(spec.resources.clone().unwrap_or_default()),
        allocated_resources: requests.filter(|r| !r.is_empty()),
        volume_mounts: mounts(spec),
        user: c.user.as_ref().map(|(uid, gid, groups)| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: *uid,
                gid: *gid,
                supplemental_groups: (!groups.is_empty()).then(|| groups.clone()),
            }),
        }),
        ..Default::default()
    }
}

fn unseen(
    input: &Input<'_>,
    spec: &Container,
    old: Option<&ContainerStatus>,
    waits: &str,
) -> ContainerStatus {
    let mut s = ContainerStatus {
        name: spec.name.clone(),
        image: spec.image.clone().unwrap_or_default(),
        state: Some(waiting(waits, "")),
        last_state: Some(ContainerState::default()),
        volume_mounts: mounts(spec),
        ..Default::default()
    };
    let Some(old) = old else { return s };
    let state = old.state.clone().unwrap_or_default();
    if state.terminated.is_some() {
        return old.clone();
    }
    s.restart_count = old.restart_count;
    s.last_state = old.last_state.clone().or(s.last_state);
    let ended_before = s.last_state.as_ref().is_some_and(|l| l.terminated.is_some());
    if state.running.is_some() && !ended_before {
        s.last_state = Some(ContainerState {
            terminated: Some(ContainerStateTerminated {
                reason: Some("ContainerStatusUnknown".into()),
                message: Some("The container could not be located when the pod was deleted.  The container used to be Running".into()),
                exit_code: 137,
                ..Default::default()
            }),
            ..Default::default()
        });
        if input.pod.metadata.deletion_timestamp.is_none() {
            s.restart_count += 1;
        }
    }
    s
}

#[derive(Default)]
struct Tally {
    unknown: u32,
    running: u32,
    waiting: u32,
    stopped: u32,
    final_stop: u32,
    succeeded: u32,
}

fn exit_code(state: &Option<ContainerState>) -> Option<i32> {
    state.as_ref()?.terminated.as_ref().map(|t| t.exit_code)
}

fn is_running(s: &ContainerStatus) -> bool {
    s.state.as_ref().is_some_and(|s| s.running.is_some())
}

/// The phase from container statuses; init containers of both kinds among them.
fn phase(input: &Input<'_>, all: &[ContainerStatus]) -> &'static str {
    let pod = input.pod;
    let find = |name: &str| all.iter().find(|s| s.name == name);
    let (mut pending_init, mut pending_sidecar) = (0, 0);
    let mut t = Tally::default();
    for c in pods::init_containers(pod) {
        let status = find(&c.name);
        if pods::is_sidecar(c) {
            match status {
                None => t.unknown += 1,
                Some(s) if is_running(s) => {
                    if !sidecar_started(input, c, s) {
                        pending_sidecar += 1;
                    }
                    t.running += 1;
                }
                Some(s) if exit_code(&s.state).is_some() || exit_code(&s.last_state).is_some() => {}
                Some(_) => {
                    pending_sidecar += 1;
                    t.waiting += 1;
                }
            }
            continue;
        }
        let code = status.and_then(|s| {
            if is_running(s) { None } else { exit_code(&s.state).or_else(|| exit_code(&s.last_state)) }
        });
        match code {
            None => pending_init += 1,
            Some(0) => {}
            Some(code) => {
                // One that runs again keeps the pod pending through the containers waiting for it.
                if !restart::after_exit(pod, c, code) {
                    return "Failed";
                }
            }
        }
    }
    for c in pods::containers(pod) {
        let Some(s) = find(&c.name) else {
            t.unknown += 1;
            continue;
        };
        if is_running(s) {
            t.running += 1;
        } else if let Some(code) = exit_code(&s.state) {
            t.stopped += 1;
            t.final_stop += u32::from(!restart::after_exit(pod, c, code));
            t.succeeded += u32::from(code == 0);
        } else if let Some(code) = exit_code(&s.last_state) {
            t.stopped += 1;
            t.final_stop += u32::from(!restart::after_exit(pod, c, code));
        } else {
            t.waiting += 1;
        }
    }
    let has_run = pods::containers(pod).iter().any(|c| {
        input.seen.container(&c.name).is_some_and(|s| matches!(s.state, RunState::Running | RunState::Exited))
    });
    if pending_init > 0 || (pending_sidecar > 0 && !has_run) || t.waiting > 0 {
        return "Pending";
    }
    if t.running > 0 && t.unknown == 0 {
        return "Running";
    }
    if t.running == 0 && t.stopped > 0 && t.unknown == 0 {
        if (!input.terminal || pods::is_static(pod)) && t.stopped != t.final_stop {
            return "Running";
        }
        return if t.stopped == t.succeeded { "Succeeded" } else { "Failed" };
    }
    "Pending"
}

fn sidecar_started(input: &Input<'_>, spec: &Container, s: &ContainerStatus) -> bool {
    let mut copy = s.clone();
    set_started(input, &mut copy, Some(spec));
    copy.started == Some(true)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
