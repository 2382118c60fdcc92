//! One decision: filter, score, choose.

use crate::cluster::{Cluster, NodeIndex};
use crate::failure::{EXTENDER, Failure};
use crate::framework::{Carried, Cx, PreFilter, Profile, Rejection};
use crate::outside::Outside;
use crate::plan::{ABSENT, FITS, Memory, Plan};
use crate::pod::PodInfo;
use crate::preemption::Preemption;
use rand::{Rng, RngExt};
use std::sync::Arc;

const MIN_FEASIBLE: usize = 100;
const MIN_PERCENTAGE: usize = 5;
/// Nodes given to plugins that filter many at once.
const CHUNK: usize = 1024;

/// What a cycle decided.
#[derive(Debug)]
pub enum Outcome {
    Node(NodeIndex),
    Unschedulable(Failure),
    /// Something went wrong that has nothing to do with the pod.
    Error(String),
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
    pub profile: &'a Profile,
    pub pod: &'a PodInfo,
    pub(crate) plan: &'a mut Plan,
    pub(crate) carried: Vec<Carried>,
    pub(crate) active: u64,
    /// Plugins that left nodes out.
    pub(crate) limited: u64,
}

/// A pod that fits nowhere, for plugins that make room.
pub struct Search<'s, 'a> {
    pub cycle: &'s mut Cycle<'a>,
    pub cluster: &'s mut Cluster,
    pub failure: &'s Failure,
    pub rng: &'s mut dyn Rng,
    pub outside: &'s mut dyn Outside,
}

impl<'a> Cycle<'a> {
    /// Runs the pre-filters; the nodes worth looking at, `None` for all.
    pub(crate) fn new(
        profile: &'a Profile,
        pod: &'a PodInfo,
        plan: &'a mut Plan,
        cluster: &Cluster,
    ) -> (Self, Result<Option<Vec<NodeIndex>>, (usize, Rejection)>) {
        let carried = profile.plugins.iter().map(|_| None).collect();
        let mut cycle = Self { profile, pod, plan, carried, active: 0, limited: 0 };
        profile.filter.iter().for_each(|i| cycle.active |= 1 << i);
        let mut only: Option<Vec<NodeIndex>> = None;
        let mut refused = None;
        for i in &profile.pre_filter {
            let cx = Cx { pod, cluster, prepared: &cycle.plan.prepared[*i] };
            match profile.plugins[*i].pre_filter(&cx, &mut cycle.carried[*i]) {
                PreFilter::Run => {}
                PreFilter::Skip => cycle.active &= !(1 << i),
                PreFilter::Only(nodes) => {
                    cycle.limited |= 1 << i;
                    only = Some(match only {
                        None => nodes,
                        Some(before) => before.into_iter().filter(|n| nodes.contains(n)).collect(),
                    });
                }
                // One that preemption may mend does not keep the others from speaking.
                PreFilter::Reject(why) if why.resolvable => refused = Some((*i, why)),
                PreFilter::Reject(why) => return (cycle, Err((*i, why))),
            }
        }
        match refused {
            Some(refused) => (cycle, Err(refused)),
            None => (cycle, Ok(only)),
        }
    }

    /// Asks the plugins in order; the first refusal counts.
    ///
    /// # Errors
    /// Which plugin refused, and why.
    pub fn filter(&self, at: NodeIndex, cluster: &Cluster) -> Result<(), (usize, Rejection)> {
        self.filter_from(0, at, cluster)
    }

    fn filter_from(&self, from: usize, at: NodeIndex, cluster: &Cluster) -> Result<(), (usize, Rejection)> {
        let Some(node) = cluster.node(at) else { return Ok(()) };
        for i in &self.profile.filter[from..] {
            if self.active & (1 << i) != 0 {
                let cx = Cx { pod: self.pod, cluster, prepared: &self.plan.prepared[*i] };
                self.profile.plugins[*i].filter(&cx, at, node, &self.carried[*i]).map_err(|why| (*i, why))?;
            }
        }
        Ok(())
    }

