//! `PrioritySort`: pods of higher priority are tried first.

use gantry_scheduler_core::{Plugin, PodInfo, Point};

pub struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::QueueSort]
    }

    fn rank(&self, pod: &PodInfo) -> i64 {
        pod.priority.into()
    }
}
