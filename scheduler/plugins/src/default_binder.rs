//! `DefaultBinder`: posts the Binding.

use gantry_scheduler_core::framework::Step;
use gantry_scheduler_core::{Cluster, NodeIndex, Plugin, PodInfo, Point};

pub struct DefaultBinder;

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Bind]
    }

    fn bind(&self, _: &PodInfo, at: NodeIndex, cluster: &Cluster) -> Option<Step> {
        cluster.node(at).map(|node| Step::Bind { node: node.name.to_string() })
    }
}