    /// Pods have been put or lifted on trial.
    pub fn refresh(&mut self, cluster: &Cluster) {
        for i in &self.profile.pre_filter {
            if self.active & (1 << i) != 0 {
                let cx = Cx { pod: self.pod, cluster, prepared: &self.plan.prepared[*i] };
                self.profile.plugins[*i].refresh(&cx, &mut self.carried[*i]);
            }
        }
    }

    /// Filters with pods of equal or higher priority counted that have room made for them here, and without.
    ///
    /// # Errors
    /// Which plugin refused, and why.
    pub fn filter_with_nominated(
        &mut self,
        at: NodeIndex,
        cluster: &mut Cluster,
    ) -> Result<(), (usize, Rejection)> {
        let guests = self.guests(at, cluster);
        if !guests.is_empty() {
            for guest in &guests {
                cluster.put(guest.clone(), at);
            }
            self.refresh(cluster);
            let crowded = self.filter(at, cluster);
            for guest in &guests {
                cluster.lift(&guest.uid, at);
            }
            self.refresh(cluster);
            crowded?;
        }
        self.filter(at, cluster)
    }

    /// Those that have room made for them here and are not less important.
    pub(crate) fn guests(&self, at: NodeIndex, cluster: &Cluster) -> Vec<Arc<PodInfo>> {
        if !cluster.has_nominations() {
            return Vec::new();
        }
        let Some(node) = cluster.node(at) else { return Vec::new() };
        let here = cluster.nominated_on(&node.name).iter();
        here.filter(|p| p.priority >= self.pod.priority && p.uid != self.pod.uid).cloned().collect()
    }

    /// The first plugins of the filter order whose word on a node can be remembered.
    fn local_filters(&self) -> usize {
        let filters = &self.profile.filter;
        filters.iter().position(|i| !self.profile.plugins[*i].local()).unwrap_or(filters.len())
    }

    fn local_epoch(&self, cluster: &Cluster) -> u64 {
        let all = self.profile.plugins.iter().zip(&self.plan.prepared);
        all.fold(0, |sum: u64, (p, prepared)| {
            sum.wrapping_mul(31).wrapping_add(p.local_epoch(&Cx { pod: self.pod, cluster, prepared }))
        })
    }

    /// Works out the verdict of the local plugins on a node.
    #[inline(never)]
    fn local(&mut self, at: NodeIndex, filters: usize, scores: &[(usize, i64)], cluster: &Cluster) -> u16 {
        let version = cluster.versions()[at.0];
        let mut verdict = FITS;
        if let Some(node) = cluster.node(at) {
            for i in &self.profile.filter[..filters] {
                if self.active & (1 << i) == 0 {
                    continue;
                }
                let cx = Cx { pod: self.pod, cluster, prepared: &self.plan.prepared[*i] };
                if let Err(why) = self.profile.plugins[*i].filter(&cx, at, node, &self.carried[*i]) {
                    verdict = self.plan.verdict(*i, why);
                    break;
                }
            }
            if verdict == FITS {
                let (mut fixed, mut column) = (0, 0);
                for (i, weight) in scores {
                    let cx = Cx { pod: self.pod, cluster, prepared: &self.plan.prepared[*i] };
                    let score = self.profile.plugins[*i].score(&cx, at, node, &self.carried[*i]);
                    if self.profile.plugins[*i].normalizes() {
                        let before = std::mem::replace(&mut self.plan.local.raw[column][at.0], score);
                        let counted = &mut self.plan.local.nonzero[column];
                        *counted = *counted + usize::from(score != 0) - usize::from(before != 0);
                        column += 1;
                    } else {
                        fixed += weight * score;
                    }
                }
                self.plan.local.fixed[at.0] = fixed;
            }
        } else {
            verdict = ABSENT;
        }
        self.plan.local.verdicts[at.0] = verdict;
        self.plan.local.stamps[at.0] = version;
        verdict
    }

