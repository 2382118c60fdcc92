//! `PodTopologySpread`: equal pods are spread over zones, nodes and other domains.
//!
//! Per pod shape and constraint one tally counts its equals by domain, over the nodes that count.

use crate::args::PodTopologySpreadArgs;
use crate::taint_toleration::kept_away;
use gantry_machinery::selector::Selector;
use gantry_scheduler_core::framework::{Carried, Cx, MAX_SCORE, PreFilter, Prepared, carried};
use gantry_scheduler_core::tally::{TallyIndex, TallySpec};
use gantry_scheduler_core::topology::{KeyIndex, NONE, Topology};
use gantry_scheduler_core::{
    Cluster, Event, Facts, NodeFacts, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection, Shape,
};
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use std::collections::BTreeMap;
use std::sync::Arc;

const HOSTNAME: &str = "kubernetes.io/hostname";
const MISMATCH: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

pub struct PodTopologySpread {
    defaults: Vec<TopologySpreadConstraint>,
    system: bool,
}

/// A constraint as it applies to a pod.
#[derive(Clone, PartialEq)]
struct Constraint {
    key: Box<str>,
    max_skew: i64,
    min_domains: i64,
    selector: Selector,
    honors_affinity: bool,
    honors_taints: bool,
}

struct Hard {
    constraint: Constraint,
    key: KeyIndex,
    tally: TallyIndex,
    /// The pod counts itself once it is there.
    own: i64,
}

struct Soft {
    constraint: Constraint,
    /// `None`: hosts, which count their own pods.
    key: Option<KeyIndex>,
    label: KeyIndex,
    tally: TallyIndex,
}

/// What is counted for a shape.
struct Counts {
    hard: Vec<Hard>,
    soft: Vec<Soft>,
    /// Nodes without one of the keys are no place to spread over.
    all_keys: bool,
}

/// The least count of each hard constraint, over its domains.
struct Least(Vec<i64>);

/// What scoring the feasible nodes needs.
struct Scoring {
    ignored: Vec<bool>,
    weights: Vec<f64>,
}

impl PodTopologySpread {
    pub fn new(args: &PodTopologySpreadArgs) -> Self {
        let system = args.defaulting_type != "List";
        let plain = |key: &str, max_skew| TopologySpreadConstraint {
            topology_key: key.into(),
            max_skew,
            when_unsatisfiable: "ScheduleAnyway".into(),
            ..TopologySpreadConstraint::default()
        };
        let defaults = if system {
            vec![plain(HOSTNAME, 3), plain("topology.kubernetes.io/zone", 5)]
        } else {
            args.default_constraints.clone()
        };
        Self { defaults, system }
    }

    /// The pod's constraints with this action; its own, or the default ones.
    fn constraints(&self, pod: &Shape, facts: &Facts, action: &str) -> Vec<Constraint> {
        if !pod.spread.is_empty() {
            let own = pod.spread.iter().filter(|c| c.when_unsatisfiable == action);
            return own.map(|c| read(c, pod, None)).collect();
        }
        let mut defaults = self.defaults.iter().filter(|c| c.when_unsatisfiable == action).peekable();
        if defaults.peek().is_none() {
            return Vec::new();
        }
        let equals = facts.equals(pod);
        if equals.is_everything() {
            return Vec::new();
        }
        defaults.map(|c| read(c, pod, Some(&equals))).collect()
    }
}

