//! `TaintToleration`: taints keep pods away, or make nodes less liked.

use gantry_scheduler_core::framework::{Carried, Cx, normalize};
use gantry_scheduler_core::{Cluster, Event, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection, Shape};
use k8s_openapi::api::core::v1::Taint;

pub struct TaintToleration;

/// Whether a taint that keeps pods away is not tolerated.
pub(crate) fn kept_away(pod: &Shape, taints: &[Taint]) -> bool {
    let mut hard = taints.iter().filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.any(|t| !pod.tolerates(t))
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Filter, Point::PreScore, Point::Score]
    }

    fn filter(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        if kept_away(cx.pod, &node.taints) {
            return Err(Rejection::unresolvable("node(s) had untolerated taint(s)"));
        }
        Ok(())
    }

    /// Taints of effect `PreferNoSchedule` the pod does not tolerate; few are good.
    fn score(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> i64 {
        let soft = node.taints.iter().filter(|t| t.effect == "PreferNoSchedule" && !cx.pod.tolerates(t));
        i64::try_from(soft.count()).unwrap_or(i64::MAX)
    }

    fn normalizes(&self) -> bool {
        true
    }

    fn normalize(&self, _: &Cx<'_>, _: &[NodeIndex], _: &Carried, scores: &mut [i64]) {
        normalize(scores, true);
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, cluster: &Cluster) -> bool {
        let open = |at: &NodeIndex| cluster.node(*at).is_some_and(|n| !kept_away(pod, &n.taints));
        match event {
            Event::NodeAdded(at) => open(at),
            Event::NodeUpdated { at, old } => kept_away(pod, &old.taints) && open(at),
            Event::Changed { old, new } => old.tolerations != new.tolerations,
            _ => false,
        }
    }
}
