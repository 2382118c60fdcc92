//! `/debug`: what the scheduler holds and what it makes of a pod, as JSON, for those who ask why.
//!
//! Questions come over a bounded channel and are answered by the loop between two decisions, one a turn; the
//! text is written on the asker's task. Counts are whole, lists of names end at [`NAMES`] and lists of pods
//! and nodes at [`ROWS`].

mod ask;
mod view;

pub use ask::{Asked, page};
pub use view::{Answer, Question};

/// Names listed of one kind of refusal.
pub const NAMES: usize = 50;
/// Pods listed of a queue, nodes of the cache, nodes scored.
pub const ROWS: usize = 100;

use crate::state::State;
use gantry_scheduler_core::node::NodeInfo;
use gantry_scheduler_core::queue::Waiting;
use gantry_scheduler_core::{PodInfo, Profile, Resources, Trial};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use view::{
    Amounts, CacheView, Chosen, NodeView, PodView, QueueView, RefusalView, ScoredNode, Shown, TrialView,
    WaitView,
};

/// The first `limit` by a key, in order, and how many there are.
fn first<T, K: Ord>(mut all: Vec<T>, limit: usize, key: impl Fn(&T) -> K) -> (usize, Vec<T>) {
    let count = all.len();
    if count > limit {
        all.select_nth_unstable_by_key(limit, &key);
        all.truncate(limit);
    }
    all.sort_by_key(key);
    (count, all)
}

fn amounts(r: &Resources) -> Amounts {
    Amounts {
        milli_cpu: r.cpu,
        memory_bytes: r.memory,
        ephemeral_storage_bytes: r.ephemeral,
        other: r.scalars.iter().map(|(n, v)| (n.to_string(), *v)).collect(),
    }
}

fn names(state: &State, nodes: &[gantry_scheduler_core::NodeIndex]) -> Shown<String> {
    let named = nodes.iter().filter_map(|at| state.cluster.node(*at)).map(|n| n.name.clone());
    let (count, listed) = first(named.collect(), NAMES, Arc::clone);
    Shown { count, listed: listed.iter().map(ToString::to_string).collect() }
}

fn reasons(why: &gantry_scheduler_core::Rejection) -> Vec<String> {
    why.reasons.iter().map(ToString::to_string).collect()
}

impl State {
    /// Answers a question about what is there now. `None`: there is no such thing.
    pub fn debug(&mut self, question: &Question, now: Timestamp) -> Option<Answer> {
        match question {
            Question::Queue => Some(Answer::Queue(self.queue_view(now))),
            Question::Cache => Some(Answer::Cache(self.cache_view())),
            Question::Pod { namespace, name } => {
                self.pod_view(namespace, name, now).map(|view| Answer::Pod(Box::new(view)))
            }
        }
    }

    fn wait_view(&self, w: &Waiting<'_>, now: Timestamp) -> WaitView {
        let pod = &w.entry.pod;
        let profile = &self.profiles[w.entry.profile];
        let gate = (w.queue == "gated").then(|| profile.admit(pod, &self.cluster).err()).flatten();
        WaitView {
            pod: pod.key(),
            uid: pod.uid.to_string(),
            priority: pod.priority,
            attempts: w.entry.attempts,
            since: w.since,
            waiting_seconds: now.duration_since(w.since).as_secs(),
            backoff_until: w.until,
            refused_by: profile.names(w.refused_by).iter().map(|n| (*n).to_owned()).collect(),
            gated_by: gate.map(|(plugin, why)| Chosen {
                plugin: profile.plugins[plugin].name(),
                why: why.to_owned(),
                gates: pod.gates.iter().map(ToString::to_string).collect(),
            }),
            nominated_node: self.nominated(pod).map(str::to_owned),
            said: self.said.get(&pod.uid).map(|(text, _)| text.clone()),
        }
    }

    fn nominated<'a>(&'a self, pod: &'a PodInfo) -> Option<&'a str> {
        if pod.nominated.is_empty() { self.cluster.nomination(&pod.uid) } else { Some(&*pod.nominated) }
    }

    fn queue_view(&self, now: Timestamp) -> QueueView {
        let mut by_queue: BTreeMap<&'static str, Vec<Waiting<'_>>> = BTreeMap::new();
        for w in self.queue.waiting() {
            by_queue.entry(w.queue).or_default().push(w);
        }
        let mut take = |queue: &str| {
            let all = by_queue.remove(queue).unwrap_or_default();
            let (count, listed) = first(all, ROWS, |w| w.since);
            Shown { count, listed: listed.iter().map(|w| self.wait_view(w, now)).collect() }
        };
        let binding = self.binding.values().map(|f| f.entry.pod.key()).collect();
        let (count, listed) = first(binding, ROWS, String::clone);
        QueueView {
            active: take("active"),
            backoff: take("backoff"),
            unschedulable: take("unschedulable"),
            gated: take("gated"),
            binding: Shown { count, listed },
        }
    }