fn read(c: &TopologySpreadConstraint, pod: &Shape, equals: Option<&Selector>) -> Constraint {
    let selector = equals.cloned().unwrap_or_else(|| {
        // The API lets no malformed selector pass.
        let own = Selector::from_struct(c.label_selector.as_ref()).unwrap_or_else(|_| Selector::nothing());
        let keys = c.match_label_keys.iter().flatten();
        let same: BTreeMap<String, String> =
            keys.filter_map(|k| Some((k.clone(), pod.labels.get(k)?.to_owned()))).collect();
        if same.is_empty() || own.is_nothing() {
            return own;
        }
        let same = Selector::from_set(&same);
        Selector::of(same.requirements().iter().chain(own.requirements()).cloned().collect())
    });
    Constraint {
        key: c.topology_key.as_str().into(),
        max_skew: c.max_skew.into(),
        min_domains: c.min_domains.unwrap_or(1).into(),
        selector,
        honors_affinity: c.node_affinity_policy.as_deref() != Some("Ignore"),
        honors_taints: c.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn has_all(constraints: &[Constraint], node: &gantry_scheduler_core::labels::LabelSet) -> bool {
    constraints.iter().all(|c| node.get(&c.key).is_some())
}

type Rule = Box<dyn Fn(&NodeInfo) -> bool + Send + Sync>;

/// Which nodes count for a constraint.
fn rule(pod: &Arc<Shape>, constraint: &Constraint, keys: Vec<Constraint>) -> Rule {
    let (pod, affinity, taints) = (pod.clone(), constraint.honors_affinity, constraint.honors_taints);
    Box::new(move |node| {
        has_all(&keys, &node.labels)
            && (!affinity || pod.selects(&node.name, &node.labels))
            && (!taints || !kept_away(&pod, &node.taints))
    })
}

fn begin(
    pod: &Shape,
    selector: &Selector,
    key: KeyIndex,
    eligible: Option<Rule>,
    cluster: &mut Cluster,
    hold: &mut Vec<TallyIndex>,
) -> TallyIndex {
    let (namespace, selector) = (pod.namespace.clone(), selector.clone());
    let weigh = move |p: &Shape| {
        let counts = !selector.is_everything() && *p.namespace == *namespace && selector.matches(&p.labels);
        i64::from(counts)
    };
    let tally = cluster.count(TallySpec { key, weigh: Box::new(weigh), eligible, living: true });
    hold.push(tally);
    tally
}

fn least(cx: &Cx<'_>) -> Least {
    let of = |hard: &Hard| {
        let Some(tally) = cx.cluster.tally(hard.tally) else { return 0 };
        let enough = i64::try_from(tally.domains()).unwrap_or(i64::MAX) >= hard.constraint.min_domains;
        if enough { tally.least().unwrap_or(i64::from(i32::MAX)) } else { 0 }
    };
    Least(cx.prepared::<Counts>().map_or_else(Vec::new, |c| c.hard.iter().map(of).collect()))
}

/// One hard constraint as a cycle looks at it.
struct View<'a> {
    column: &'a [u32],
    counts: &'a [i64],
    /// The most there may be in a domain already.
    most: i64,
}

fn views<'a>(cx: &Cx<'a>, state: &Carried) -> Vec<View<'a>> {
    let (Some(counts), Some(Least(least))) = (cx.prepared::<Counts>(), carried::<Least>(state)) else {
        return Vec::new();
    };
    let view = |(hard, least): (&Hard, &i64)| View {
        column: cx.cluster.topology().column(hard.key),
        counts: cx.cluster.tally(hard.tally).map_or(&[][..], |t| t.counts()),
        most: hard.constraint.max_skew - hard.own + least,
    };
    counts.hard.iter().zip(least).map(view).collect()
}

