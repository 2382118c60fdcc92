//! `NodePorts`: a port of the node itself serves one pod.

use gantry_scheduler_core::framework::{Carried, Cx, PreFilter};
use gantry_scheduler_core::{Cluster, Event, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection};

pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn pre_filter(&self, cx: &Cx<'_>, _: &mut Carried) -> PreFilter {
        if cx.pod.ports.is_empty() { PreFilter::Skip } else { PreFilter::Run }
    }

    fn filter(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        if cx.pod.ports.iter().any(|p| node.ports.iter().any(|used| used.conflicts(p))) {
            return Err(Rejection::unschedulable(
                "node(s) didn't have free ports for the requested pod ports",
            ));
        }
        Ok(())
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, _: &Cluster) -> bool {
        match event {
            Event::NodeAdded(_) => true,
            Event::PodRemoved(gone) => gone.ports.iter().any(|g| pod.ports.iter().any(|p| p.conflicts(g))),
            _ => false,
        }
    }
}