    fn cache_view(&self) -> CacheView {
        let (mut allocatable, mut requested) = (Resources::default(), Resources::default());
        for (_, node) in self.cluster.nodes() {
            allocatable.add(&node.allocatable);
            requested.add(&node.requested);
        }
        let (count, listed) =
            first(self.cluster.nodes().map(|(_, n)| n).collect(), ROWS, |n: &&NodeInfo| n.name.clone());
        let row = |n: &&NodeInfo| NodeView {
            name: n.name.to_string(),
            unschedulable: n.unschedulable,
            taints: n.taints.len(),
            pods: n.pods.len(),
            allowed_pods: n.allowed_pods,
            allocatable: amounts(&n.allocatable),
            requested: amounts(&n.requested),
        };
        let (pods, shapes) = self.cluster.placed();
        let facts = &self.cluster.facts;
        CacheView {
            pods,
            assumed_pods: self.binding.len(),
            pod_shapes: shapes,
            plans: self.memory.len(),
            counts_by_domain: self.cluster.counting(),
            claims: facts.claims.len(),
            volumes: facts.volumes.len(),
            storage_classes: facts.classes.len(),
            csi_nodes: facts.csi_nodes.len(),
            disruption_budgets: facts.budgets.len(),
            allocatable: amounts(&allocatable),
            requested: amounts(&requested),
            nodes: Shown { count, listed: listed.iter().map(row).collect() },
            resident_memory_bytes: None,
        }
    }

    fn pod_view(&mut self, namespace: &str, name: &str, now: Timestamp) -> Option<PodView> {
        let this = |p: &PodInfo| *p.name == *name && *p.namespace == *namespace;
        if let Some(w) = self.queue.waiting().find(|w| this(&w.entry.pod)) {
            let (at, pod) = (w.entry.profile, w.entry.pod.clone());
            let mut view =
                PodView { queue: Some(w.queue), waiting: Some(self.wait_view(&w, now)), ..PodView::of(&pod) };
            let trial = Trial::run(at, &self.profiles[at], &mut self.memory, &pod, &mut self.cluster);
            view.trial = Some(self.trial_view(&self.profiles[at], &trial));
            return Some(view);
        }
        let here = |n: &NodeInfo| n.pods.iter().find(|p| this(p)).map(|p| (n.name.to_string(), p.clone()));
        let (node, pod) = self.cluster.nodes().find_map(|(_, n)| here(n))?;
        let binding = self.binding.contains_key(&pod.uid);
        Some(PodView { node: Some(node), binding, ..PodView::of(&pod) })
    }

    fn trial_view(&self, profile: &Profile, trial: &Trial) -> TrialView {
        let plugin = |i: usize| profile.plugins[i].name();
        let refusal = |r: &gantry_scheduler_core::trial::Refusal| RefusalView {
            plugin: plugin(r.plugin),
            reasons: reasons(&r.why),
            preemption_may_help: r.why.resolvable,
            nodes: names(self, &r.nodes),
            only_obstacle_on: names(self, &r.alone),
        };
        let mut refusals: Vec<RefusalView> = trial.refusals.iter().map(refusal).collect();
        refusals.sort_by_key(|r| std::cmp::Reverse(r.nodes.count));
        refusals.truncate(ROWS);
        let totals: Vec<(usize, i64)> = (0..trial.feasible.len()).map(|i| (i, trial.score(i))).collect();
        let (count, best) = first(totals, ROWS, |(i, total)| (std::cmp::Reverse(*total), *i));
        let scored = |(i, total): &(usize, i64)| {
            let node = self.cluster.node(trial.feasible[*i])?;
            let by_plugin = trial.scores.iter().map(|s| (plugin(s.plugin), s.by_node[*i])).collect();
            Some(ScoredNode { node: node.name.to_string(), score: *total, by_plugin })
        };
        TrialView {
            nodes: trial.total,
            refused_whole: trial.whole.as_ref().map(|(i, why)| RefusalView {
                plugin: plugin(*i),
                reasons: reasons(why),
                preemption_may_help: why.resolvable,
                nodes: Shown::default(),
                only_obstacle_on: Shown::default(),
            }),
            left_out: trial.left_out.0,
            left_out_by: profile.names(trial.left_out.1),
            refusals,
            feasible: Shown { count, listed: best.iter().filter_map(scored).collect() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_end_and_counts_do_not() {
        let check = |all: &[u32], limit: usize, expected: (usize, &[u32])| {
            let (count, listed) = first(all.to_vec(), limit, |n| *n);
            assert_eq!((count, listed.as_slice()), expected);
        };
        check(&[3, 1, 2], 2, (3, &[1, 2]));
        check(&[3, 1, 2], 3, (3, &[1, 2, 3]));
        check(&[], 2, (0, &[]));
    }
}
