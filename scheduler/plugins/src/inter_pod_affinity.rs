//! `InterPodAffinity`: pods that want to be near others, or not; and others that do not want them near.
//!
//! Everything is a tally by topology key, begun once per pod shape: see [`Counts`].

use crate::args::InterPodAffinityArgs;
use gantry_machinery::selector::Selector;
use gantry_scheduler_core::framework::{Carried, Cx, MAX_SCORE, PreFilter, Prepared};
use gantry_scheduler_core::labels::LabelSet;
use gantry_scheduler_core::shape::{Term, Terms};
use gantry_scheduler_core::tally::{TallyIndex, TallySpec};
use gantry_scheduler_core::topology::{KeyIndex, NONE};
use gantry_scheduler_core::{
    Cluster, Event, Facts, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection, Shape,
};
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct InterPodAffinity {
    hard_weight: i64,
    ignore_existing: bool,
}

/// One of the pod's own terms, with its namespaces found.
#[derive(Clone, PartialEq)]
struct Resolved {
    key: Box<str>,
    selector: Selector,
    everywhere: bool,
    namespaces: BTreeSet<String>,
    weight: i64,
}

impl Resolved {
    fn of(terms: &[Term], facts: &Facts) -> Vec<Self> {
        let resolve = |t: &Term| {
            let everywhere = t.namespace_selector.is_everything();
            let mut namespaces = t.namespaces.clone();
            if !everywhere && !t.namespace_selector.is_nothing() {
                namespaces.extend(facts.namespaces(&t.namespace_selector).map(str::to_owned));
            }
            Self {
                key: t.key.clone(),
                selector: t.selector.clone(),
                everywhere,
                namespaces,
                weight: t.weight,
            }
        };
        terms.iter().map(resolve).collect()
    }

    fn matches(&self, pod: &Shape) -> bool {
        (self.everywhere || self.namespaces.contains(&*pod.namespace)) && self.selector.matches(&pod.labels)
    }
}

fn matches_all(terms: &[Resolved], pod: &Shape) -> bool {
    !terms.is_empty() && terms.iter().all(|t| t.matches(pod))
}

/// The pod's side of the matter, as its tallies were begun with.
#[derive(Clone, PartialEq)]
struct Side {
    affinity: Vec<Resolved>,
    anti: Vec<Resolved>,
    preferred: Vec<Resolved>,
    preferred_anti: Vec<Resolved>,
    namespace_labels: Option<LabelSet>,
    /// Topology keys that other pods' terms name.
    others: BTreeSet<Box<str>>,
}

impl Side {
    fn of(pod: &Shape, cluster: &Cluster) -> Self {
        let none = Terms::default();
        let terms = pod.terms.as_ref().unwrap_or(&none);
        let resolve = |t: &[Term]| Resolved::of(t, &cluster.facts);
        Self {
            affinity: resolve(&terms.affinity),
            anti: resolve(&terms.anti),
            preferred: resolve(&terms.preferred),
            preferred_anti: resolve(&terms.preferred_anti),
            namespace_labels: cluster.facts.namespace(&pod.namespace).cloned(),
            others: cluster.term_keys().clone(),
        }
    }
}

/// What is counted, by topology key.
struct Counts {
    side: Side,
    /// Pods that match all of the pod's affinity terms.
    affinity: Vec<(KeyIndex, TallyIndex)>,
    /// The pod itself would match them.
    own: bool,
    /// Pods the pod does not want near, by the number of terms they match.
    anti: Vec<(KeyIndex, TallyIndex)>,
    /// Pods that do not want the pod near.
    others: Vec<(KeyIndex, TallyIndex)>,
    /// Weights of preferences, the pod's and others'.
    preferred: Vec<(KeyIndex, TallyIndex)>,
}

fn keys<'a>(terms: impl Iterator<Item = &'a Resolved>) -> Vec<Box<str>> {
    let mut keys: Vec<Box<str>> = Vec::new();
    for term in terms {
        if !keys.contains(&term.key) {
            keys.push(term.key.clone());
        }
    }
    keys
}

fn begin(
    key: &str,
    cluster: &mut Cluster,
    hold: &mut Vec<TallyIndex>,
    weigh: impl Fn(&Shape) -> i64 + Send + Sync + 'static,
) -> (KeyIndex, TallyIndex) {
    let key = cluster.key(key);
    let tally = cluster.count(TallySpec { key, weigh: Box::new(weigh), eligible: None, living: false });
    hold.push(tally);
    (key, tally)
}

/// What the incoming pod is to the terms of others.
struct Newcomer {
    namespace: Arc<str>,
    labels: LabelSet,
    namespace_labels: Option<LabelSet>,
}

impl Newcomer {
    fn weight(&self, terms: &[Term], key: &str, weight: impl Fn(&Term) -> i64) -> i64 {
        let meant = terms.iter().filter(|t| {
            *t.key == *key && t.matches(&self.namespace, &self.labels, self.namespace_labels.as_ref())
        });
        meant.map(weight).sum()
    }
}

