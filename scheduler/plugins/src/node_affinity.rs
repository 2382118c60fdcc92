//! `NodeAffinity`: node selectors and node affinity, required and preferred.

use gantry_scheduler_core::framework::{Carried, Change, PreFilter, normalize};
use gantry_scheduler_core::{Cluster, NodeInfo, Plugin, PodInfo, Rejection};

pub struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn pre_filter(&self, pod: &PodInfo, cluster: &Cluster, _: &mut Carried) -> PreFilter {
        let Some(required) = &pod.affinity else {
            return if pod.node_selector.is_empty() { PreFilter::Skip } else { PreFilter::Run };
        };
        // Terms that all name their node make the rest not worth looking at.
        match required.names() {
            Some(names) if names.is_empty() => PreFilter::Run,
            Some(names) => {
                let mut nodes: Vec<_> = names.into_iter().filter_map(|n| cluster.index(n)).collect();
                nodes.sort();
                nodes.dedup();
                PreFilter::Only(nodes)
            }
            None => PreFilter::Run,
        }
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        let selected = pod.node_selector.iter().all(|(k, v)| node.labels.get(k) == Some(v));
        let wanted = pod.affinity.as_ref().is_none_or(|a| a.matches(&node.name, &node.labels));
        if selected && wanted {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector"))
    }

    fn scores(&self, pod: &PodInfo) -> bool {
        pod.preferred.as_ref().is_ok_and(|p| !p.is_empty())
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &Cluster, _: &Carried) -> i64 {
        pod.preferred.as_ref().map_or(0, |p| p.score(&node.name, &node.labels))
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize(scores, false);
    }

    fn helps(&self, pod: &PodInfo, change: Change, cluster: &Cluster) -> bool {
        crate::node_passes(self, pod, change, cluster)
    }
}
