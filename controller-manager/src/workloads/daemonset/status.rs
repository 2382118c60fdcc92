//! What a daemon set's status says.

use super::eligible::Verdict;
use super::plan::{Places, Snapshot};
use super::pods;
use crate::workloads::availability;
use gantry_reconcile::conditions;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use std::time::Duration;

pub(super) fn min_ready(set: &DaemonSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

/// The counts. On each node its oldest pod counts.
pub(super) fn of(snapshot: &Snapshot<'_>, places: &Places<'_>, now: Timestamp) -> DaemonSetStatus {
    let set = snapshot.set;
    let (mut desired, mut scheduled, mut misscheduled) = (0, 0, 0);
    let (mut ready, mut available, mut updated) = (0, 0, 0);
    for place in places.values() {
        let pod = place.pods.first();
        match place.verdict {
            None => {}
            Some(Verdict::Run) => {
                desired += 1;
                let Some(pod) = pod else { continue };
                scheduled += 1;
                ready += i32::from(conditions::is_ready(pod));
                available += i32::from(conditions::is_available(pod, min_ready(set), now));
                updated += i32::from(pods::is_updated(set, pod, snapshot.revision));
            }
            Some(_) => misscheduled += i32::from(pod.is_some()),
        }
    }
    let old = set.status.clone().unwrap_or_default();
    let nonzero = |n: i32| (n != 0).then_some(n);
    DaemonSetStatus {
        desired_number_scheduled: desired,
        current_number_scheduled: scheduled,
        number_misscheduled: misscheduled,
        number_ready: ready,
        number_available: nonzero(available),
        number_unavailable: nonzero(desired - available),
        updated_number_scheduled: nonzero(updated),
        observed_generation: set.metadata.generation,
        collision_count: old.collision_count,
        conditions: old.conditions,
    }
}

/// Whether the status must be written.
pub(super) fn differs(set: &DaemonSet, new: &DaemonSetStatus) -> bool {
    let zero = |n: Option<i32>| n.unwrap_or(0);
    set.status.as_ref().is_none_or(|old| {
        old.desired_number_scheduled != new.desired_number_scheduled
            || old.current_number_scheduled != new.current_number_scheduled
            || old.number_misscheduled != new.number_misscheduled
            || old.number_ready != new.number_ready
            || zero(old.number_available) != zero(new.number_available)
            || zero(old.number_unavailable) != zero(new.number_unavailable)
            || zero(old.updated_number_scheduled) != zero(new.updated_number_scheduled)
            || old.observed_generation < new.observed_generation
    })
}

/// When the next ready pod becomes available, if one is waiting for that.
pub(super) fn next_look(
    snapshot: &Snapshot<'_>,
    status: &DaemonSetStatus,
    now: Timestamp,
) -> Option<Duration> {
    let min_ready = min_ready(snapshot.set);
    if min_ready == 0 || status.number_ready == status.number_available.unwrap_or(0) {
        return None;
    }
    let fallback = Duration::from_secs(u64::try_from(min_ready).unwrap_or(0));
    Some(availability::next_look(&snapshot.pods, min_ready, now).unwrap_or(fallback))
}