impl InterPodAffinity {
    pub fn new(args: &InterPodAffinityArgs) -> Self {
        Self {
            hard_weight: args.hard_pod_affinity_weight.into(),
            ignore_existing: args.ignore_preferred_terms_of_existing_pods,
        }
    }

    fn begin(&self, pod: &PodInfo, cluster: &mut Cluster, hold: &mut Vec<TallyIndex>) -> Counts {
        let side = Side::of(pod, cluster);
        let newcomer = || Newcomer {
            namespace: pod.namespace.clone(),
            labels: pod.labels.clone(),
            namespace_labels: side.namespace_labels.clone(),
        };
        let all = Arc::new(side.clone());
        let mut affinity = Vec::new();
        for key in keys(side.affinity.iter()) {
            let all = all.clone();
            affinity.push(begin(&key, cluster, hold, move |p| i64::from(matches_all(&all.affinity, p))));
        }
        let mut anti = Vec::new();
        for key in keys(side.anti.iter()) {
            let (all, name) = (all.clone(), key.clone());
            anti.push(begin(&key, cluster, hold, move |p| {
                let terms = all.anti.iter().filter(|t| t.key == name && t.matches(p));
                i64::try_from(terms.count()).unwrap_or(i64::MAX)
            }));
        }
        let mut others = Vec::new();
        for key in &side.others {
            let (newcomer, name) = (newcomer(), key.clone());
            others.push(begin(key, cluster, hold, move |p| {
                p.terms.as_ref().map_or(0, |terms| newcomer.weight(&terms.anti, &name, |_| 1))
            }));
        }
        let mut preferred = Vec::new();
        let wishes = !side.preferred.is_empty() || !side.preferred_anti.is_empty();
        let mut scored = keys(side.preferred.iter().chain(&side.preferred_anti));
        if !self.ignore_existing || wishes {
            scored.extend(side.others.iter().filter(|k| !scored.contains(k)).cloned().collect::<Vec<_>>());
        }
        for key in scored {
            let (all, newcomer, name, hard) = (all.clone(), newcomer(), key.clone(), self.hard_weight);
            preferred.push(begin(&key, cluster, hold, move |p| {
                let own = |list: &[Resolved]| -> i64 {
                    list.iter().filter(|t| t.key == name && t.matches(p)).map(|t| t.weight).sum()
                };
                let mut sum = own(&all.preferred) - own(&all.preferred_anti);
                if let Ok(terms) = &p.terms {
                    sum += newcomer.weight(&terms.affinity, &name, |_| hard);
                    sum += newcomer.weight(&terms.preferred, &name, |t| t.weight);
                    sum -= newcomer.weight(&terms.preferred_anti, &name, |t| t.weight);
                }
                sum
            }));
        }
        let own = matches_all(&side.affinity, pod);
        Counts { side, affinity, own, anti, others, preferred }
    }
}

/// Columns and counts of some tallies.
fn columns<'a>(cx: &Cx<'a>, tallies: &[(KeyIndex, TallyIndex)]) -> Vec<(&'a [u32], &'a [i64])> {
    let column = |(key, tally): &(KeyIndex, TallyIndex)| {
        let counts = cx.cluster.tally(*tally).map_or(&[][..], |t| t.counts());
        (cx.cluster.topology().column(*key), counts)
    };
    tallies.iter().map(column).collect()
}

fn value(column: &[u32], at: NodeIndex) -> Option<usize> {
    column.get(at.0).copied().filter(|v| *v != NONE).map(|v| v as usize)
}

fn above(columns: &[(&[u32], &[i64])], at: NodeIndex) -> bool {
    columns
        .iter()
        .any(|(column, counts)| value(column, at).and_then(|v| counts.get(v)).is_some_and(|n| *n > 0))
}

/// The counts as one cycle looks at them.
struct View<'a> {
    affinity: Vec<(&'a [u32], &'a [i64])>,
    anti: Vec<(&'a [u32], &'a [i64])>,
    others: Vec<(&'a [u32], &'a [i64])>,
    /// No pod matches the affinity, but the pod itself would: the first of its kind.
    first: bool,
}

impl<'a> View<'a> {
    fn new(cx: &Cx<'a>, counts: &Counts) -> Self {
        let zero = |(_, t): &(KeyIndex, TallyIndex)| cx.cluster.tally(*t).is_none_or(|t| t.is_zero());
        Self {
            affinity: columns(cx, &counts.affinity),
            anti: columns(cx, &counts.anti),
            others: columns(cx, &counts.others),
            first: counts.own && counts.affinity.iter().all(zero),
        }
    }

