//! Why a pod does not run, is not ready, or does not go.

use super::container;
use super::finding::{Finding, Verdict, count, names};
use super::read::{Found, newest, told};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Event, Node, Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;

/// What is known of a pod.
pub struct Seen<'a> {
    pub pod: &'a Pod,
    /// Its events, oldest first.
    pub events: &'a [Event],
    /// Its node; `None` where it has none.
    pub node: Option<&'a Found<Node>>,
    /// What its scheduling comes to by our own evaluation; `None` where none could be made.
    pub fit: Option<Vec<Finding>>,
    /// What is wrong with the claims it uses.
    pub claims: Vec<Finding>,
    pub now: Timestamp,
}

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

fn since(then: Option<Timestamp>, now: Timestamp) -> String {
    gantry_types::time::age(then, now)
}

/// Why a node's kubelet is not heard, where it is not.
pub fn node_trouble(name: &str, node: &Found<Node>, now: Timestamp) -> Option<Finding> {
    let node = match node {
        Found::Gone => return Some(Finding::new(format!("its node {name} does not exist any more"))),
        Found::Unread => return None,
        Found::There(node) => node,
    };
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().find(|c| c.type_ == "Ready");
    if ready.is_some_and(|c| c.status == "True") {
        return None;
    }
    let out = Finding::new(format!("its node {name} is not ready, so nothing is started or ended there"));
    Some(match ready {
        None => out.seen("it never said that it is ready"),
        Some(c) => out.seen(format!(
            "Ready is {} for {}: {}",
            c.status,
            since(c.last_transition_time.as_ref().map(|t| t.0), now),
            c.message.as_deref().unwrap_or_default()
        )),
    })
}

/// The worst that can be said of a pod.
pub fn explain(seen: &Seen<'_>) -> Verdict {
    let pod = seen.pod;
    let (spec, status) = (pod.spec.clone().unwrap_or_default(), pod.status.clone().unwrap_or_default());
    let phase = status.phase.as_deref().unwrap_or("Pending");
    if let Some(at) = &pod.metadata.deletion_timestamp {
        return Verdict::new("Terminating", terminating(seen, at.0));
    }
    if phase == "Succeeded" {
        return Verdict::new("Succeeded", Vec::new());
    }
    if phase == "Failed" {
        let state = status.reason.filter(|r| !r.is_empty()).unwrap_or_else(|| "Failed".into());
        return Verdict::new(state.clone(), vec![failed(seen, &state)]);
    }
    let node = spec.node_name.as_deref().unwrap_or_default();
    if node.is_empty() {
        return unscheduled(seen);
    }
    let mut findings: Vec<Finding> = seen
        .node
        .and_then(|n| node_trouble(node, n, seen.now))
        .map(|f| f.change(format!("bring node {node} back: its kubelet must run and reach the API server")))
        .into_iter()
        .collect();
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let statuses = status.init_container_statuses.as_deref().unwrap_or_default();
    let initialized = condition(pod, "Initialized").is_some_and(|c| c.status == "True");
    if !initialized {
        findings.extend(blocked_init(seen, init, statuses));
    }
    let main = status.container_statuses.as_deref().unwrap_or_default();
    let of = |c| one(seen, c, main, "container");
    if initialized || init.is_empty() {
        findings.extend(spec.containers.iter().filter_map(|c| container::explain(&of(c))));
    }
    if findings.is_empty() && phase == "Pending" {
        findings.push(setting_up(seen));
    }
    let ready = condition(pod, "Ready");
    if ready.is_some_and(|c| c.status == "True") {
        let restarted = spec.containers.iter().filter_map(|c| container::restarts(&of(c)));
        return Verdict::new("Running and ready", restarted.collect());
    }
    findings.extend(gates(seen));
    if findings.is_empty()
        && let Some(c) = ready
    {
        let text = c.message.as_deref().unwrap_or_default();
        findings
            .push(Finding::new("it is not ready").seen(text).change("wait for its containers to be ready"));
    }
    Verdict::new(if phase == "Running" { "Running, not ready" } else { phase }, findings)
}

