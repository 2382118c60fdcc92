//! Whether a node is off, and what its taints then are.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Says that a node is off: `true`, or better the time from which on it was (RFC 3339).
pub const DECLARED: &str = "gantry.io/powered-off";
/// Upstream's taint of nodes whose pods may be taken for gone.
pub const TAINT: &str = "node.kubernetes.io/out-of-service";
/// The value of the taint where it is ours to take off again.
const VALUE: &str = "powered-off";

/// What was declared of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Undated,
    /// Off from then on; what shows life later was switched on again.
    At(Timestamp),
}

/// A time yet to come says no more than none.
pub(super) fn declared(node: &Node, now: Timestamp) -> Option<Declared> {
    let text = node.metadata.annotations.as_ref()?.get(DECLARED)?;
    match (text.as_str(), text.parse::<Timestamp>()) {
        ("true", _) => Some(Declared::Undated),
        (_, Ok(at)) => Some(if at > now { Declared::Undated } else { Declared::At(at) }),
        _ => None,
    }
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

fn is_ours(taint: &Taint) -> bool {
    taint.key == TAINT && taint.value.as_deref() == Some(VALUE)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether somebody vouches that the node is down: with upstream's taint, which counts once the node is not ready;
/// with ours, which is only there while the node shows no life.
pub fn is_out_of_service(node: &Node) -> bool {
    taints(node).iter().any(|t| t.key == TAINT && (is_ours(t) || !is_ready(node)))
}

/// A node that is on renews its lease within this time (every 10 s by default): one that has not is off.
pub(super) const PROOF: SignedDuration = SignedDuration::from_secs(15);

/// What is known of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    On,
    Off,
    /// Known then.
    Unsure(Timestamp),
}

/// Whether the node is to be taken for off. `renewed`: when its lease last was. A node declared off by mistake keeps
/// renewing, or stays ready.
pub(super) fn power(
    node: &Node,
    declared: Option<Declared>,
    renewed: Option<Timestamp>,
    now: Timestamp,
) -> Power {
    match declared {
        None => Power::On,
        Some(_) if !is_ready(node) => Power::Off,
        Some(Declared::At(at)) if renewed.is_none_or(|r| r <= at) => {
            let known = at.checked_add(PROOF).unwrap_or(Timestamp::MAX);
            if known <= now { Power::Off } else { Power::Unsure(known) }
        }
        Some(_) => Power::On,
    }
}

/// The taints the node should have; `None` where it has them.
pub(super) fn wanted(node: &Node, off: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let all = taints(node);
    let any = all.iter().any(|t| t.key == TAINT && t.effect == "NoExecute");
    let ours = all.iter().any(is_ours);
    if off && !any {
        let taint = Taint {
            key: TAINT.into(),
            value: Some(VALUE.into()),
            effect: "NoExecute".into(),
            time_added: Some(Time(now)),
        };
        return Some(all.iter().cloned().chain([taint]).collect());
    }
    (!off && ours).then(|| all.iter().filter(|t| !is_ours(t)).cloned().collect())
}
