//! Rolling updates: which revision a new pod gets, and which old pods go.

use super::identity;
use super::plan::Replica;
use crate::workloads::intstr::scaled;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;

fn strategy(set: &StatefulSet) -> &str {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()).unwrap_or("RollingUpdate")
}

pub(super) fn is_rolling(set: &StatefulSet) -> bool {
    strategy(set) == "RollingUpdate"
}

fn rolling(set: &StatefulSet) -> Option<&RollingUpdateStatefulSetStrategy> {
    set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref()
}

fn partition(set: &StatefulSet) -> i32 {
    rolling(set).and_then(|r| r.partition).unwrap_or(0)
}

/// Whether a pod made now is of the current revision: below the partition, or where there is none, among the
/// replicas that are still of it.
pub(super) fn makes_current(set: &StatefulSet, ordinal: i32) -> bool {
    let below = |count: i32| i64::from(ordinal) < i64::from(identity::start(set)) + i64::from(count);
    match rolling(set) {
        Some(_) => below(partition(set)),
        None => is_rolling(set) && below(set.status.as_ref().and_then(|s| s.current_replicas).unwrap_or(0)),
    }
}

/// How many pods may be unavailable in an update (KEP-961), at least one.
fn max_unavailable(value: &IntOrString, replicas: i32) -> usize {
    usize::try_from(scaled(Some(value), replicas, false)).unwrap_or(0).max(1)
}

/// The pods to delete so that they come back in the update revision: from the last one down to the
/// partition, one at a time and each after the one before is available, unless `maxUnavailable` allows more.
pub(super) fn deletions<'a>(
    set: &StatefulSet,
    replicas: &[Replica<'a>],
    update: &str,
    min_ready: i32,
    now: Timestamp,
) -> Vec<(i32, &'a Arc<Pod>)> {
    if strategy(set) == "OnDelete" {
        return Vec::new();
    }
    let lowest = usize::try_from(partition(set)).unwrap_or(0);
    let old = |r: &&Replica<'a>| r.revision != update && !r.is_terminating();
    let targets = replicas.iter().skip(lowest).rev();
    let pod = |r: &Replica<'a>| r.pod.map(|p| (r.ordinal, p));
    let Some(most) = rolling(set).and_then(|r| r.max_unavailable.as_ref()) else {
        for target in targets {
            if old(&target) {
                return pod(target).into_iter().collect();
            }
            if target.is_unavailable(min_ready, now) {
                break;
            }
        }
        return Vec::new();
    };
    let unavailable = replicas.iter().filter(|r| r.is_unavailable(min_ready, now)).count();
    let free = max_unavailable(most, identity::replicas(set)).saturating_sub(unavailable);
    targets.filter(old).take(free).filter_map(pod).collect()
}
