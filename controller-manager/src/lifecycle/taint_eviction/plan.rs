//! Whether and when a pod must leave its node.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use std::time::Duration;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    GoesAfter(Duration),
    Goes,
}

/// The node's `NoExecute` taints.
pub(super) fn no_execute(node: &Node) -> Vec<&Taint> {
    node.spec.iter().flat_map(|s| s.taints.iter().flatten()).filter(|t| t.effect == "NoExecute").collect()
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    let own = taint.value.as_deref().unwrap_or("");
    let value = toleration.value.as_deref().unwrap_or("");
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "Equal" | "" => !key.is_empty() && value == own || key.is_empty() && value == own && own.is_empty(),
        "Lt" => number(own).zip(number(value)).is_some_and(|(taint, limit)| taint < limit),
        "Gt" => number(own).zip(number(value)).is_some_and(|(taint, limit)| taint > limit),
        _ => false,
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Since when a pod had to go: the first of its node's taints that it does not tolerate, or no longer.
pub(super) fn due(pod: &Pod, node: &Node, now: Timestamp) -> Timestamp {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or(&[]);
    let each = no_execute(node).into_iter().filter_map(|taint| {
        let since = taint.time_added.as_ref().map_or(now, |t| t.0);
        let mut used = tolerations.iter().filter(|t| tolerates(t, taint)).peekable();
        if used.peek().is_none() {
            return Some(since);
        }
        let seconds = used.filter_map(|t| t.toleration_seconds).min()?;
        since.checked_add(SignedDuration::from_secs(seconds.max(0))).ok()
    });
    each.min().unwrap_or(now)
}

/// A pod that does not tolerate a taint goes at once; one that tolerates each for a time goes when the
/// shortest of these times since the taint came is over.
pub(super) fn judge(pod: &Pod, node: &Node, now: Timestamp) -> Verdict {
    if pod.metadata.deletion_timestamp.is_some() {
        return Verdict::Stays;
    }
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or(&[]);
    let mut earliest: Option<i64> = None;
    for taint in no_execute(node) {
        let mut used = tolerations.iter().filter(|t| tolerates(t, taint)).peekable();
        if used.peek().is_none() {
            return Verdict::Goes;
        }
        let since = taint.time_added.as_ref().map_or(now, |t| t.0).as_second();
        if let Some(seconds) = used.filter_map(|t| t.toleration_seconds).min() {
            let at = since + seconds.max(0);
            earliest = Some(earliest.map_or(at, |e| e.min(at)));
        }
    }
    match earliest {
        None => Verdict::Stays,
        Some(at) if at <= now.as_second() => Verdict::Goes,
        Some(at) => Verdict::GoesAfter(Duration::from_secs((at - now.as_second()).unsigned_abs())),
    }
}
