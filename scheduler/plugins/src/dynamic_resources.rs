//! `DynamicResources`: pods whose resource claims are not there wait for them.
//!
//! Devices are handed out where the kinds of `resource.k8s.io` are served. Until this scheduler watches them,
//! no claim is there to be found, and pods that name some stay out of the queues. To all others the plugin
//! says what it says upstream.

use gantry_scheduler_core::cycle::Search;
use gantry_scheduler_core::preemption::Preemption;
use gantry_scheduler_core::{Cluster, Event, Plugin, PodInfo, Point};

pub struct DynamicResources;

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreEnqueue, Point::PreFilter, Point::PostFilter]
    }

    fn pre_enqueue(&self, pod: &PodInfo, _: &Cluster) -> Result<(), &'static str> {
        if pod.claims_devices { Err("waiting for resource claims") } else { Ok(()) }
    }

    /// Where an earlier plugin refused the pod as a whole, this one has made no notes, and upstream's words for
    /// that end the search for room.
    fn post_filter(&self, search: &mut Search<'_, '_>) -> Option<Preemption> {
        if search.failure.whole.as_ref().is_some_and(|why| !why.resolvable) {
            return Some(Preemption::Failed("not found".into()));
        }
        Some(Preemption::Nothing { message: "no new claims to deallocate".into(), clear: false })
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, _: &Cluster) -> bool {
        matches!(event, Event::Changed { .. }) && !pod.claims_devices
    }
}
