//! Making room: which pods of lower priority would have to go, and on which node that costs least.

use crate::cluster::{Cluster, NodeIndex};
use crate::cycle::{Cycle, Search};
use crate::facts::Facts;
use crate::failure::histogram;
use crate::framework::Reasons;
use crate::pod::PodInfo;
use jiff::Timestamp;
use rand::RngExt;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

const UNHELPFUL: &str = "Preemption is not helpful for scheduling";

/// What preemption found.
#[derive(Debug)]
pub enum Preemption {
    /// These pods go, and the node is kept for the pod; others' claims on it end.
    Evict { node: NodeIndex, victims: Vec<Arc<PodInfo>>, displaced: Vec<Arc<PodInfo>> },
    /// Something went wrong; nobody else is asked.
    Failed(String),
    /// The text the `FailedScheduling` message ends with; whether the pod's nomination ends.
    Nothing { message: String, clear: bool },
}

/// A node, and the pods that would have to leave it, most important first.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub node: NodeIndex,
    pub victims: Vec<Arc<PodInfo>>,
    /// Victims whose budget does not allow it.
    pub violations: usize,
}

/// How many nodes to try at least: `DefaultPreemptionArgs`.
#[derive(Clone, Copy, Debug)]
pub struct Shortlist {
    pub percentage: usize,
    pub absolute: usize,
}

impl Shortlist {
    fn of(self, nodes: usize) -> usize {
        (nodes * self.percentage / 100).max(self.absolute).min(nodes)
    }
}