    fn filter(&self, at: NodeIndex) -> Result<(), Rejection> {
        let mut near = true;
        for (column, counts) in &self.affinity {
            match value(column, at) {
                None => return Err(Rejection::unresolvable("node(s) didn't match pod affinity rules")),
                Some(v) => near &= counts.get(v).is_some_and(|n| *n > 0),
            }
        }
        if !near && !self.first {
            return Err(Rejection::unresolvable("node(s) didn't match pod affinity rules"));
        }
        if above(&self.anti, at) {
            return Err(Rejection::unschedulable("node(s) didn't match pod anti-affinity rules"));
        }
        if above(&self.others, at) {
            return Err(Rejection::unschedulable("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn prepare(&self, pod: &PodInfo, cluster: &mut Cluster, hold: &mut Vec<TallyIndex>) -> Prepared {
        Some(Box::new(self.begin(pod, cluster, hold)))
    }

    fn still(&self, cx: &Cx<'_>) -> bool {
        cx.prepared::<Counts>().is_some_and(|c| c.side == Side::of(cx.pod, cx.cluster))
    }

    fn local(&self) -> bool {
        false
    }

    fn pre_filter(&self, cx: &Cx<'_>, _: &mut Carried) -> PreFilter {
        if let Err(error) = &cx.pod.terms {
            return PreFilter::Reject(Rejection::unresolvable(format!("parsing pod: {error}")));
        }
        let Some(counts) = cx.prepared::<Counts>() else { return PreFilter::Skip };
        let zero = |(_, t): &(KeyIndex, TallyIndex)| cx.cluster.tally(*t).is_none_or(|t| t.is_zero());
        if counts.affinity.is_empty() && counts.anti.is_empty() && counts.others.iter().all(zero) {
            return PreFilter::Skip;
        }
        PreFilter::Run
    }

    fn filter(&self, cx: &Cx<'_>, at: NodeIndex, _: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        cx.prepared::<Counts>().map_or(Ok(()), |counts| View::new(cx, counts).filter(at))
    }

    fn filter_many(
        &self,
        cx: &Cx<'_>,
        nodes: &mut Vec<NodeIndex>,
        _: &Carried,
        refuse: &mut dyn FnMut(NodeIndex, Rejection),
    ) {
        let Some(counts) = cx.prepared::<Counts>() else { return };
        let view = View::new(cx, counts);
        nodes.retain(|at| view.filter(*at).map_err(|why| refuse(*at, why)).is_ok());
    }

    fn pre_score(&self, cx: &Cx<'_>, _: &[NodeIndex], _: &mut Carried) -> bool {
        let zero = |(_, t): &(KeyIndex, TallyIndex)| cx.cluster.tally(*t).is_none_or(|t| t.is_zero());
        cx.prepared::<Counts>().is_some_and(|c| !c.preferred.iter().all(zero))
    }

    fn score_many(&self, cx: &Cx<'_>, nodes: &[NodeIndex], _: &Carried, out: &mut [i64]) {
        let Some(counts) = cx.prepared::<Counts>() else { return };
        out.fill(0);
        for (column, counts) in columns(cx, &counts.preferred) {
            for (out, at) in out.iter_mut().zip(nodes) {
                *out += value(column, *at).and_then(|v| counts.get(v)).copied().unwrap_or(0);
            }
        }
    }

    fn normalizes(&self) -> bool {
        true
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a score of whole percents"
    )]
    fn normalize(&self, _: &Cx<'_>, _: &[NodeIndex], _: &Carried, scores: &mut [i64]) {
        let (Some(min), Some(max)) = (scores.iter().min().copied(), scores.iter().max().copied()) else {
            return;
        };
        for score in scores.iter_mut() {
            *score = match max - min {
                0 => 0,
                range => (MAX_SCORE as f64 * ((*score - min) as f64 / range as f64)) as i64,
            };
        }
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, cluster: &Cluster) -> bool {
        let Ok(terms) = &pod.terms else { return true };
        let all = |terms: &[Term], of: &Shape| {
            !terms.is_empty() && terms.iter().all(|t| t.matches(&of.namespace, &of.labels, None))
        };
        match event {
            Event::Changed { old, new } => old.labels != new.labels,
            Event::PodAdded(new) => all(&terms.affinity, new),
            Event::PodUpdated { old, new } => {
                !all(&terms.affinity, old) && all(&terms.affinity, new)
                    || all(&terms.anti, old) && !all(&terms.anti, new)
            }
            Event::PodRemoved(gone) => {
                all(&terms.anti, gone) || gone.terms.as_ref().is_ok_and(|t| all(&t.anti, pod))
            }
            Event::NodeAdded(at) => {
                let has = |t: &Term| cluster.node(*at).is_some_and(|n| n.labels.get(&t.key).is_some());
                !terms.anti.is_empty() || terms.affinity.iter().any(has)
            }
            Event::NodeUpdated { at, old } => {
                let Some(node) = cluster.node(*at) else { return false };
                let values = |t: &Term| (old.labels.get(&t.key), node.labels.get(&t.key));
                terms.affinity.iter().map(values).any(|(was, is)| is.is_some() && was != is)
                    || terms.anti.iter().map(values).any(|(was, is)| was.is_some() && was != is)
            }
            _ => false,
        }
    }
}
