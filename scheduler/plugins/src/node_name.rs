//! `NodeName`: a pod that names its node goes nowhere else.

use gantry_scheduler_core::framework::{Carried, Change};
use gantry_scheduler_core::{Cluster, NodeInfo, Plugin, PodInfo, Rejection};

pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        if !pod.node.is_empty() && pod.node != node.name {
            return Err(Rejection::unresolvable("node(s) didn't match the requested node name"));
        }
        Ok(())
    }

    fn helps(&self, pod: &PodInfo, change: Change, cluster: &Cluster) -> bool {
        crate::node_passes(self, pod, change, cluster)
    }
}
