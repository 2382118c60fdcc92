//! `NodeAffinity`: node selectors and node affinity, required and preferred, the pod's and the scheduler's.

use gantry_machinery::selector::{NodeSelector, PreferredTerms};
use gantry_scheduler_core::framework::{Carried, Cx, PreFilter, normalize};
use gantry_scheduler_core::{Cluster, Event, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection};

#[derive(Default)]
pub struct NodeAffinity {
    /// What every pod of the profile must and would like to have, too.
    added: Option<NodeSelector>,
    added_preferred: PreferredTerms,
}

impl NodeAffinity {
    pub fn new(added: Option<NodeSelector>, added_preferred: PreferredTerms) -> Self {
        Self { added, added_preferred }
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn pre_filter(&self, cx: &Cx<'_>, _: &mut Carried) -> PreFilter {
        let pod = cx.pod;
        if pod.affinity.is_none() && self.added.is_none() && pod.node_selector.is_empty() {
            return PreFilter::Skip;
        }
        // Terms that all name their node make the rest not worth looking at.
        match &pod.named {
            None => PreFilter::Run,
            Some(names) if names.is_empty() => {
                PreFilter::Reject(Rejection::unresolvable("pod affinity terms conflict"))
            }
            Some(names) => {
                let known = names.iter().filter_map(|n| cx.cluster.index(n));
                PreFilter::Only(known.filter(|at| cx.cluster.node(*at).is_some()).collect())
            }
        }
    }

    fn filter(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        if self.added.as_ref().is_some_and(|a| !a.matches(&node.name, &node.labels)) {
            return Err(Rejection::unresolvable("node(s) didn't match scheduler-enforced node affinity"));
        }
        if !cx.pod.selects(&node.name, &node.labels) {
            return Err(Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector"));
        }
        Ok(())
    }

    fn pre_score(&self, cx: &Cx<'_>, _: &[NodeIndex], _: &mut Carried) -> bool {
        cx.pod.preferred.as_ref().is_ok_and(|p| !p.is_empty()) || !self.added_preferred.is_empty()
    }

    fn score(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> i64 {
        let own = cx.pod.preferred.as_ref().map_or(0, |p| p.score(&node.name, &node.labels));
        own + self.added_preferred.score(&node.name, &node.labels)
    }

    fn normalizes(&self) -> bool {
        true
    }

    fn normalize(&self, _: &Cx<'_>, _: &[NodeIndex], _: &Carried, scores: &mut [i64]) {
        normalize(scores, false);
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, cluster: &Cluster) -> bool {
        let fits = |at: &NodeIndex| {
            cluster.node(*at).is_some_and(|n| {
                self.added.as_ref().is_none_or(|a| a.matches(&n.name, &n.labels))
                    && pod.selects(&n.name, &n.labels)
            })
        };
        match event {
            Event::NodeAdded(at) => fits(at),
            Event::NodeUpdated { at, old } => fits(at) && !pod.selects(&old.name, &old.labels),
            _ => false,
        }
    }
}
