//! What a node's conditions mean for its status and taints.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

fn status<'a>(node: &'a Node, kind: &str) -> &'a str {
    condition(node, kind).map_or("", |c| &c.status)
}

/// The status of the Ready condition; `Unknown` where the kubelet never posted one.
pub(super) fn ready(node: &Node) -> &str {
    match status(node, "Ready") {
        "" => "Unknown",
        status => status,
    }
}

/// Whether a change of a node can lead to anything here.
pub(super) fn differs(old: &Node, new: &Node) -> bool {
    let statuses = |n: &Node| {
        ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"]
            .map(|k| status(n, k).to_owned())
    };
    let spec = |n: &Node| n.spec.as_ref().map(|s| (s.taints.clone(), s.unschedulable));
    statuses(old) != statuses(new) || spec(old) != spec(new) || old.metadata.labels != new.metadata.labels
}

/// The node after its kubelet fell silent; `None` where it says so already.
pub(super) fn unknown(node: &Node, now: Timestamp) -> Option<Node> {
    let mut changed = node.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        match conditions.iter_mut().find(|c| c.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
            Some(known) if known.status != "Unknown" => {
                known.status = "Unknown".into();
                known.reason = Some("NodeStatusUnknown".into());
                known.message = Some("Kubelet stopped posting node status.".into());
                known.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    (condition(&changed, "Ready") != condition(node, "Ready")).then_some(changed)
}

/// The older names of labels, which follow the newer.
const FOLLOWERS: [(&str, &str); 2] =
    [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

/// The labels the node lacks or has otherwise.
pub(super) fn labels(node: &Node) -> BTreeMap<&'static str, String> {
    let labels = node.metadata.labels.as_ref();
    let of = |key: &str| labels.and_then(|l| l.get(key));
    let stale = FOLLOWERS.iter().filter(|(newer, older)| of(newer).is_some() && of(newer) != of(older));
    stale.filter_map(|(newer, older)| Some((*older, of(newer)?.clone()))).collect()
}

/// Whether `NoExecute` taints may be put on a node now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    Yes,
    /// Not yet; what is there stays.
    Later,
    /// Everything looks broken, so most likely we are: taints come off.
    Never,
}

/// The `NoSchedule` taints a node's conditions ask for.
fn no_schedule(node: &Node) -> Vec<&'static str> {
    let rows = [
        ("Ready", "False", NOT_READY),
        ("Ready", "Unknown", UNREACHABLE),
        ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
        ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
        ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ];
    let mut keys: Vec<_> =
        rows.iter().filter(|(kind, value, _)| status(node, kind) == *value).map(|(_, _, key)| *key).collect();
    if node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false) {
        keys.push(UNSCHEDULABLE);
    }
    keys
}

const MANAGED: &[&str] = &[
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/network-unavailable",
    "node.kubernetes.io/pid-pressure",
];

fn current(node: &Node) -> Vec<Taint> {
    node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default()
}

/// The taints the node should have, `None` where it has them.
pub(super) fn taints(node: &Node, permit: Permit, now: Timestamp) -> Option<Vec<Taint>> {
    let before = current(node);
    let mut after = before.clone();
    let keys = no_schedule(node);
    let drop_schedule = |t: &Taint| {
        t.effect == "NoSchedule" && MANAGED.contains(&t.key.as_str()) && !keys.contains(&t.key.as_str())
    };
    after.retain(|t| !drop_schedule(t));
    let has =
        |list: &[Taint], key: &str, effect: &str| list.iter().any(|t| t.key == key && t.effect == effect);
    let taint = |key: &str, effect: &str| Taint {
        key: key.into(),
        effect: effect.into(),
        value: None,
        time_added: Some(Time(now)),
    };
    for key in keys {
        if !has(&after, key, "NoSchedule") {
            after.push(taint(key, "NoSchedule"));
        }
    }
    // Before the kubelet's first report the condition is absent, and nothing is evicted for it.
    let wanted = match condition(node, "Ready").map(|c| c.status.as_str()) {
        Some("False") => Some(NOT_READY),
        Some("Unknown") => Some(UNREACHABLE),
        Some(_) => None,
        None => return (after != before).then_some(after),
    };
    let ours = |t: &Taint| t.effect == "NoExecute" && (t.key == NOT_READY || t.key == UNREACHABLE);
    let tainted = after.iter().any(&ours);
    let wanted = wanted.filter(|_| permit != Permit::Never);
    match wanted {
        None => after.retain(|t| !ours(t)),
        // One for the other, at once: the pods' time is already running.
        Some(key) if tainted || permit == Permit::Yes => {
            after.retain(|t| !ours(t) || t.key == key);
            if !has(&after, key, "NoExecute") {
                after.push(taint(key, "NoExecute"));
            }
        }
        Some(_) => {}
    }
    (after != before).then_some(after)
}

/// Whether these taints add the first of our `NoExecute` ones to the node.
pub(super) fn adds_no_execute(node: &Node, after: &[Taint]) -> bool {
    let ours = |t: &&Taint| t.effect == "NoExecute" && (t.key == NOT_READY || t.key == UNREACHABLE);
    current(node).iter().filter(ours).count() == 0 && after.iter().filter(ours).count() > 0
}