/// Looks for room for a pod that fits nowhere.
pub fn preempt(search: &mut Search<'_, '_>, shortlist: Shortlist) -> Preemption {
    let (pod, failure) = (search.cycle.pod, search.failure);
    if let Some(why) = ineligible(search) {
        return Preemption::Nothing { message: format!("preemption: {why}"), clear: false };
    }
    let mut potential: Vec<NodeIndex> = match &failure.whole {
        Some(why) if why.resolvable => search.cluster.nodes().map(|(at, _)| at).collect(),
        Some(_) => Vec::new(),
        None => {
            let mendable = failure.nodes.iter().filter(|(_, kind)| failure.kinds[*kind].1.resolvable);
            mendable.map(|(at, _)| *at).collect()
        }
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut judged = 0;
    let mut candidates: Vec<Candidate> = Vec::new();
    if !potential.is_empty() {
        let enough = shortlist.of(potential.len());
        let offset = search.rng.random_range(0..potential.len());
        potential.rotate_left(offset);
        for at in potential {
            match victims(search.cycle, search.cluster, at) {
                Ok(found) => candidates.push(found),
                Err(reasons) => {
                    judged += 1;
                    reasons.iter().for_each(|r| *counts.entry(r.to_string()).or_default() += 1);
                }
            }
            if candidates.len() >= enough && candidates.iter().any(|c| c.violations == 0) {
                break;
            }
        }
    }
    if candidates.is_empty() {
        if judged < failure.total {
            *counts.entry(UNHELPFUL.into()).or_default() += failure.total - judged;
        }
        let reasons = histogram(counts.iter().map(|(r, n)| (r.as_str(), *n)).collect());
        let message = format!("preemption: 0/{} nodes are available: {reasons}.", failure.total);
        return Preemption::Nothing { message, clear: true };
    }
    if let Err(error) = search.outside.preempt(pod, search.cluster, &mut candidates) {
        return Preemption::Nothing { message: format!("preemption: {error}"), clear: false };
    }
    let Some(best) = candidates.into_iter().min_by_key(cost) else {
        return Preemption::Nothing {
            message: "preemption: no candidate node for preemption".into(),
            clear: false,
        };
    };
    let name = search.cluster.node(best.node).map(|n| n.name.clone()).unwrap_or_default();
    let displaced = search.cluster.nominated_on(&name).iter().filter(|p| p.priority < pod.priority);
    Preemption::Evict { node: best.node, displaced: displaced.cloned().collect(), victims: best.victims }
}

fn ineligible(search: &Search<'_, '_>) -> Option<&'static str> {
    let (pod, cluster) = (search.cycle.pod, &*search.cluster);
    if pod.never_preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = if pod.nominated.is_empty() { cluster.nomination(&pod.uid)? } else { &*pod.nominated };
    let at = cluster.index(nominated)?;
    let refused = search.failure.of(at).or(search.failure.whole.as_ref());
    // A node that cannot do any more is no reason to wait for it.
    if refused.is_none_or(|why| !why.resolvable) {
        return None;
    }
    let leaving = |p: &Arc<PodInfo>| p.priority < pod.priority && p.preempted;
    cluster
        .node(at)?
        .pods
        .iter()
        .any(leaving)
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

/// More important first: by priority, then by how long they have been running.
fn importance(pod: &Arc<PodInfo>) -> (Reverse<i32>, Timestamp) {
    (Reverse(pod.priority), pod.started.unwrap_or(Timestamp::MAX))
}

/// The fewest pods of lower priority without which the pod fits on a node.
fn victims(cycle: &mut Cycle<'_>, cluster: &mut Cluster, at: NodeIndex) -> Result<Candidate, Reasons> {
    let Some(node) = cluster.node(at) else { return Err(Reasons::Many(Vec::new())) };
    let mut candidates: Vec<Arc<PodInfo>> =
        node.pods.iter().filter(|p| p.priority < cycle.pod.priority).cloned().collect();
    if candidates.is_empty() {
        return Err(Reasons::One("No preemption victims found for incoming pod".into()));
    }
    for pod in &candidates {
        cluster.lift(&pod.uid, at);
    }
    cycle.refresh(cluster);
    candidates.sort_by_key(importance);
    let found = match cycle.filter_with_nominated(at, cluster) {
        Err((_, why)) => Err(why.reasons),
        Ok(()) => Ok(spare(cycle, cluster, at, &candidates)),
    };
    // Whatever came of it, those on trial go back to where they are.
    match &found {
        Err(_) => candidates.iter().for_each(|p| cluster.put(p.clone(), at)),
        Ok(found) => found.victims.iter().for_each(|p| cluster.put(p.clone(), at)),
    }
    cycle.refresh(cluster);
    found
}

/// Puts back whom the pod can do with, those with a budget against it first; who is left is to go.
fn spare(cycle: &mut Cycle<'_>, cluster: &mut Cluster, at: NodeIndex, all: &[Arc<PodInfo>]) -> Candidate {
    let protected = violating(all, &cluster.facts);
    let mut out = Candidate { node: at, victims: Vec::new(), violations: 0 };
    for wanted in [true, false] {
        for (pod, _) in all.iter().zip(&protected).filter(|(_, p)| **p == wanted) {
            cluster.put(pod.clone(), at);
            cycle.refresh(cluster);
            if cycle.filter_with_nominated(at, cluster).is_err() {
                cluster.lift(&pod.uid, at);
                cycle.refresh(cluster);
                out.victims.push(pod.clone());
                out.violations += usize::from(wanted);
            }
        }
    }
    out.victims.sort_by_key(importance);
    out
}

/// Which of these, taken in order, a disruption budget does not allow to go.
fn violating(pods: &[Arc<PodInfo>], facts: &Facts) -> Vec<bool> {
    let allowed = |b: &k8s_openapi::api::policy::v1::PodDisruptionBudget| {
        b.status.as_ref().and_then(|s| s.disruptions_allowed).map_or(0, i64::from)
    };
    let mut left: Vec<i64> = facts.budgets.values().map(|(_, b)| allowed(b)).collect();
    let mut out = Vec::with_capacity(pods.len());
    for pod in pods {
        let mut violates = false;
        for (left, (selector, budget)) in left.iter_mut().zip(facts.budgets.values()) {
            let own = budget.metadata.namespace.as_deref() == Some(&*pod.namespace);
            if !own || pod.labels.is_empty() || selector.is_everything() || !selector.matches(&pod.labels) {
                continue;
            }
            let disrupted = budget.status.as_ref().and_then(|s| s.disrupted_pods.as_ref());
            if disrupted.is_some_and(|d| d.contains_key(&*pod.name)) {
                continue;
            }
            *left -= 1;
            violates |= *left < 0;
        }
        out.push(violates);
    }
    out
}

/// Upstream's order of preference among nodes: the fewest violated budgets, the lowest highest priority, the
/// lowest sum, the fewest pods, the latest start among the most important.
fn cost(candidate: &Candidate) -> impl Ord + use<> {
    let victims = &candidate.victims;
    let highest = victims.first().map_or(i32::MIN, |p| p.priority);
    let sum: i64 = victims.iter().map(|p| i64::from(p.priority) + i64::from(i32::MAX) + 1).sum();
    let most = victims.iter().filter(|p| p.priority == highest);
    let earliest = most.map(|p| p.started.unwrap_or(Timestamp::MAX)).min();
    (candidate.violations, highest, sum, victims.len(), Reverse(earliest))
}
