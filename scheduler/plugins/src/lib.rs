//! The default scheduling plugins, a file each, in upstream's order and with upstream's weights.
//!
//! Adding one is a file here and a line in [`registry`] (and in [`DEFAULT`], where every profile has it). No
//! tasks, no state beyond the cycle's. Refuses: IO and memory between cycles; what must be remembered belongs
//! to the cluster.

pub mod args;
mod balanced_allocation;
mod claims;
mod default_binder;
mod default_preemption;
mod dynamic_resources;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod priority_sort;
mod resource_scores;
mod scheduling_gates;
mod taint_toleration;
#[cfg(test)]
mod tests;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use args::Args;
use gantry_machinery::selector::{NodeSelector, PreferredTerms};
use gantry_scheduler_core::{Plugin, Profile};
use gantry_types::field::Path;

/// What every profile has unless told otherwise, in order, with weights.
pub const DEFAULT: [(&str, i64); 19] = [
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 2),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
];

/// The plugin of a name, with its arguments; `None` where there is none.
pub fn registry(name: &str, args: &Args) -> Option<Box<dyn Plugin>> {
    Some(match name {
        "SchedulingGates" => Box::new(scheduling_gates::SchedulingGates),
        "PrioritySort" => Box::new(priority_sort::PrioritySort),
        "NodeUnschedulable" => Box::new(node_unschedulable::NodeUnschedulable),
        "NodeName" => Box::new(node_name::NodeName),
        "TaintToleration" => Box::new(taint_toleration::TaintToleration),
        "NodeAffinity" => Box::new(node_affinity(args)),
        "NodePorts" => Box::new(node_ports::NodePorts),
        "NodeResourcesFit" => Box::new(node_resources_fit::NodeResourcesFit::new(&args.node_resources_fit)),
        "VolumeRestrictions" => Box::new(volume_restrictions::VolumeRestrictions),
        "NodeVolumeLimits" => Box::new(node_volume_limits::NodeVolumeLimits),
        "VolumeBinding" => Box::new(volume_binding::VolumeBinding::new(&args.volume_binding)),
        "VolumeZone" => Box::new(volume_zone::VolumeZone),
        "PodTopologySpread" => {
            Box::new(pod_topology_spread::PodTopologySpread::new(&args.pod_topology_spread))
        }
        "InterPodAffinity" => Box::new(inter_pod_affinity::InterPodAffinity::new(&args.inter_pod_affinity)),
        "DynamicResources" => Box::new(dynamic_resources::DynamicResources),
        "DefaultPreemption" => Box::new(default_preemption::DefaultPreemption::new(&args.default_preemption)),
        "NodeResourcesBalancedAllocation" => {
            Box::new(balanced_allocation::BalancedAllocation::new(&args.balanced_allocation.resources))
        }
        "ImageLocality" => Box::new(image_locality::ImageLocality),
        "DefaultBinder" => Box::new(default_binder::DefaultBinder),
        _ => return None,
    })
}

fn node_affinity(args: &Args) -> node_affinity::NodeAffinity {
    let Some(added) = &args.node_affinity.added_affinity else {
        return node_affinity::NodeAffinity::default();
    };
    let root = Path::root();
    let required = added.required_during_scheduling_ignored_during_execution.as_ref();
    let preferred = added.preferred_during_scheduling_ignored_during_execution.as_ref();
    // Malformed terms are refused where the configuration is read.
    let preferred = preferred.and_then(|p| PreferredTerms::new(p, &root).ok()).unwrap_or_default();
    node_affinity::NodeAffinity::new(required.map(|r| NodeSelector::new(r, &root)), preferred)
}

/// A scheduler with the default plugins.
pub fn default_profile(scheduler: &str) -> Profile {
    let mut args = Args::default();
    args.node_resources_fit = args.node_resources_fit.with_defaults();
    let plugins = DEFAULT.iter().filter_map(|(name, weight)| Some((registry(name, &args)?, *weight)));
    Profile::new(scheduler, plugins.collect())
}