    fn scores(&mut self, feasible: &[NodeIndex], local: &[(usize, i64)], cluster: &Cluster) -> Vec<i64> {
        let mut totals: Vec<i64> = feasible.iter().map(|at| self.plan.local.fixed[at.0]).collect();
        let mut own = vec![0; feasible.len()];
        let mut column = 0;
        for (i, weight) in &self.profile.score {
            let plugin = &self.profile.plugins[*i];
            let cx = Cx { pod: self.pod, cluster, prepared: &self.plan.prepared[*i] };
            if local.iter().any(|(l, _)| l == i) {
                if !plugin.normalizes() {
                    continue;
                }
                let (raw, nonzero) = (&self.plan.local.raw[column], self.plan.local.nonzero[column]);
                column += 1;
                if nonzero == 0 {
                    continue;
                }
                own.iter_mut().zip(feasible).for_each(|(own, at)| *own = raw[at.0]);
            } else {
                if plugin.local() || !plugin.pre_score(&cx, feasible, &mut self.carried[*i]) {
                    continue;
                }
                plugin.score_many(&cx, feasible, &self.carried[*i], &mut own);
            }
            plugin.normalize(&cx, feasible, &self.carried[*i], &mut own);
            if own.iter().all(|score| *score == own[0]) {
                // What everyone gets changes nothing about who is best.
                continue;
            }
            totals.iter_mut().zip(&own).for_each(|(total, score)| *total += score * weight);
        }
        totals
    }

    /// The local plugins that score this pod.
    fn local_scores(&mut self, cluster: &Cluster) -> Vec<(usize, i64)> {
        let mut out = Vec::with_capacity(self.profile.score.len());
        for (i, weight) in &self.profile.score {
            let plugin = &self.profile.plugins[*i];
            let cx = Cx { pod: self.pod, cluster, prepared: &self.plan.prepared[*i] };
            if plugin.local() && plugin.pre_score(&cx, &[], &mut self.carried[*i]) {
                out.push((*i, *weight));
            }
        }
        out
    }

    fn globals(
        &mut self,
        from: usize,
        cluster: &Cluster,
        chunk: &mut Vec<NodeIndex>,
        refused: &mut Vec<(NodeIndex, u16)>,
    ) {
        for i in &self.profile.filter[from..] {
            if self.active & (1 << i) == 0 || chunk.is_empty() {
                continue;
            }
            let (plugin, plan) = (&self.profile.plugins[*i], &mut *self.plan);
            // Refusals are few and mostly the same as the last.
            let refusals = &mut plan.refusals;
            let cx = Cx { pod: self.pod, cluster, prepared: &plan.prepared[*i] };
            plugin.filter_many(&cx, chunk, &self.carried[*i], &mut |at, why| {
                let known = refusals.iter().position(|(p, r)| p == i && *r == why);
                let kind = known.unwrap_or_else(|| {
                    refusals.push((*i, why));
                    refusals.len() - 1
                });
                refused.push((at, u16::try_from(kind + 1).unwrap_or(ABSENT - 1)));
            });
        }
    }

