//! `DefaultPreemption`: makes room by evicting pods of lower priority.

use crate::args::DefaultPreemptionArgs;
use gantry_scheduler_core::cycle::Search;
use gantry_scheduler_core::preemption::{Preemption, Shortlist, preempt};
use gantry_scheduler_core::{Cluster, Plugin, PodInfo, Point};

pub struct DefaultPreemption {
    shortlist: Shortlist,
}

impl DefaultPreemption {
    pub fn new(args: &DefaultPreemptionArgs) -> Self {
        let number = |n: i32| usize::try_from(n).unwrap_or(0);
        Self {
            shortlist: Shortlist {
                percentage: number(args.min_candidate_nodes_percentage),
                absolute: number(args.min_candidate_nodes_absolute),
            },
        }
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreEnqueue, Point::PostFilter]
    }

    /// While its victims are being asked to go, a pod is not tried (KEP-4832).
    fn pre_enqueue(&self, pod: &PodInfo, cluster: &Cluster) -> Result<(), &'static str> {
        if cluster.preempting.contains(&pod.uid) {
            return Err("waiting for the preemption for this pod to be finished");
        }
        Ok(())
    }

    fn post_filter(&self, search: &mut Search<'_, '_>) -> Option<Preemption> {
        Some(preempt(search, self.shortlist))
    }
}
