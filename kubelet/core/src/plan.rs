//! From a pod and what the runtime has of it to what must be done next.

use crate::observed::{ContainerSeen, PodSeen, RunState, definition_hash};
use crate::pods;
use crate::probe::{Kind, Verdict};
use crate::restart;
use k8s_openapi::api::core::v1::{Container, Pod};

/// Why a container is killed; decides its grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    Changed,
    Startup,
    Liveness,
    Unknown,
    PostStart,
    /// The pod goes.
    Pod,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    pub name: String,
    pub id: String,
    /// The `Killing` event.
    pub message: String,
    pub reason: KillReason,
}

/// A container to start, by its place in the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Ephemeral(usize),
    Init(usize),
    Regular(usize),
}

/// What to do, in this order: kill, make the sandbox, start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Stop every container and sandbox first.
    pub kill_pod: bool,
    pub create_sandbox: bool,
    /// Counter of the sandbox to make.
    pub attempt: u32,
    /// The sandbox to use, or (with `create_sandbox`) the one it replaces.
    pub sandbox: Option<String>,
    pub kill: Vec<Kill>,
    pub start: Vec<Start>,
}

/// Verdicts of probes by runtime container ID; `None` where there is none yet.
pub trait Verdicts {
    fn verdict(&self, id: &str, kind: Kind) -> Option<Verdict>;
}

/// No probe has said anything.
pub struct NoVerdicts;

impl Verdicts for NoVerdicts {
    fn verdict(&self, _: &str, _: Kind) -> Option<Verdict> {
        None
    }
}

/// Whether a new sandbox is needed, the counter it would have, and the sandbox there is.
pub fn sandbox_changed(pod: &Pod, seen: &PodSeen) -> (bool, u32, Option<String>) {
    let Some(newest) = seen.sandboxes.first() else { return (true, 0, None) };
    let ready = seen.sandboxes.iter().filter(|s| s.ready).count();
    let next = newest.attempt + 1;
    if ready > 1 || !newest.ready {
        return (true, next, Some(newest.id.clone()));
    }
    if newest.host_network != pods::host_network(pod) {
        return (true, next, None);
    }
    if !newest.host_network && newest.ips.is_empty() {
        return (true, next, Some(newest.id.clone()));
    }
    (false, newest.attempt, Some(newest.id.clone()))
}

/// Decides the next step of a pod that is meant to run.
pub fn plan(pod: &Pod, seen: &PodSeen, verdicts: &dyn Verdicts) -> Plan {
    let (create, attempt, sandbox) = sandbox_changed(pod, seen);
    let mut plan = Plan { kill_pod: create, create_sandbox: create, attempt, sandbox, ..Plan::default() };
    if create {
        plan_new_sandbox(pod, seen, &mut plan);
        return plan;
    }
    for (i, e) in pods::ephemeral_containers(pod).iter().enumerate() {
        if seen.container(&e.name).is_none() {
            plan.start.push(Start::Ephemeral(i));
        }
    }
    let mut init = Vec::new();
    let initialized = plan_init(pod, seen, verdicts, &mut plan, &mut init);
    if plan.kill_pod {
        plan.start.clear();
        plan.kill.clear();
        return plan;
    }
    if !initialized {
        plan.start.extend(init.into_iter().map(Start::Init));
        return plan;
    }
    let (kept, regular) = plan_regular(pod, seen, verdicts, &mut plan);
    if kept == 0 && regular.is_empty() {
        plan.kill_pod = true;
        plan.start.clear();
        plan.kill.clear();
        return plan;
    }
    plan.start.extend(init.into_iter().map(Start::Init));
    plan.start.extend(regular.into_iter().map(Start::Regular));
    plan
}

fn plan_new_sandbox(pod: &Pod, seen: &PodSeen, plan: &mut Plan) {
    let never = pods::restart_policy(pod) == "Never";
    if never && plan.attempt != 0 && !seen.containers.is_empty() {
        plan.create_sandbox = false;
        return;
    }
    let done = |c: &Container| {
        let once = c.restart_policy.as_deref().unwrap_or(pods::restart_policy(pod)) == "OnFailure";
        once && seen.container(&c.name).is_some_and(|s| s.state == RunState::Exited && s.exit_code == 0)
    };
    let todo: Vec<usize> =
        pods::containers(pod).iter().enumerate().filter(|(_, c)| !done(c)).map(|(i, _)| i).collect();
    let initialized = pods::containers(pod).iter().any(|c| seen.container(&c.name).is_some());
    if todo.is_empty() && initialized {
        plan.create_sandbox = false;
        return;
    }
    if pods::init_containers(pod).is_empty() {
        plan.start = todo.into_iter().map(Start::Regular).collect();
    } else {
        plan.start = vec![Start::Init(0)];
    }
}

fn killing(c: &ContainerSeen, message: String, reason: KillReason) -> Kill {
    Kill { name: c.name.clone(), id: c.id.clone(), message, reason }
}

fn changed(container: &Container, c: &ContainerSeen) -> bool {
    c.hash.is_some_and(|h| h != definition_hash(container))
}

