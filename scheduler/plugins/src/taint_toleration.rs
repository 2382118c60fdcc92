//! `TaintToleration`: taints keep pods away, or make nodes less liked.

use gantry_scheduler_core::framework::{Carried, Change, normalize};
use gantry_scheduler_core::{Cluster, NodeInfo, Plugin, PodInfo, Rejection};

pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        let hard = node.taints.iter().filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
        if hard.into_iter().any(|t| !pod.tolerates(t)) {
            return Err(Rejection::unresolvable("node(s) had untolerated taint(s)"));
        }
        Ok(())
    }

    fn scores(&self, _: &PodInfo) -> bool {
        true
    }

    /// Taints of effect `PreferNoSchedule` the pod does not tolerate; few are good.
    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &Cluster, _: &Carried) -> i64 {
        let soft = node.taints.iter().filter(|t| t.effect == "PreferNoSchedule" && !pod.tolerates(t)).count();
        i64::try_from(soft).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize(scores, true);
    }

    fn helps(&self, pod: &PodInfo, change: Change, cluster: &Cluster) -> bool {
        crate::node_passes(self, pod, change, cluster)
    }
}
