//! `NodeUnschedulable`: cordoned nodes take only pods that tolerate it.

use gantry_scheduler_core::framework::{Carried, Change};
use gantry_scheduler_core::pod::tolerates_key;
use gantry_scheduler_core::{Cluster, NodeInfo, Plugin, PodInfo, Rejection};

pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        if node.unschedulable && !tolerates_key(pod, "node.kubernetes.io/unschedulable", "NoSchedule") {
            return Err(Rejection::unresolvable("node(s) were unschedulable"));
        }
        Ok(())
    }

    fn helps(&self, pod: &PodInfo, change: Change, cluster: &Cluster) -> bool {
        crate::node_passes(self, pod, change, cluster)
    }
}
