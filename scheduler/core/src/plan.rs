//! What is remembered of a pod shape between cycles, so that equal pods share the work.

use crate::cluster::{Cluster, NodeIndex};
use crate::framework::{Cx, Prepared, Profile, Rejection};
use crate::pod::PodInfo;
use crate::tally::TallyIndex;
use std::collections::HashMap;

/// Shapes remembered at most; the one unused longest goes.
const PLANS: usize = 128;

/// A node's standing with a shape, as far as local plugins decide.
pub(crate) const FITS: u16 = 0;
/// There is no such node.
pub(crate) const ABSENT: u16 = u16::MAX;

/// One shape's memory.
#[derive(Default)]
pub struct Plan {
    pub(crate) prepared: Vec<Prepared>,
    tallies: Vec<TallyIndex>,
    epoch: u64,
    used: u64,
    pub(crate) local: Local,
    /// Distinct refusals; a verdict is a place here plus one.
    pub(crate) refusals: Vec<(usize, Rejection)>,
}

/// What local plugins said, by node slot. An entry counts while its stamp is the node's version.
#[derive(Default)]
pub(crate) struct Local {
    pub stamps: Vec<u32>,
    pub verdicts: Vec<u16>,
    /// Scores that need no normalizing, weighted and summed.
    pub fixed: Vec<i64>,
    /// Those that do, a column a plugin.
    pub raw: Vec<Vec<i64>>,
    /// How many of each column are not 0; a column of nothing else tells no node from another.
    pub nonzero: Vec<usize>,
    pub epoch: u64,
}

impl Local {
    /// Makes room for all slots; after a change of `epoch`, forgets everything.
    pub fn fit(&mut self, versions: &[u32], columns: usize, epoch: u64) {
        if self.epoch != epoch || self.raw.len() != columns {
            self.stamps.clear();
            self.raw = vec![Vec::new(); columns];
            self.nonzero = vec![0; columns];
            self.epoch = epoch;
        }
        let known = self.stamps.len();
        if known < versions.len() {
            // One less than now is not now.
            self.stamps.extend(versions[known..].iter().map(|v| v.wrapping_sub(1)));
            self.verdicts.resize(versions.len(), ABSENT);
            self.fixed.resize(versions.len(), 0);
            self.raw.iter_mut().for_each(|c| c.resize(versions.len(), 0));
        }
    }
}

impl Plan {
    fn new(profile: &Profile, pod: &PodInfo, cluster: &mut Cluster) -> Self {
        let mut plan = Self::default();
        for plugin in &profile.plugins {
            let prepared = plugin.prepare(pod, cluster, &mut plan.tallies);
            plan.prepared.push(prepared);
        }
        plan.epoch = cluster.facts.epoch();
        plan
    }

    fn holds(&mut self, profile: &Profile, pod: &PodInfo, cluster: &Cluster) -> bool {
        let epoch = cluster.facts.epoch();
        if self.epoch == epoch {
            return true;
        }
        let still = profile
            .plugins
            .iter()
            .zip(&self.prepared)
            .all(|(p, prepared)| p.still(&Cx { pod, cluster, prepared }));
        self.epoch = epoch;
        still
    }

    fn end(self, cluster: &mut Cluster) {
        self.tallies.into_iter().for_each(|t| cluster.forget_tally(t));
    }

    /// The verdict for a refusal.
    pub(crate) fn verdict(&mut self, plugin: usize, why: Rejection) -> u16 {
        let known = self.refusals.iter().position(|(p, r)| *p == plugin && *r == why);
        let at = known.unwrap_or_else(|| {
            self.refusals.push((plugin, why));
            self.refusals.len() - 1
        });
        u16::try_from(at + 1).unwrap_or(ABSENT - 1)
    }
}

/// The plans of all profiles, by profile and shape.
#[derive(Default)]
pub struct Memory {
    plans: HashMap<(usize, u128), Plan>,
    turn: u64,
    pub(crate) feasible: Vec<NodeIndex>,
    pub(crate) scores: Vec<i64>,
    pub(crate) refused: Vec<(NodeIndex, u16)>,
    pub(crate) chunk: Vec<NodeIndex>,
}

impl Memory {
    /// Shapes remembered.
    pub fn len(&self) -> usize {
        self.plans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// The nodes the last decision chose among.
    pub fn feasible(&self) -> &[NodeIndex] {
        &self.feasible
    }

    /// Their scores, short of what all of them have; empty where there was nothing to choose.
    pub fn scores(&self) -> &[i64] {
        &self.scores
    }

    pub(crate) fn take(
        &mut self,
        at: usize,
        profile: &Profile,
        pod: &PodInfo,
        cluster: &mut Cluster,
    ) -> Plan {
        self.turn += 1;
        let mut plan = match self.plans.remove(&(at, pod.id)) {
            Some(mut plan) => {
                if plan.holds(profile, pod, cluster) {
                    plan
                } else {
                    plan.end(cluster);
                    Plan::new(profile, pod, cluster)
                }
            }
            None => {
                if self.plans.len() >= PLANS
                    && let Some(oldest) = self.plans.iter().min_by_key(|(_, p)| p.used).map(|(k, _)| *k)
                    && let Some(oldest) = self.plans.remove(&oldest)
                {
                    oldest.end(cluster);
                }
                Plan::new(profile, pod, cluster)
            }
        };
        plan.used = self.turn;
        if plan.refusals.len() > 4096 {
            // Reasons with numbers in them could go on for ever.
            plan.refusals.clear();
            plan.local = Local::default();
        }
        plan
    }

    pub(crate) fn keep(&mut self, at: usize, pod: &PodInfo, plan: Plan) {
        self.plans.insert((at, pod.id), plan);
    }
}