/// Fills `start` with init containers to start, in order; whether initialization is over.
fn plan_init(
    pod: &Pod,
    seen: &PodSeen,
    verdicts: &dyn Verdicts,
    plan: &mut Plan,
    start: &mut Vec<usize>,
) -> bool {
    let inits = pods::init_containers(pod);
    if inits.is_empty() {
        return true;
    }
    // A main container that was made proves that initialization was over once, whatever is left of the rest.
    let mut initialized = pods::containers(pod).iter().any(|c| {
        seen.container(&c.name).is_some_and(|s| matches!(s.state, RunState::Created | RunState::Running))
    });
    let mut before = initialized;
    for (i, container) in inits.iter().enumerate().rev() {
        let sidecar = pods::is_sidecar(container);
        let Some(c) = seen.container(&container.name) else {
            if before && sidecar {
                start.push(i);
            }
            continue;
        };
        if before && !sidecar {
            continue;
        }
        let mut passed = |start: &mut Vec<usize>| {
            if i + 1 == inits.len() {
                initialized = true;
            } else if !before {
                start.push(i + 1);
            }
        };
        match c.state {
            RunState::Created => start.push(i),
            RunState::Running if !sidecar => {}
            RunState::Running => {
                let startup =
                    container.startup_probe.as_ref().map(|_| verdicts.verdict(&c.id, Kind::Startup));
                match startup {
                    None | Some(Some(Verdict::Success)) => {
                        passed(start);
                        if changed(container, c) {
                            let text = format!("Init container {} definition changed", c.name);
                            plan.kill.push(killing(c, text, KillReason::Changed));
                            start.push(i);
                        } else if container.liveness_probe.is_some()
                            && verdicts.verdict(&c.id, Kind::Liveness) == Some(Verdict::Failure)
                        {
                            let text = format!("Init container {} failed liveness probe", c.name);
                            plan.kill.push(killing(c, text, KillReason::Liveness));
                            start.push(i);
                        }
                    }
                    Some(Some(Verdict::Failure)) => {
                        let text = format!("Init container {} failed startup probe", c.name);
                        plan.kill.push(killing(c, text, KillReason::Startup));
                        start.push(i);
                    }
                    Some(_) => {}
                }
            }
            RunState::Exited if sidecar => start.push(i),
            RunState::Exited if c.exit_code == 0 => passed(start),
            RunState::Exited => {
                if !restart::wanted(pod, container, seen) {
                    plan.kill_pod = true;
                    start.clear();
                    return false;
                }
                start.push(i);
            }
            RunState::Unknown => {
                if !sidecar && !restart::after_kill(pod, container) {
                    plan.kill_pod = true;
                    start.clear();
                    return false;
                }
                let text = "Init container is in \"unknown\" state, try killing it before restart".to_owned();
                plan.kill.push(killing(c, text, KillReason::Unknown));
                start.push(i);
            }
        }
        before = true;
    }
    if !before {
        start.push(0);
    }
    start.reverse();
    initialized
}

/// How many running containers stay, and which to start.
fn plan_regular(pod: &Pod, seen: &PodSeen, verdicts: &dyn Verdicts, plan: &mut Plan) -> (usize, Vec<usize>) {
    let (mut kept, mut start) = (0, Vec::new());
    for (i, container) in pods::containers(pod).iter().enumerate() {
        let running = match seen.container(&container.name) {
            Some(c) if c.running() => c,
            other => {
                if restart::wanted(pod, container, seen) {
                    start.push(i);
                    if let Some(c) = other.filter(|c| c.state == RunState::Unknown) {
                        let text =
                            "Container is in \"unknown\" state, try killing it before restart".to_owned();
                        plan.kill.push(killing(c, text, KillReason::Unknown));
                    }
                }
                continue;
            }
        };
        let failed = |kind| verdicts.verdict(&running.id, kind) == Some(Verdict::Failure);
        let (what, reason) = if changed(container, running) {
            ("definition changed", KillReason::Changed)
        } else if container.liveness_probe.is_some() && failed(Kind::Liveness) {
            ("failed liveness probe", KillReason::Liveness)
        } else if container.startup_probe.is_some() && failed(Kind::Startup) {
            ("failed startup probe", KillReason::Startup)
        } else {
            kept += 1;
            continue;
        };
        let mut text = format!("Container {} {what}", container.name);
        if reason == KillReason::Changed || restart::after_kill(pod, container) {
            text.push_str(", will be restarted");
            start.push(i);
        }
        plan.kill.push(killing(running, text, reason));
    }
    (kept, start)
}

/// Seconds a container gets to end: the deletion's, the probe's own, or the pod's. At least `minimum` in the end.
pub fn grace(pod: &Pod, container: &Container, reason: KillReason) -> i64 {
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds {
        return seconds;
    }
    let own = match reason {
        KillReason::Startup => container.startup_probe.as_ref(),
        KillReason::Liveness => container.liveness_probe.as_ref(),
        _ => None,
    };
    own.and_then(|p| p.termination_grace_period_seconds)
        .or(pods::spec(pod).termination_grace_period_seconds)
        .unwrap_or(MINIMUM_GRACE)
}

/// No container is killed with less than this, short of a forced deletion.
pub const MINIMUM_GRACE: i64 = 2;

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