fn one<'a>(
    seen: &'a Seen<'_>,
    container: &'a Container,
    statuses: &'a [ContainerStatus],
    what: &'static str,
) -> container::Seen<'a> {
    let status = statuses.iter().find(|s| s.name == container.name);
    container::Seen { pod: seen.pod, container, status, events: seen.events, what }
}

/// The first init container that holds the others up.
fn blocked_init(seen: &Seen<'_>, init: &[Container], statuses: &[ContainerStatus]) -> Option<Finding> {
    for c in init {
        let one = one(seen, c, statuses, "init container");
        let state = one.status.and_then(|s| s.state.as_ref());
        if state.and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0) {
            continue;
        }
        let sidecar = c.restart_policy.as_deref() == Some("Always");
        if sidecar && one.status.is_some_and(|s| s.started == Some(true)) {
            continue;
        }
        if let Some(running) = state.and_then(|s| s.running.as_ref()).filter(|_| !sidecar) {
            let age = since(running.started_at.as_ref().map(|t| t.0), seen.now);
            let cause = format!("init container {} has been running for {age}; those after it wait", c.name);
            let logs = format!("see what it waits for: kctl logs {} -c {}", name(seen.pod), c.name);
            return Some(Finding::new(cause).change(logs));
        }
        if let Some(found) = container::explain(&one) {
            return Some(found);
        }
    }
    None
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// A pod on a node whose containers are not there yet.
fn setting_up(seen: &Seen<'_>) -> Finding {
    let node = seen.pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    let volumes = ["FailedMount", "FailedAttachVolume", "FailedMapVolume"];
    if let Some(event) = newest(seen.events, &volumes, "") {
        let text = event.message.as_deref().unwrap_or_default();
        let out = Finding::new("a volume cannot be attached or mounted").seen(told(event));
        let missing = |kind: &str| text.contains(&format!("{kind} \"")) && text.contains("not found");
        let tail = |kind: &str| {
            let rest = text.split(&format!("{kind} \"")).nth(1).unwrap_or_default();
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        for kind in ["configmap", "secret"] {
            if missing(kind) {
                return out.change(format!("create the {kind} {}, or mark the volume optional", tail(kind)));
            }
        }
        if text.contains("references non-existent") && text.contains("key") {
            return out.change("add the missing key, or take it out of the volume's items");
        }
        if text.contains("Multi-Attach") || text.contains("already used by") {
            return out.change("the volume is attached elsewhere: end the pods there, or use ReadWriteMany");
        }
        return out
            .change(format!("mend what the message names; the volume's driver must run on node {node}"))
            .because(seen.claims.clone());
    }
    if let Some(event) = newest(seen.events, &["FailedCreatePodSandBox", "NetworkNotReady"], "") {
        return Finding::new("its sandbox or network cannot be set up")
            .seen(told(event))
            .change(format!("the pod network (CNI) and the container runtime on node {node} must work"));
    }
    // What was said before it had a node is over.
    let warning =
        |e: &&Event| e.type_.as_deref() == Some("Warning") && e.reason.as_deref() != Some("FailedScheduling");
    if let Some(event) = seen.events.iter().rev().find(warning) {
        return Finding::new("it is being set up, with trouble")
            .seen(told(event))
            .change("mend what the event names");
    }
    if let Some(event) = newest(seen.events, &["Pulling"], "") {
        return Finding::new("an image is being pulled").seen(told(event)).change("wait");
    }
    let bound = condition(seen.pod, "PodScheduled").and_then(|c| c.last_transition_time.as_ref());
    Finding::new(format!("node {node} has not started it yet"))
        .seen(format!("assigned {} ago, and no event says why not", since(bound.map(|t| t.0), seen.now)))
        .change(format!("wait; where it lasts, see whether the kubelet of {node} runs"))
}

/// Readiness gates nobody has opened.
fn gates(seen: &Seen<'_>) -> Option<Finding> {
    let gates = seen.pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let shut = gates.iter().map(|g| g.condition_type.as_str());
    let shut: Vec<&str> =
        shut.filter(|t| condition(seen.pod, t).is_none_or(|c| c.status != "True")).collect();
    (!shut.is_empty()).then(|| {
        Finding::new(format!("its readiness gates are shut: {}", names(&shut)))
            .change("whoever the gates are for must set these conditions to True in the pod's status")
    })
}

fn unscheduled(seen: &Seen<'_>) -> Verdict {
    let spec = seen.pod.spec.clone().unwrap_or_default();
    let scheduler = spec.scheduler_name.as_deref().unwrap_or("default-scheduler");
    let gates: Vec<&str> = spec.scheduling_gates.iter().flatten().map(|g| g.name.as_str()).collect();
    if !gates.is_empty() {
        let finding = Finding::new(format!(
            "held back from the scheduler by {}",
            count(gates.len(), "scheduling gate")
        ))
        .seen(format!("spec.schedulingGates: {}", names(&gates)))
        .change("whoever set a gate must take it away; all must be gone");
        return Verdict::new("Pending, gated", vec![finding]);
    }
    let said = condition(seen.pod, "PodScheduled").filter(|c| c.status == "False");
    let event = newest(seen.events, &["FailedScheduling"], "");
    let told_so = match (said.and_then(|c| c.message.as_deref()), event) {
        (Some(message), _) => message.to_owned(),
        (None, Some(event)) => event.message.clone().unwrap_or_default(),
        (None, None) => {
            let mut out = Finding::new(format!("no scheduler has looked at it: it waits for {scheduler}"))
                .change(format!("run a scheduler of the name {scheduler}"));
            if scheduler != "default-scheduler" {
                out = out.change("or mend spec.schedulerName (the pod must be made anew)");
            }
            return Verdict::new("Pending", vec![out]);
        }
    };
    if said.and_then(|c| c.reason.as_deref()) == Some("SchedulerError") {
        let out = Finding::new("the scheduler failed over it, and tries again").seen(told_so);
        return Verdict::new(
            "Pending",
            vec![out.change("see the scheduler's log; mend what the message names")],
        );
    }
    let mut out = Finding::new("no node can take it").seen(format!("the scheduler says: {told_so}"));
    let nominated = seen.pod.status.as_ref().and_then(|s| s.nominated_node_name.as_deref());
    if let Some(node) = nominated.filter(|n| !n.is_empty()) {
        out = out.seen(format!("room is being made for it on node {node}: less important pods are to leave"));
    }
    match &seen.fit {
        Some(found) => out = out.because(found.clone()),
        None => out = out.because(super::message::read(&told_so)),
    }
    Verdict::new("Pending, unschedulable", vec![out.because(seen.claims.clone())])
}

fn failed(seen: &Seen<'_>, reason: &str) -> Finding {
    let status = seen.pod.status.clone().unwrap_or_default();
    let text = status.message.unwrap_or_default();
    match reason {
        "Evicted" => {
            return Finding::new("its node ran short of something and put it out")
                .seen(text)
                .change("set requests that match what it uses, and limits; free or add what the node lacks");
        }
        "NodeAffinity" | "OutOfcpu" | "OutOfmemory" | "OutOfpods" | "UnexpectedAdmissionError" => {
            return Finding::new(format!("its node would not have it: {reason}"))
                .seen(text)
                .change("whoever made it must make it anew; delete it");
        }
        "DeadlineExceeded" => {
            return Finding::new("it ran longer than spec.activeDeadlineSeconds allows")
                .seen(text)
                .change("raise activeDeadlineSeconds, or make it finish sooner");
        }
        _ => {}
    }
    let mut out = Finding::new("it has failed, and its restart policy leaves it so").seen(text);
    if let Some(c) = condition(seen.pod, "DisruptionTarget").filter(|c| c.status == "True") {
        let (why, text) = (c.reason.as_deref().unwrap_or_default(), c.message.as_deref().unwrap_or_default());
        out = out.seen(format!("disrupted by {why}: {text}"));
    }
    let statuses = status.init_container_statuses.into_iter().chain(status.container_statuses).flatten();
    for s in statuses {
        let ended = s.state.as_ref().and_then(|s| s.terminated.as_ref());
        if let Some(t) = ended.filter(|t| t.exit_code != 0) {
            let (code, why) = (t.exit_code, t.reason.as_deref().unwrap_or_default());
            out = out.seen(format!("container {} ended with exit code {code} ({why})", s.name));
            out = out.change(format!("mend what it says: kctl logs {} -c {}", name(seen.pod), s.name));
        }
    }
    out
}

fn terminating(seen: &Seen<'_>, due: Timestamp) -> Vec<Finding> {
    let pod = seen.pod;
    let mut out = Vec::new();
    let finalizers = pod.metadata.finalizers.as_deref().unwrap_or_default();
    if !finalizers.is_empty() {
        out.push(
            Finding::new(format!("{} to be taken away first", count(finalizers.len(), "finalizer")))
                .seen(format!("metadata.finalizers: {}", names(finalizers)))
                .change("the controllers they belong to must do their work and take them away; see whether they run"),
        );
    }
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    let gone = format!("kctl delete pod {} --force --grace-period=0", name(pod));
    if let Some(found) = seen.node.filter(|_| !node.is_empty())
        && let Some(trouble) = node_trouble(node, found, seen.now)
    {
        let trouble = if found.is_gone() {
            trouble.change(
                "the pod garbage collector of the controller manager removes it soon; see whether it runs",
            )
        } else {
            trouble
                .change(format!("bring node {node} back"))
                .change(format!("or, sure that it is off: kctl taint node {node} {OUT_OF_SERVICE}"))
        };
        out.push(trouble.change(format!("or, sure that nothing of it runs: {gone}")));
        return out;
    }
    if due > seen.now {
        let left = due.duration_since(seen.now).as_secs();
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
        out.push(
            Finding::new(format!("its containers are being stopped: {left}s of {grace}s are left to them"))
                .change(
                    "wait; to take less next time, handle SIGTERM or lower terminationGracePeriodSeconds",
                ),
        );
        return out;
    }
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let running: Vec<&str> = statuses
        .iter()
        .filter(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()))
        .map(|s| s.name.as_str())
        .collect();
    let events =
        ["FailedKillPod", "FailedPreStopHook", "FailedUnmount", "FailedUnMount", "FailedDetachVolume"];
    let event = newest(seen.events, &events, "").map(told).unwrap_or_default();
    if !running.is_empty() {
        out.push(
            Finding::new(format!("containers still run after their grace period: {}", names(&running)))
                .seen(event)
                .change(format!(
                    "the kubelet and the container runtime on node {node} must be able to end them"
                )),
        );
    } else if finalizers.is_empty() {
        let late = since(Some(due), seen.now);
        out.push(
            Finding::new("its containers have ended, but its kubelet has not let it go yet")
                .seen(event)
                .seen(format!("due {late} ago"))
                .change(format!("the kubelet on node {node} must finish (volumes, network); see its log"))
                .change(format!("or, sure that nothing of it runs: {gone}")),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    struct Case {
        spec: Value,
        status: Value,
        meta: Value,
        node: Option<Found<Node>>,
        event: (&'static str, &'static str),
        fit: Option<Vec<Finding>>,
    }

    impl Default for Case {
        fn default() -> Self {
            Self {
                spec: json!({}),
                status: json!({}),
                meta: json!({}),
                node: None,
                event: ("", ""),
                fit: None,
            }
        }
    }

    fn merge(into: &mut Value, more: Value) {
        for (k, v) in more.as_object().unwrap() {
            into[k] = v.clone();
        }
    }

    fn check(case: Case, state: &str, cause: &str, telling: &str) {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {"phase": "Pending"}});
        merge(&mut pod["metadata"], case.meta);
        merge(&mut pod["spec"], case.spec);
        merge(&mut pod["status"], case.status);
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let events: Vec<Event> = serde_json::from_value(json!([{"metadata": {}, "involvedObject": {},
            "type": "Warning", "reason": case.event.0, "message": case.event.1}]))
        .unwrap();
        let events = if case.event.0.is_empty() { &[] } else { events.as_slice() };
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        let got = explain(&Seen {
            pod: &pod,
            events,
            node: case.node.as_ref(),
            fit: case.fit,
            claims: Vec::new(),
            now,
        });
        let first = got.findings.first().cloned().unwrap_or_default();
        assert_eq!((got.state.as_str(), first.cause.as_str()), (state, cause));
        let below = first.because.iter().map(|f| f.cause.clone());
        let all: Vec<String> = first.evidence.iter().chain(&first.change).cloned().chain(below).collect();
        assert!(all.join("; ").contains(telling), "{cause}: {all:?}");
    }

    fn conditions(list: &[(&str, &str, &str, &str)]) -> Value {
        let one = |(kind, status, reason, message): &(&str, &str, &str, &str)| json!({"type": kind, "status": status, "reason": reason, "message": message});
        json!({"conditions": list.iter().map(one).collect::<Vec<_>>()})
    }

    fn node(ready: &str) -> Option<Found<Node>> {
        let node = json!({"metadata": {"name": "a"}, "status": {"conditions": [
            {"type": "Ready", "status": ready, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        Some(Found::There(Box::new(serde_json::from_value(node).unwrap())))
    }

    #[test]
    fn pods_no_node_takes() {
        let refused = |message: &str| conditions(&[("PodScheduled", "False", "Unschedulable", message)]);
        let words = "0/1 nodes are available: 1 Insufficient cpu. preemption: no";
        let of = |status: Value| Case { status, ..Case::default() };
        check(
            of(refused(words)),
            "Pending, unschedulable",
            "no node can take it",
            "1 node: Insufficient cpu",
        );
        check(
            Case { fit: Some(vec![Finding::new("own")]), ..of(refused(words)) },
            "Pending, unschedulable",
            "no node can take it",
            "own",
        );
        let mut nominated = refused(words);
        nominated["nominatedNodeName"] = "b".into();
        check(
            of(nominated),
            "Pending, unschedulable",
            "no node can take it",
            "room is being made for it on node b",
        );
        check(
            of(conditions(&[("PodScheduled", "False", "SchedulerError", "binding volumes")])),
            "Pending",
            "the scheduler failed over it, and tries again",
            "binding volumes",
        );
        check(
            Case { spec: json!({"schedulingGates": [{"name": "x.y/g"}]}), ..Case::default() },
            "Pending, gated",
            "held back from the scheduler by 1 scheduling gate",
            "x.y/g",
        );
        check(
            Case { spec: json!({"schedulerName": "mine"}), ..Case::default() },
            "Pending",
            "no scheduler has looked at it: it waits for mine",
            "run a scheduler of the name mine",
        );
    }

    #[test]
    fn pods_on_a_node_that_do_not_start() {
        let on = || Case { spec: json!({"nodeName": "a"}), node: node("True"), ..Case::default() };
        check(
            Case {
                event: (
                    "FailedMount",
                    "MountVolume.SetUp failed for volume \"v\" : configmap \"m\" not found",
                ),
                ..on()
            },
            "Pending",
            "a volume cannot be attached or mounted",
            "create the configmap m",
        );
        check(
            Case { event: ("FailedCreatePodSandBox", "cni plugin not initialized"), ..on() },
            "Pending",
            "its sandbox or network cannot be set up",
            "pod network (CNI)",
        );
        check(on(), "Pending", "node a has not started it yet", "no event says why not");
        check(
            Case { node: node("Unknown"), ..on() },
            "Pending",
            "its node a is not ready, so nothing is started or ended there",
            "Ready is Unknown for 10m: m",
        );
        check(
            Case { node: Some(Found::Gone), ..on() },
            "Pending",
            "its node a does not exist any more",
            "bring node a back",
        );
        let init = json!({"nodeName": "a", "initContainers": [{"name": "i"}]});
        let running = json!({"initContainerStatuses": [{"name": "i", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:05:00Z"}}}]});
        check(
            Case { spec: init, status: running, ..on() },
            "Pending",
            "init container i has been running for 5m; those after it wait",
            "kctl logs p -c i",
        );
    }

    #[test]
    fn pods_that_run_or_have_run() {
        let on = |status: Value| Case {
            spec: json!({"nodeName": "a"}),
            node: node("True"),
            status,
            ..Case::default()
        };
        let with = |phase: &str, more: Value| {
            let mut out = more;
            out["phase"] = phase.into();
            out
        };
        let ready = conditions(&[("Initialized", "True", "", ""), ("Ready", "True", "", "")]);
        check(on(with("Running", ready)), "Running and ready", "", "");
        let unready = conditions(&[
            ("Initialized", "True", "", ""),
            ("Ready", "False", "ReadinessGatesNotReady", "gate"),
        ]);
        let mut gated = on(with("Running", unready.clone()));
        gated.spec["readinessGates"] = json!([{"conditionType": "x.y/g"}]);
        check(gated, "Running, not ready", "its readiness gates are shut: x.y/g", "set these conditions");
        check(on(with("Running", unready)), "Running, not ready", "it is not ready", "gate");
        check(on(with("Succeeded", json!({}))), "Succeeded", "", "");
        check(
            on(with("Failed", json!({"reason": "Evicted", "message": "low on memory"}))),
            "Evicted",
            "its node ran short of something and put it out",
            "low on memory",
        );
        let ended = json!({"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]});
        check(
            on(with("Failed", ended)),
            "Failed",
            "it has failed, and its restart policy leaves it so",
            "container c ended with exit code 3 (Error)",
        );
    }

    #[test]
    fn pods_that_do_not_go() {
        let going = |at: &str| Case {
            spec: json!({"nodeName": "a"}),
            meta: json!({"deletionTimestamp": at, "deletionGracePeriodSeconds": 30}),
            node: node("True"),
            ..Case::default()
        };
        let past = "2026-01-01T00:00:00Z";
        let mut held = going(past);
        held.meta["finalizers"] = json!(["x.y/f"]);
        check(held, "Terminating", "1 finalizer to be taken away first", "x.y/f");
        check(
            going("2026-01-01T00:10:20Z"),
            "Terminating",
            "its containers are being stopped: 20s of 30s are left to them",
            "wait",
        );
        check(
            Case { node: Some(Found::Gone), ..going(past) },
            "Terminating",
            "its node a does not exist any more",
            "pod garbage collector",
        );
        check(
            Case { node: node("Unknown"), ..going(past) },
            "Terminating",
            "its node a is not ready, so nothing is started or ended there",
            "out-of-service",
        );
        check(
            going(past),
            "Terminating",
            "its containers have ended, but its kubelet has not let it go yet",
            "kctl delete pod p --force --grace-period=0",
        );
        let running = json!({"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}}}]});
        check(
            Case { status: running, event: ("FailedKillPod", "no"), ..going(past) },
            "Terminating",
            "containers still run after their grace period: c",
            "event FailedKillPod: no",
        );
    }
}
