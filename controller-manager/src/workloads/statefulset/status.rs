//! What a stateful set's status says.

use super::identity;
use super::plan::Snapshot;
use super::update;
use crate::workloads::availability;
use gantry_reconcile::conditions;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;

/// Pods count once the server has given them a phase.
fn is_created(pod: &Pod) -> bool {
    !conditions::phase(pod).is_empty()
}

pub(super) fn is_running_and_ready(pod: &Pod) -> bool {
    conditions::phase(pod) == "Running" && conditions::is_ready(pod)
}

pub(super) fn is_available(pod: &Pod, min_ready: i32, now: Timestamp) -> bool {
    conditions::is_available(pod, min_ready, now)
}

/// The counts of these pods.
pub(super) fn of(snapshot: &Snapshot<'_>, pods: &[Arc<Pod>], now: Timestamp) -> StatefulSetStatus {
    let min_ready = min_ready(snapshot.set);
    let count = |wanted: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.iter().filter(|p| wanted(p)).count()).unwrap_or(i32::MAX)
    };
    let of_revision = |p: &Pod, revision: &str| {
        is_created(p) && p.metadata.deletion_timestamp.is_none() && identity::revision(p) == revision
    };
    let ready = count(&is_running_and_ready);
    let available = count(&|p| is_running_and_ready(p) && is_available(p, min_ready, now));
    let current = count(&|p| of_revision(p, &snapshot.current.name));
    let updated = count(&|p| of_revision(p, &snapshot.update.name));
    let nonzero = |n: i32| (n != 0).then_some(n);
    StatefulSetStatus {
        observed_generation: snapshot.set.metadata.generation,
        replicas: count(&is_created),
        ready_replicas: nonzero(ready),
        available_replicas: Some(available),
        current_replicas: nonzero(current),
        updated_replicas: nonzero(updated),
        current_revision: Some(snapshot.current.name.clone()),
        update_revision: Some(snapshot.update.name.clone()),
        collision_count: Some(snapshot.collisions),
        conditions: None,
    }
}

fn min_ready(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

/// The status after `rolled` pods were deleted for an update. Once all replicas are updated and ready, the
/// update revision becomes the current one.
pub(super) fn finish(set: &StatefulSet, mut status: StatefulSetStatus, rolled: usize) -> StatefulSetStatus {
    let rolled = i32::try_from(rolled).unwrap_or(i32::MAX);
    // Pods of neither revision, adopted ones, may have gone besides.
    let current = status.current_replicas.unwrap_or(0).saturating_sub(rolled).max(0);
    status.current_replicas = (current != 0).then_some(current);
    let wanted = identity::replicas(set);
    let all = |n: Option<i32>| n.unwrap_or(0) == wanted;
    if update::is_rolling(set)
        && all(status.updated_replicas)
        && all(status.ready_replicas)
        && status.replicas == wanted
    {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
    status
}

/// Whether the status must be written.
pub(super) fn differs(set: &StatefulSet, new: &StatefulSetStatus) -> bool {
    let zero = |n: Option<i32>| n.unwrap_or(0);
    set.status.as_ref().is_none_or(|old| {
        new.observed_generation > old.observed_generation
            || new.replicas != old.replicas
            || zero(new.current_replicas) != zero(old.current_replicas)
            || zero(new.ready_replicas) != zero(old.ready_replicas)
            || zero(new.updated_replicas) != zero(old.updated_replicas)
            || zero(new.available_replicas) != zero(old.available_replicas)
            || new.current_revision != old.current_revision
            || new.update_revision != old.update_revision
    })
}

/// When the next ready pod becomes available, if one is waiting for that.
pub(super) fn next_look(
    snapshot: &Snapshot<'_>,
    status: &StatefulSetStatus,
    now: Timestamp,
) -> Option<Duration> {
    let min_ready = min_ready(snapshot.set);
    if min_ready == 0 || status.ready_replicas.unwrap_or(0) == status.available_replicas.unwrap_or(0) {
        return None;
    }
    let fallback = Duration::from_secs(u64::try_from(min_ready).unwrap_or(0));
    Some(availability::next_look(&snapshot.pods, min_ready, now).unwrap_or(fallback))
}