    /// Looks for nodes; how many it looked at.
    fn search(
        &mut self,
        order: impl Iterator<Item = NodeIndex>,
        wanted: usize,
        cluster: &mut Cluster,
        memory: &mut Memory,
    ) -> usize {
        let filters = self.local_filters();
        let scores = self.local_scores(cluster);
        let columns = scores.iter().filter(|(i, _)| self.profile.plugins[*i].normalizes()).count();
        let epoch = self.local_epoch(cluster);
        self.plan.local.fit(cluster.versions(), columns, epoch);
        let (feasible, refused, chunk) = (&mut memory.feasible, &mut memory.refused, &mut memory.chunk);
        chunk.clear();
        let crowded = cluster.has_nominations();
        let mut looked = 0;
        for at in order {
            looked += 1;
            if crowded && !self.guests(at, cluster).is_empty() {
                self.globals(filters, cluster, chunk, refused);
                feasible.append(chunk);
                match self.filter_with_nominated(at, cluster) {
                    Ok(()) => {
                        // Its scores are those without the guests.
                        self.local(at, filters, &scores, cluster);
                        feasible.push(at);
                    }
                    Err((plugin, why)) => refused.push((at, self.plan.verdict(plugin, why))),
                }
            } else {
                let known = &self.plan.local;
                let verdict = if known.stamps[at.0] == cluster.versions()[at.0] {
                    known.verdicts[at.0]
                } else {
                    self.local(at, filters, &scores, cluster)
                };
                match verdict {
                    FITS => chunk.push(at),
                    ABSENT => continue,
                    verdict => refused.push((at, verdict)),
                }
                if chunk.len() >= CHUNK || feasible.len() + chunk.len() >= wanted {
                    self.globals(filters, cluster, chunk, refused);
                    feasible.append(chunk);
                }
            }
            if feasible.len() >= wanted {
                break;
            }
        }
        self.globals(filters, cluster, chunk, refused);
        feasible.append(chunk);
        looked
    }

    fn failure(&self, refused: &[(NodeIndex, u16)], only: bool, outside: bool, total: usize) -> Failure {
        let mut failure = Failure { total, ..Failure::default() };
        let mut places: Vec<Option<usize>> = vec![None; self.plan.refusals.len()];
        for (at, verdict) in refused {
            let known = usize::from(*verdict) - 1;
            let kind = *places[known].get_or_insert_with(|| {
                failure.kinds.push(self.plan.refusals[known].clone());
                failure.kinds.len() - 1
            });
            failure.nodes.push((*at, kind));
        }
        failure.plugins = failure.kinds.iter().fold(self.limited, |mask, (p, _)| mask | 1 << p);
        if outside {
            failure.plugins |= EXTENDER;
        }
        if only {
            let names = self.profile.names(self.limited).join(" ");
            failure.absent = Some(format!("node(s) didn't satisfy plugin(s) [{names}]"));
        }
        failure
    }
}

/// One scheduler's memory between decisions, and what it draws on.
pub struct Scheduler<'a> {
    /// Which profile this is, to tell memories apart.
    pub at: usize,
    pub profile: &'a Profile,
    pub memory: &'a mut Memory,
    /// The place to begin looking, moved on so that all nodes get their turn.
    pub start: &'a mut usize,
    /// Tells equal scores apart.
    pub rng: &'a mut dyn Rng,
    pub outside: &'a mut dyn Outside,
}

