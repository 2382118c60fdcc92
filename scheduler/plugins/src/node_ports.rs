//! `NodePorts`: a port of the node itself serves one pod.

use gantry_scheduler_core::framework::{Carried, Change, PreFilter};
use gantry_scheduler_core::{Cluster, NodeInfo, Plugin, PodInfo, Rejection};

pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn pre_filter(&self, pod: &PodInfo, _: &Cluster, _: &mut Carried) -> PreFilter {
        if pod.ports.is_empty() { PreFilter::Skip } else { PreFilter::Run }
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        if pod.ports.iter().any(|p| node.ports.iter().any(|used| used.conflicts(p))) {
            return Err(Rejection::unschedulable(
                "node(s) didn't have free ports for the requested pod ports",
            ));
        }
        Ok(())
    }

    fn helps(&self, pod: &PodInfo, change: Change, cluster: &Cluster) -> bool {
        let (Change::NodeAdded(index) | Change::NodeChanged(index) | Change::PodLeft(index)) = change;
        cluster.node(index).is_some_and(|node| self.filter(pod, node, &None).is_ok())
    }
}
