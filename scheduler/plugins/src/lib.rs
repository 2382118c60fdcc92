//! The default scheduling plugins, a file each, in upstream's order and with upstream's weights.
//!
//! Adding one is a file here and a line in [`default_profile`]. No tasks, no state beyond the cycle's.
//! Refuses: IO and memory between cycles; what must be remembered belongs to the cluster.

mod balanced_allocation;
mod image_locality;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod taint_toleration;
#[cfg(test)]
mod tests;

use gantry_scheduler_core::{Plugin, Profile};

/// The plugins of `default-scheduler`.
pub fn default_profile(scheduler: &str) -> Profile {
    let plugins: Vec<(Box<dyn Plugin>, i64)> = vec![
        (Box::new(node_unschedulable::NodeUnschedulable), 0),
        (Box::new(node_name::NodeName), 0),
        (Box::new(taint_toleration::TaintToleration), 3),
        (Box::new(node_affinity::NodeAffinity), 2),
        (Box::new(node_ports::NodePorts), 0),
        (Box::new(node_resources_fit::NodeResourcesFit), 1),
        (Box::new(balanced_allocation::BalancedAllocation), 1),
        (Box::new(image_locality::ImageLocality), 1),
    ];
    Profile { scheduler: scheduler.into(), plugins, percentage_of_nodes_to_score: 0 }
}

/// Whether a change is to a node that now passes `filter`: the hint of plugins that look at one node only.
fn node_passes(
    plugin: &dyn Plugin,
    pod: &gantry_scheduler_core::PodInfo,
    change: gantry_scheduler_core::Change,
    cluster: &gantry_scheduler_core::Cluster,
) -> bool {
    use gantry_scheduler_core::Change;
    match change {
        Change::NodeAdded(index) | Change::NodeChanged(index) => {
            cluster.node(index).is_some_and(|node| plugin.filter(pod, node, &None).is_ok())
        }
        Change::PodLeft(_) => false,
    }
}