impl Scheduler<'_> {
    /// Decides where a pod goes; where it fits nowhere, looks for room to be made.
    pub fn schedule(&mut self, pod: &PodInfo, cluster: &mut Cluster) -> Outcome {
        if cluster.is_empty() {
            return Outcome::Unschedulable(Failure::default());
        }
        let mut plan = self.memory.take(self.at, self.profile, pod, cluster);
        let outcome = self.decide(pod, cluster, &mut plan);
        self.memory.keep(self.at, pod, plan);
        outcome
    }

    fn decide(&mut self, pod: &PodInfo, cluster: &mut Cluster, plan: &mut Plan) -> Outcome {
        let total = cluster.len();
        self.memory.feasible.clear();
        self.memory.scores.clear();
        self.memory.refused.clear();
        let (mut cycle, only) = Cycle::new(self.profile, pod, plan, cluster);
        let only = match only {
            Ok(only) => only,
            Err((plugin, why)) => {
                let failure = Failure { plugins: 1 << plugin, whole: Some(why), total, ..Failure::default() };
                return self.make_room(&mut cycle, cluster, failure);
            }
        };
        let nominated =
            if pod.nominated.is_empty() { cluster.nomination(&pod.uid) } else { Some(&*pod.nominated) };
        if let Some(at) = nominated.and_then(|n| cluster.index(n)).filter(|at| cluster.node(*at).is_some())
            && cycle.filter_with_nominated(at, cluster).is_ok()
        {
            let mut one = vec![at];
            // Where an extender fails here, the search that follows asks it again and reports.
            if self.outside.filter(pod, cluster, &mut one, &mut |_, _| {}).is_ok() && !one.is_empty() {
                return Outcome::Node(at);
            }
        }
        let limited = only.is_some();
        let slots = cluster.slots();
        let looked = match only {
            Some(nodes) => {
                let wanted = enough(nodes.len(), self.profile.percentage_of_nodes_to_score);
                cycle.search(nodes.into_iter(), wanted, cluster, self.memory)
            }
            None => {
                let wanted = enough(total, self.profile.percentage_of_nodes_to_score);
                let start = *self.start % slots.max(1);
                cycle.search((start..slots).chain(0..start).map(NodeIndex), wanted, cluster, self.memory)
            }
        };
        if !limited {
            *self.start = (*self.start + looked) % slots.max(1);
        }
        let mut feasible = std::mem::take(&mut self.memory.feasible);
        let mut refused = std::mem::take(&mut self.memory.refused);
        let before = feasible.len();
        if before > 0 {
            let mut said = Vec::new();
            let asked = self.outside.filter(pod, cluster, &mut feasible, &mut |at, why| said.push((at, why)));
            if let Err(error) = asked {
                return Outcome::Error(error);
            }
            // An extender is no plugin; its place in the mask is set apart.
            refused.extend(said.into_iter().map(|(at, why)| (at, cycle.plan.verdict(EXTENDER_PLACE, why))));
        }
        let outcome = match feasible.as_slice() {
            [] => {
                let failure = cycle.failure(&refused, limited, before > 0, total);
                self.make_room(&mut cycle, cluster, failure)
            }
            [one] => Outcome::Node(*one),
            many => {
                let local = cycle.local_scores(cluster);
                let mut scores = cycle.scores(many, &local, cluster);
                self.outside.score(pod, cluster, many, &mut scores);
                let best = choose(many, &scores, self.rng);
                self.memory.scores = scores;
                Outcome::Node(best)
            }
        };
        (self.memory.feasible, self.memory.refused) = (feasible, refused);
        outcome
    }

    fn make_room(&mut self, cycle: &mut Cycle<'_>, cluster: &mut Cluster, mut failure: Failure) -> Outcome {
        let (mut said, mut cleared) = (Vec::new(), false);
        for i in &self.profile.post_filter {
            let mut search =
                Search { cycle, cluster, failure: &failure, rng: self.rng, outside: self.outside };
            match self.profile.plugins[*i].post_filter(&mut search) {
                None => {}
                Some(Preemption::Nothing { message, clear }) => {
                    said.push(message);
                    cleared |= clear;
                }
                Some(Preemption::Failed(message)) => {
                    (said, cleared) = (vec![message], false);
                    break;
                }
                Some(room) => {
                    failure.preemption = Some(room);
                    return Outcome::Unschedulable(failure);
                }
            }
        }
        if !said.is_empty() {
            failure.preemption = Some(Preemption::Nothing { message: said.join(", "), clear: cleared });
        }
        Outcome::Unschedulable(failure)
    }
}

/// Where extenders stand among the plugins.
const EXTENDER_PLACE: usize = 63;

/// The best, one of the best at random.
fn choose(feasible: &[NodeIndex], scores: &[i64], rng: &mut dyn Rng) -> NodeIndex {
    let (mut best, mut equals) = (i64::MIN, 0);
    for score in scores {
        if *score > best {
            (best, equals) = (*score, 1);
        } else if *score == best {
            equals += 1;
        }
    }
    let pick = if equals > 1 { rng.random_range(0..equals) } else { 0 };
    let at = scores.iter().enumerate().filter(|(_, s)| **s == best).nth(pick).map_or(0, |(i, _)| i);
    feasible[at]
}
