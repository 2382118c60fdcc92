//! `NodeResourcesFit`: what a pod asks for must be free; emptier, or fuller, nodes are liked.

use crate::args::{NodeResourcesFitArgs, ResourceSpec};
use crate::resource_scores::{Strategy, by_wish};
use gantry_scheduler_core::framework::{Carried, Cx, Reasons};
use gantry_scheduler_core::{
    Cluster, Event, NodeFacts, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection, Resources, Shape,
};
use std::borrow::Cow;

pub struct NodeResourcesFit {
    strategy: Strategy,
    resources: Vec<ResourceSpec>,
    /// The default: CPU and memory, equally.
    plain: bool,
    ignored: Vec<String>,
    ignored_groups: Vec<String>,
}

impl NodeResourcesFit {
    pub fn new(args: &NodeResourcesFitArgs) -> Self {
        let strategy = args.scoring_strategy.clone().unwrap_or_default();
        let plain = strategy.type_ == "LeastAllocated"
            && matches!(strategy.resources.as_slice(), [a, b] if a.is("cpu", 1) && b.is("memory", 1));
        Self {
            strategy: Strategy::new(&strategy),
            resources: strategy.resources,
            plain,
            ignored: args.ignored_resources.clone(),
            ignored_groups: args.ignored_resource_groups.clone(),
        }
    }

    fn ignores(&self, name: &str) -> bool {
        let extended =
            name.contains('/') && !name.split('/').next().is_some_and(|g| g.ends_with("kubernetes.io"));
        let group = name.split('/').next().unwrap_or_default();
        extended && (self.ignored.iter().any(|i| i == name) || self.ignored_groups.iter().any(|g| g == group))
    }

    fn lacks(
        &self,
        pod: &Shape,
        has: &Resources,
        used: &Resources,
        pods: usize,
        allowed: i64,
    ) -> Option<Rejection> {
        let asks = &pod.requests;
        let full = i64::try_from(pods).unwrap_or(i64::MAX) >= allowed;
        let short = |asks: i64, has: i64, used: i64| asks > 0 && asks > has - used;
        if !full
            && !short(asks.cpu, has.cpu, used.cpu)
            && !short(asks.memory, has.memory, used.memory)
            && !short(asks.ephemeral, has.ephemeral, used.ephemeral)
            && asks.scalars.is_empty()
        {
            return None;
        }
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        let mut resolvable = true;
        if full {
            reasons.push("Too many pods".into());
        }
        let plain = [
            ("Insufficient cpu", asks.cpu, has.cpu, used.cpu),
            ("Insufficient memory", asks.memory, has.memory, used.memory),
            ("Insufficient ephemeral-storage", asks.ephemeral, has.ephemeral, used.ephemeral),
        ];
        for (reason, asks, has, used) in plain {
            if short(asks, has, used) {
                reasons.push(reason.into());
                resolvable &= asks <= has;
            }
        }
        for (name, asks) in asks.scalars.iter().filter(|(n, asks)| *asks != 0 && !self.ignores(n)) {
            let has = has.scalar(name);
            if *asks > has - used.scalar(name) {
                reasons.push(format!("Insufficient {name}").into());
                resolvable &= *asks <= has;
            }
        }
        let reasons = match reasons.len() {
            0 => return None,
            1 => Reasons::One(reasons.remove(0)),
            _ => Reasons::Many(reasons),
        };
        Some(Rejection { reasons, resolvable })
    }

    /// Whether the pod would fit on the node if it were empty.
    fn fits_empty(&self, pod: &Shape, node: &NodeInfo) -> bool {
        self.lacks(pod, &node.allocatable, &Resources::default(), 0, node.allowed_pods).is_none()
    }
}

/// Whether there is more of something the pod asks for.
fn grew(pod: &Shape, old: &NodeFacts, new: &NodeInfo) -> bool {
    let (asks, was, is) = (&pod.requests, &old.allocatable, &new.allocatable);
    new.allowed_pods > old.allowed_pods
        || asks.cpu > 0 && is.cpu > was.cpu
        || asks.memory > 0 && is.memory > was.memory
        || asks.ephemeral > 0 && is.ephemeral > was.ephemeral
        || asks.scalars.iter().any(|(n, asks)| *asks != 0 && is.scalar(n) > was.scalar(n))
}

/// Whether less is asked for of something the pod asks for.
fn shrank(pod: &Shape, old: &Shape, new: &Shape) -> bool {
    let (asks, was, is) = (&pod.requests, &old.requests, &new.requests);
    asks.cpu > 0 && is.cpu < was.cpu
        || asks.memory > 0 && is.memory < was.memory
        || asks.ephemeral > 0 && is.ephemeral < was.ephemeral
        || asks.scalars.iter().any(|(n, asks)| *asks != 0 && is.scalar(n) < was.scalar(n))
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]
    }

    fn filter(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        let lacks =
            self.lacks(cx.pod, &node.allocatable, &node.requested, node.pods.len(), node.allowed_pods);
        lacks.map_or(Ok(()), Err)
    }

    fn score(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> i64 {
        if self.plain {
            let (pod, has) = (cx.pod, &node.allocatable);
            let uses = [
                ((0, node.scoring.0 + pod.wish.0, has.cpu), 1),
                ((0, node.scoring.1 + pod.wish.1, has.memory), 1),
            ];
            return Strategy::Least.score(uses.into_iter());
        }
        self.strategy.score(by_wish(&self.resources, cx.pod, node))
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, cluster: &Cluster) -> bool {
        let fits = |at: &NodeIndex| cluster.node(*at).filter(|n| self.fits_empty(pod, n));
        match event {
            Event::NodeAdded(at) => fits(at).is_some(),
            Event::NodeUpdated { at, old } => fits(at).is_some_and(|n| grew(pod, old, n)),
            Event::PodRemoved(_) => true,
            Event::PodUpdated { old, new } | Event::Changed { old, new } => shrank(pod, old, new),
            _ => false,
        }
    }
}
