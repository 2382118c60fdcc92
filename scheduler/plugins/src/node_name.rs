//! `NodeName`: a pod that names its node goes nowhere else.

use gantry_scheduler_core::framework::{Carried, Cx};
use gantry_scheduler_core::{Cluster, Event, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection};

pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Filter]
    }

    fn filter(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        if !cx.pod.node.is_empty() && cx.pod.node != node.name {
            return Err(Rejection::unresolvable("node(s) didn't match the requested node name"));
        }
        Ok(())
    }

    fn helps(&self, _: &PodInfo, event: &Event<'_>, _: &Cluster) -> bool {
        matches!(event, Event::NodeAdded(_))
    }
}
