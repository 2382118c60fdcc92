//! Making room: which pods of lower priority would have to go, and on which node that costs least.

use crate::cluster::{Cluster, NodeIndex};
use crate::cycle::{Cycle, Failure, histogram};
use crate::framework::Profile;
use crate::pod::PodInfo;
use jiff::Timestamp;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

/// What preemption found.
#[derive(Debug)]
pub enum Preemption {
    /// These pods go, and the node is kept for the pod.
    Evict { node: NodeIndex, victims: Vec<Arc<PodInfo>> },
    /// The text the `FailedScheduling` message ends with.
    Nothing(String),
}

/// Looks for room for a pod that fits nowhere.
pub fn preempt(profile: &Profile, pod: &PodInfo, cluster: &Cluster, failure: &Failure) -> Preemption {
    let total = failure.total;
    if pod.never_preempts {
        return Preemption::Nothing("not eligible due to preemptionPolicy=Never.".into());
    }
    if let Some(node) = cluster.index(&pod.nominated).and_then(|i| cluster.node(i))
        && node.pods.iter().any(|p| p.deleting && p.priority < pod.priority)
    {
        return Preemption::Nothing("not eligible due to a terminating pod on the nominated node.".into());
    }
    let Ok((cycle, _)) = Cycle::new(profile, pod, cluster) else {
        return Preemption::Nothing(nothing(
            total,
            &vec!["Preemption is not helpful for scheduling".into(); total],
        ));
    };
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    let mut best: Option<(Cost, NodeIndex, Vec<Arc<PodInfo>>)> = None;
    for (index, _, why) in &failure.nodes {
        if !why.resolvable {
            reasons.push("Preemption is not helpful for scheduling".into());
            continue;
        }
        match victims(&cycle, pod, cluster, *index) {
            Ok(found) => {
                let cost = Cost::of(&found);
                if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                    best = Some((cost, *index, found));
                }
            }
            Err(why) => reasons.extend(why),
        }
    }
    match best {
        Some((_, node, victims)) => Preemption::Evict { node, victims },
        None => Preemption::Nothing(nothing(total, &reasons)),
    }
}

fn nothing(total: usize, reasons: &[Cow<'static, str>]) -> String {
    format!("preemption: 0/{total} nodes are available: {}.", histogram(reasons.iter()))
}

/// The fewest pods of lower priority without which the pod fits on a node.
fn victims(
    cycle: &Cycle<'_>,
    pod: &PodInfo,
    cluster: &Cluster,
    index: NodeIndex,
) -> Result<Vec<Arc<PodInfo>>, Vec<Cow<'static, str>>> {
    let Some(node) = cluster.node(index) else { return Err(Vec::new()) };
    let mut trial = node.clone();
    let mut candidates: Vec<Arc<PodInfo>> =
        node.pods.iter().filter(|p| p.priority < pod.priority).cloned().collect();
    if candidates.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".into()]);
    }
    for candidate in &candidates {
        trial.remove_pod(&candidate.uid);
    }
    cycle.filter(&trial).map_err(|(_, why)| why.reasons)?;
    // The most important and longest running are put back first.
    candidates.sort_by_key(|p| (Reverse(p.priority), p.started.unwrap_or(Timestamp::MAX)));
    let mut out = Vec::new();
    for candidate in candidates {
        trial.add_pod(candidate.clone());
        if cycle.filter(&trial).is_err() {
            trial.remove_pod(&candidate.uid);
            out.push(candidate);
        }
    }
    Ok(out)
}

/// Upstream's order of preference among nodes: the lowest highest priority, the lowest sum, the fewest pods,
/// the latest start among the most important.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    highest: i32,
    sum: i64,
    count: usize,
    started: Reverse<Option<Timestamp>>,
}

impl Cost {
    fn of(victims: &[Arc<PodInfo>]) -> Self {
        let highest = victims.iter().map(|p| p.priority).max().unwrap_or(i32::MIN);
        Self {
            highest,
            sum: victims.iter().map(|p| i64::from(p.priority) + i64::from(i32::MAX) + 1).sum(),
            count: victims.len(),
            started: Reverse(
                victims.iter().filter(|p| p.priority == highest).filter_map(|p| p.started).min(),
            ),
        }
    }
}
