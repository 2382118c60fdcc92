//! `NodeUnschedulable`: cordoned nodes take only pods that tolerate it.

use gantry_scheduler_core::framework::{Carried, Cx};
use gantry_scheduler_core::{Cluster, Event, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection};

const KEY: &str = "node.kubernetes.io/unschedulable";

pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Filter]
    }

    fn filter(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        if node.unschedulable && !cx.pod.tolerates_key(KEY, "NoSchedule") {
            return Err(Rejection::unresolvable("node(s) were unschedulable"));
        }
        Ok(())
    }

    fn helps(&self, _: &PodInfo, event: &Event<'_>, cluster: &Cluster) -> bool {
        let open = |at: &NodeIndex| cluster.node(*at).is_some_and(|n| !n.unschedulable);
        match event {
            Event::NodeAdded(at) => open(at),
            Event::NodeUpdated { at, old } => old.unschedulable && open(at),
            Event::Changed { old, new } => old.tolerations != new.tolerations,
            _ => false,
        }
    }
}
