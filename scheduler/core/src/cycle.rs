//! One decision: filter, score, choose.

use crate::cluster::{Cluster, NodeIndex};
use crate::framework::{Carried, PreFilter, Profile, Rejection};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use rand::{Rng, RngExt};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

const MIN_FEASIBLE: usize = 100;
const MIN_PERCENTAGE: usize = 5;

/// What a cycle decided.
#[derive(Debug)]
pub enum Outcome {
    Node(NodeIndex),
    Unschedulable(Failure),
}

/// Why no node would do.
#[derive(Debug, Default)]
pub struct Failure {
    /// Bit per plugin of the profile that refused something: who to ask whether a change helps.
    pub plugins: u64,
    /// A refusal of the pod as a whole, before any node.
    pub whole: Option<Rejection>,
    /// Every node refused, with why and by which plugin.
    pub nodes: Vec<(NodeIndex, usize, Rejection)>,
    pub total: usize,
}

impl Failure {
    /// Upstream's `FailedScheduling` message, without what preemption adds.
    pub fn message(&self) -> String {
        if self.total == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut text = format!("0/{} nodes are available:", self.total);
        if let Some(whole) = &self.whole {
            text.push_str(&format!(" {}.", whole.reasons.join(", ")));
            return text;
        }
        let reasons = histogram(self.nodes.iter().flat_map(|(_, _, r)| r.reasons.iter()));
        if !reasons.is_empty() {
            text.push_str(&format!(" {reasons}."));
        }
        text
    }
}

/// `2 Insufficient cpu, 1 node(s) were unschedulable`, sorted as text, as upstream prints it.
pub fn histogram<'a>(reasons: impl Iterator<Item = &'a Cow<'static, str>>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut lines: Vec<String> = counts.into_iter().map(|(r, n)| format!("{n} {r}")).collect();
    lines.sort();
    lines.join(", ")
}

/// How many feasible nodes are enough to choose among, of `all`.
pub fn enough(all: usize, percentage: usize) -> usize {
    if all < MIN_FEASIBLE {
        return all;
    }
    let percentage =
        if percentage == 0 { (50usize.saturating_sub(all / 125)).max(MIN_PERCENTAGE) } else { percentage };
    (all * percentage / 100).max(MIN_FEASIBLE).min(all)
}

/// The profile's view of one pod: which plugins take part, and what they carry.
pub struct Cycle<'a> {
    profile: &'a Profile,
    pod: &'a PodInfo,
    carried: Vec<Carried>,
    active: u64,
}

impl<'a> Cycle<'a> {
    /// Runs the pre-filters; the nodes worth looking at, `None` for all.
    ///
    /// # Errors
    /// The plugin that refused the pod as a whole.
    pub fn new(
        profile: &'a Profile,
        pod: &'a PodInfo,
        cluster: &Cluster,
    ) -> Result<(Self, Option<Vec<NodeIndex>>), (usize, Rejection)> {
        let mut cycle = Self { profile, pod, carried: Vec::with_capacity(profile.plugins.len()), active: 0 };
        let mut only: Option<Vec<NodeIndex>> = None;
        for (i, (plugin, _)) in profile.plugins.iter().enumerate() {
            let mut carried = None;
            match plugin.pre_filter(pod, cluster, &mut carried) {
                PreFilter::Run => cycle.active |= 1 << i,
                PreFilter::Skip => {}
                PreFilter::Only(nodes) => {
                    cycle.active |= 1 << i;
                    only = Some(match only {
                        None => nodes,
                        Some(before) => before.into_iter().filter(|n| nodes.contains(n)).collect(),
                    });
                }
                PreFilter::Reject(why) => return Err((i, why)),
            }
            cycle.carried.push(carried);
        }
        Ok((cycle, only))
    }

    /// Asks the plugins in order; the first refusal counts.
    ///
    /// # Errors
    /// Which plugin refused, and why.
    pub fn filter(&self, node: &NodeInfo) -> Result<(), (usize, Rejection)> {
        for (i, (plugin, _)) in self.profile.plugins.iter().enumerate() {
            if self.active & (1 << i) != 0 {
                plugin.filter(self.pod, node, &self.carried[i]).map_err(|why| (i, why))?;
            }
        }
        Ok(())
    }

