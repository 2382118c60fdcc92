//! A pod on trial: what every plugin says of every node, for those who ask why.
//!
//! A decision stops at the first refusal of a node and at enough nodes; a trial asks all plugins about all
//! nodes. It decides nothing, makes no room and asks nobody outside; the cluster is afterwards as it was.

use crate::cluster::{Cluster, NodeIndex};
use crate::cycle::Cycle;
use crate::framework::{Cx, Profile, Rejection};
use crate::plan::{Memory, Plan};
use crate::pod::PodInfo;

/// One plugin's refusal of nodes in the same words.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The plugin's place in the profile.
    pub plugin: usize,
    pub why: Rejection,
    pub nodes: Vec<NodeIndex>,
    /// Those of them nothing else is wrong with.
    pub alone: Vec<NodeIndex>,
}

/// What a plugin gives each feasible node, normalized and weighted.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    pub plugin: usize,
    pub weight: i64,
    /// In the order of [`Trial::feasible`].
    pub by_node: Vec<i64>,
}

/// What came of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// Nodes there are.
    pub total: usize,
    /// The plugin that refuses the pod as a whole; then no node was looked at.
    pub whole: Option<(usize, Rejection)>,
    /// Nodes left out before any was looked at, and the plugins that left them out, a bit each.
    pub left_out: (usize, u64),
    pub refusals: Vec<Refusal>,
    pub feasible: Vec<NodeIndex>,
    pub scores: Vec<Scores>,
}

impl Trial {
    /// Puts a pod on trial under the profile in place `at`.
    pub fn run(
        at: usize,
        profile: &Profile,
        memory: &mut Memory,
        pod: &PodInfo,
        cluster: &mut Cluster,
    ) -> Self {
        let mut plan = memory.take(at, profile, pod, cluster);
        let trial = judge(profile, pod, cluster, &mut plan);
        memory.keep(at, pod, plan);
        trial
    }

    /// The sum of a feasible node's scores, by its place among the feasible.
    pub fn score(&self, place: usize) -> i64 {
        self.scores.iter().map(|s| s.by_node[place]).sum()
    }

    fn refuse(&mut self, plugin: usize, why: Rejection, at: NodeIndex, alone: bool) {
        let known = self.refusals.iter().position(|r| r.plugin == plugin && r.why == why);
        let place = known.unwrap_or_else(|| {
            self.refusals.push(Refusal { plugin, why, nodes: Vec::new(), alone: Vec::new() });
            self.refusals.len() - 1
        });
        let refusal = &mut self.refusals[place];
        refusal.nodes.push(at);
        if alone {
            refusal.alone.push(at);
        }
    }
}

fn judge(profile: &Profile, pod: &PodInfo, cluster: &mut Cluster, plan: &mut Plan) -> Trial {
    let mut trial = Trial { total: cluster.len(), ..Trial::default() };
    let (mut cycle, only) = Cycle::new(profile, pod, plan, cluster);
    let nodes: Vec<NodeIndex> = match only {
        Err(whole) => {
            trial.whole = Some(whole);
            return trial;
        }
        Ok(Some(nodes)) => {
            let nodes: Vec<_> = nodes.into_iter().filter(|at| cluster.node(*at).is_some()).collect();
            trial.left_out = (trial.total - nodes.len().min(trial.total), cycle.limited);
            nodes
        }
        Ok(None) => cluster.nodes().map(|(at, _)| at).collect(),
    };
    for at in nodes {
        let said = with_guests(&mut cycle, at, cluster);
        if said.is_empty() {
            trial.feasible.push(at);
        }
        let alone = said.len() == 1;
        said.into_iter().for_each(|(plugin, why)| trial.refuse(plugin, why, at, alone));
    }
    if !trial.feasible.is_empty() {
        trial.scores = scores(&mut cycle, &trial.feasible, cluster);
    }
    trial
}

/// What each plugin has against a node.
fn refusals(cycle: &Cycle<'_>, at: NodeIndex, cluster: &Cluster) -> Vec<(usize, Rejection)> {
    let Some(node) = cluster.node(at) else { return Vec::new() };
    let asked = cycle.profile.filter.iter().filter(|i| cycle.active & (1 << **i) != 0);
    asked
        .filter_map(|i| {
            let cx = Cx { pod: cycle.pod, cluster, prepared: &cycle.plan.prepared[*i] };
            let said = cycle.profile.plugins[*i].filter(&cx, at, node, &cycle.carried[*i]);
            said.err().map(|why| (*i, why))
        })
        .collect()
}

/// The same, with those counted that have room made for them there.
fn with_guests(cycle: &mut Cycle<'_>, at: NodeIndex, cluster: &mut Cluster) -> Vec<(usize, Rejection)> {
    let mut said = refusals(cycle, at, cluster);
    let guests = cycle.guests(at, cluster);
    if guests.is_empty() {
        return said;
    }
    guests.iter().for_each(|guest| cluster.put(guest.clone(), at));
    cycle.refresh(cluster);
    let crowded = refusals(cycle, at, cluster);
    guests.iter().for_each(|guest| drop(cluster.lift(&guest.uid, at)));
    cycle.refresh(cluster);
    for (plugin, why) in crowded {
        if said.iter().all(|(p, _)| *p != plugin) {
            said.push((plugin, why));
        }
    }
    said
}

fn scores(cycle: &mut Cycle<'_>, feasible: &[NodeIndex], cluster: &Cluster) -> Vec<Scores> {
    let mut out = Vec::new();
    for (i, weight) in &cycle.profile.score {
        let plugin = &cycle.profile.plugins[*i];
        let cx = Cx { pod: cycle.pod, cluster, prepared: &cycle.plan.prepared[*i] };
        if !plugin.pre_score(&cx, feasible, &mut cycle.carried[*i]) {
            continue;
        }
        let mut by_node = vec![0; feasible.len()];
        plugin.score_many(&cx, feasible, &cycle.carried[*i], &mut by_node);
        plugin.normalize(&cx, feasible, &cycle.carried[*i], &mut by_node);
        by_node.iter_mut().for_each(|score| *score *= weight);
        out.push(Scores { plugin: *i, weight: *weight, by_node });
    }
    out
}