fn filter(views: &[View<'_>], at: NodeIndex) -> Result<(), Rejection> {
    for view in views {
        match view.column.get(at.0).copied().unwrap_or(NONE) {
            NONE => return Err(Rejection::unresolvable(NO_LABEL)),
            value => {
                if view.counts.get(value as usize).copied().unwrap_or(0) > view.most {
                    return Err(Rejection::unschedulable(MISMATCH));
                }
            }
        }
    }
    Ok(())
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn prepare(&self, pod: &PodInfo, cluster: &mut Cluster, hold: &mut Vec<TallyIndex>) -> Prepared {
        let hard = self.constraints(pod, &cluster.facts, "DoNotSchedule");
        let soft = self.constraints(pod, &cluster.facts, "ScheduleAnyway");
        let all_keys = !pod.spread.is_empty() || !self.system;
        let mut out = Counts { hard: Vec::new(), soft: Vec::new(), all_keys };
        for constraint in &hard {
            let key = cluster.key(&constraint.key);
            let eligible = rule(&pod.shape, constraint, hard.clone());
            let tally = begin(pod, &constraint.selector, key, Some(eligible), cluster, hold);
            let own = i64::from(constraint.selector.matches(&pod.labels));
            out.hard.push(Hard { constraint: constraint.clone(), key, tally, own });
        }
        for constraint in &soft {
            let label = cluster.key(&constraint.key);
            let host = *constraint.key == *HOSTNAME;
            let key = if host { Topology::NODE } else { label };
            let keys = if all_keys { soft.clone() } else { Vec::new() };
            let eligible = (!host).then(|| rule(&pod.shape, constraint, keys));
            let tally = begin(pod, &constraint.selector, key, eligible, cluster, hold);
            let key = (!host).then_some(key);
            out.soft.push(Soft { constraint: constraint.clone(), key, label, tally });
        }
        Some(Box::new(out))
    }

    fn still(&self, cx: &Cx<'_>) -> bool {
        if !cx.pod.spread.is_empty() {
            return true;
        }
        let same = |action, mine: Vec<&Constraint>| {
            self.constraints(cx.pod, &cx.cluster.facts, action).iter().eq(mine)
        };
        cx.prepared::<Counts>().is_some_and(|c| {
            same("DoNotSchedule", c.hard.iter().map(|h| &h.constraint).collect())
                && same("ScheduleAnyway", c.soft.iter().map(|s| &s.constraint).collect())
        })
    }

    fn local(&self) -> bool {
        false
    }

    fn pre_filter(&self, cx: &Cx<'_>, state: &mut Carried) -> PreFilter {
        if cx.prepared::<Counts>().is_none_or(|c| c.hard.is_empty()) {
            return PreFilter::Skip;
        }
        *state = Some(Box::new(least(cx)));
        PreFilter::Run
    }

    fn refresh(&self, cx: &Cx<'_>, state: &mut Carried) {
        *state = Some(Box::new(least(cx)));
    }

    fn filter(&self, cx: &Cx<'_>, at: NodeIndex, _: &NodeInfo, state: &Carried) -> Result<(), Rejection> {
        filter(&views(cx, state), at)
    }

    fn filter_many(
        &self,
        cx: &Cx<'_>,
        nodes: &mut Vec<NodeIndex>,
        state: &Carried,
        refuse: &mut dyn FnMut(NodeIndex, Rejection),
    ) {
        let views = views(cx, state);
        nodes.retain(|at| filter(&views, *at).map_err(|why| refuse(*at, why)).is_ok());
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of domains")]
    fn pre_score(&self, cx: &Cx<'_>, feasible: &[NodeIndex], state: &mut Carried) -> bool {
        let Some(counts) = cx.prepared::<Counts>().filter(|c| !c.soft.is_empty()) else { return false };
        let columns: Vec<&[u32]> =
            counts.soft.iter().map(|s| cx.cluster.topology().column(s.label)).collect();
        let value = |column: &[u32], at: NodeIndex| column.get(at.0).copied().unwrap_or(NONE);
        let lacks = |at: &NodeIndex| counts.all_keys && columns.iter().any(|c| value(c, *at) == NONE);
        let ignored: Vec<bool> = feasible.iter().map(lacks).collect();
        let spread_over: Vec<NodeIndex> =
            feasible.iter().zip(&ignored).filter(|(_, i)| !**i).map(|(at, _)| *at).collect();
        let size = |(soft, column): (&Soft, &&[u32])| {
            if soft.key.is_none() {
                return spread_over.len();
            }
            let (mut seen, mut without) = (Vec::new(), false);
            for at in &spread_over {
                match value(column, *at) {
                    NONE => without = true,
                    v => {
                        if seen.len() <= v as usize {
                            seen.resize(v as usize + 1, false);
                        }
                        seen[v as usize] = true;
                    }
                }
            }
            seen.iter().filter(|s| **s).count() + usize::from(without)
        };
        let sizes = counts.soft.iter().zip(&columns).map(size);
        let weights = sizes.map(|n| ((n + 2) as f64).ln()).collect();
        *state = Some(Box::new(Scoring { ignored, weights }));
        true
    }

    /// How many equals there are in the node's domains, small domains counting more; few are good.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "counts of pods as a score"
    )]
    fn score_many(&self, cx: &Cx<'_>, nodes: &[NodeIndex], state: &Carried, out: &mut [i64]) {
        let (Some(counts), Some(scoring)) = (cx.prepared::<Counts>(), carried::<Scoring>(state)) else {
            return;
        };
        let mut sums = vec![0.0f64; nodes.len()];
        for (soft, weight) in counts.soft.iter().zip(&scoring.weights) {
            let labels = cx.cluster.topology().column(soft.label);
            let tally = cx.cluster.tally(soft.tally).map_or(&[][..], |t| t.counts());
            let more = (soft.constraint.max_skew - 1) as f64;
            for (sum, at) in sums.iter_mut().zip(nodes) {
                let Some(label) = labels.get(at.0).copied().filter(|v| *v != NONE) else { continue };
                let place = if soft.key.is_some() { label as usize } else { at.0 };
                let count = tally.get(place).copied().unwrap_or(0);
                *sum += count as f64 * weight + more;
            }
        }
        for ((out, sum), ignored) in out.iter_mut().zip(sums).zip(&scoring.ignored) {
            *out = if *ignored { 0 } else { sum.round() as i64 };
        }
    }

    fn normalizes(&self) -> bool {
        true
    }

    fn normalize(&self, _: &Cx<'_>, _: &[NodeIndex], state: &Carried, scores: &mut [i64]) {
        let Some(scoring) = carried::<Scoring>(state) else { return };
        let counted = || scores.iter().zip(&scoring.ignored).filter(|(_, i)| !**i).map(|(s, _)| *s);
        let (min, max) = (counted().min().unwrap_or(i64::MAX), counted().max().unwrap_or(0).max(0));
        for (score, ignored) in scores.iter_mut().zip(&scoring.ignored) {
            *score = match (*ignored, max) {
                (true, _) => 0,
                (false, 0) => MAX_SCORE,
                (false, max) => MAX_SCORE * (max + min - *score) / max,
            };
        }
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, cluster: &Cluster) -> bool {
        let constraints = self.constraints(pod, &cluster.facts, "DoNotSchedule");
        let counts = |p: &PodInfo| constraints.iter().any(|c| c.selector.matches(&p.labels));
        let relabelled = |old: &PodInfo, new: &PodInfo| {
            let turned = |c: &Constraint| c.selector.matches(&old.labels) != c.selector.matches(&new.labels);
            old.labels != new.labels && constraints.iter().any(turned)
        };
        let ours = |p: &PodInfo| p.namespace == pod.namespace;
        match event {
            Event::Changed { old, new } => {
                old.tolerations != new.tolerations && constraints.iter().any(|c| c.honors_taints)
                    || relabelled(old, new)
            }
            Event::PodAdded(p) | Event::PodRemoved(p) => ours(p) && counts(p),
            Event::PodUpdated { old, new } => ours(new) && relabelled(old, new),
            Event::NodeAdded(at) => cluster.node(*at).is_some_and(|n| has_all(&constraints, &n.labels)),
            Event::NodeRemoved(gone) => has_all(&constraints, &gone.labels),
            Event::NodeUpdated { at, old } => {
                cluster.node(*at).is_some_and(|n| node_helps(&constraints, old, n))
            }
            _ => false,
        }
    }
}

fn node_helps(constraints: &[Constraint], old: &NodeFacts, new: &NodeInfo) -> bool {
    let (was, is) = (has_all(constraints, &old.labels), has_all(constraints, &new.labels));
    let moved = constraints.iter().any(|c| old.labels.get(&c.key) != new.labels.get(&c.key));
    was != is || is && (moved || old.taints != new.taints)
}
