//! `SchedulingGates`: pods with gates wait outside the queues (KEP-3521).

use gantry_scheduler_core::{Cluster, Event, Plugin, PodInfo, Point};

pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreEnqueue]
    }

    fn pre_enqueue(&self, pod: &PodInfo, _: &Cluster) -> Result<(), &'static str> {
        if pod.gates.is_empty() { Ok(()) } else { Err("waiting for scheduling gates") }
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, _: &Cluster) -> bool {
        matches!(event, Event::Changed { .. }) && pod.gates.is_empty()
    }
}