    /// Filters with pods of equal or higher priority counted that have room made for them here, and without.
    fn filter_with_nominated(&self, node: &NodeInfo, cluster: &Cluster) -> Result<(), (usize, Rejection)> {
        let guests: Vec<&Arc<PodInfo>> = cluster
            .nominated_on(&node.name)
            .iter()
            .filter(|p| p.priority >= self.pod.priority && p.uid != self.pod.uid)
            .collect();
        if !guests.is_empty() {
            let mut crowded = node.clone();
            for guest in guests {
                crowded.add_pod(guest.clone());
            }
            self.filter(&crowded)?;
        }
        self.filter(node)
    }

    fn scores(&self, feasible: &[NodeIndex], cluster: &Cluster) -> Vec<i64> {
        let mut totals = vec![0; feasible.len()];
        let mut own = vec![0; feasible.len()];
        for (i, (plugin, weight)) in self.profile.plugins.iter().enumerate() {
            if *weight == 0 || !plugin.scores(self.pod) {
                continue;
            }
            for (score, index) in own.iter_mut().zip(feasible) {
                *score =
                    cluster.node(*index).map_or(0, |n| plugin.score(self.pod, n, cluster, &self.carried[i]));
            }
            plugin.normalize(&mut own);
            for (total, score) in totals.iter_mut().zip(&own) {
                *total += score * weight;
            }
        }
        totals
    }
}

/// Decides where a pod goes. `start` is the place to begin looking, moved on so that all nodes get their
/// turn; equal scores are told apart by `rng`.
pub fn schedule(
    profile: &Profile,
    pod: &PodInfo,
    cluster: &Cluster,
    start: &mut usize,
    rng: &mut impl Rng,
) -> Outcome {
    let total = cluster.len();
    if total == 0 {
        return Outcome::Unschedulable(Failure::default());
    }
    let (cycle, only) = match Cycle::new(profile, pod, cluster) {
        Ok(ready) => ready,
        Err((plugin, why)) => {
            let failure = Failure { plugins: 1 << plugin, whole: Some(why), nodes: Vec::new(), total };
            return Outcome::Unschedulable(failure);
        }
    };
    if let Some(index) = cluster.index(&pod.nominated)
        && let Some(node) = cluster.node(index)
        && cycle.filter_with_nominated(node, cluster).is_ok()
    {
        return Outcome::Node(index);
    }
    let limited = only.is_some();
    let order: Vec<NodeIndex> = match only {
        Some(nodes) => nodes,
        None => {
            let slots = cluster.slots();
            (0..slots).map(|i| NodeIndex((*start + i) % slots)).collect()
        }
    };
    let wanted = enough(if limited { order.len() } else { total }, profile.percentage_of_nodes_to_score);
    let (mut feasible, mut refused, mut looked) = (Vec::new(), Vec::new(), 0);
    for index in order {
        looked += 1;
        let Some(node) = cluster.node(index) else { continue };
        match cycle.filter_with_nominated(node, cluster) {
            Ok(()) => {
                feasible.push(index);
                if feasible.len() >= wanted {
                    break;
                }
            }
            Err((plugin, why)) => refused.push((index, plugin, why)),
        }
    }
    if !limited {
        *start = (*start + looked) % cluster.slots().max(1);
    }
    match feasible.as_slice() {
        [] => {
            let plugins = refused.iter().fold(0, |mask, (_, p, _)| mask | 1 << p);
            Outcome::Unschedulable(Failure { plugins, whole: None, nodes: refused, total })
        }
        [one] => Outcome::Node(*one),
        many => Outcome::Node(choose(many, &cycle.scores(many, cluster), rng)),
    }
}

/// The best, one of the best at random.
fn choose(feasible: &[NodeIndex], scores: &[i64], rng: &mut impl Rng) -> NodeIndex {
    let (mut best, mut equals) = (0, 1u32);
    for i in 1..feasible.len() {
        if scores[i] > scores[best] {
            (best, equals) = (i, 1);
        } else if scores[i] == scores[best] {
            equals += 1;
            if rng.random_range(0..equals) == 0 {
                best = i;
            }
        }
    }
    feasible[best]
}
