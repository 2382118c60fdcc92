//! Which active pods go first.

use super::index::Index;
use super::spec::{self, Spec};
use gantry_reconcile::conditions;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

/// At least `least` pods to remove: first those whose index is unknown, beyond the job's or taken by another
/// pod, then those that have come least far.
pub(super) fn choose(spec: Spec<'_>, active: &[Arc<Pod>], least: usize) -> Vec<Arc<Pod>> {
    let (mut remove, mut left) = (Vec::new(), Vec::new());
    if spec.indexed() {
        let mut by_index: BTreeMap<Index, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in active {
            match spec.index(pod) {
                Some(index) => by_index.entry(index).or_default().push(pod.clone()),
                None => remove.push(pod.clone()),
            }
        }
        for mut same in by_index.into_values() {
            same.sort_by(|a, b| earlier(a, b));
            left.extend(same.pop());
            remove.append(&mut same);
        }
    } else {
        left = active.to_vec();
    }
    if remove.len() < least {
        left.sort_by(|a, b| earlier(a, b));
        left.truncate(least - remove.len());
        remove.append(&mut left);
    }
    remove
}

/// Unassigned before assigned, pending before running, unready before ready, ready for a short time before
/// ready for long, restarted often before seldom, young before old.
fn earlier(a: &Pod, b: &Pod) -> Ordering {
    let assigned =
        |p: &Pod| p.spec.as_ref().and_then(|s| s.node_name.as_ref()).is_some_and(|n| !n.is_empty());
    let phase = |p: &Pod| match conditions::phase(p) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    };
    let created = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let since = |p: &Pod| conditions::ready_since(p);
    // A time that is not known is the youngest.
    let younger = |x: Option<_>, y: Option<_>| x.is_some().cmp(&y.is_some()).then(y.cmp(&x));
    let both_ready = conditions::is_ready(a) && conditions::is_ready(b);
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| conditions::is_ready(a).cmp(&conditions::is_ready(b)))
        .then_with(|| if both_ready { younger(since(a), since(b)) } else { Ordering::Equal })
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| younger(created(a), created(b)))
}

/// The most restarts among containers, then among init containers.
fn restarts(pod: &Pod) -> (i32, i32) {
    let most = |list: Option<&Vec<ContainerStatus>>| {
        list.into_iter().flatten().map(|s| s.restart_count).max().unwrap_or(0)
    };
    let status = pod.status.as_ref();
    (
        most(status.and_then(|s| s.container_statuses.as_ref())),
        most(status.and_then(|s| s.init_container_statuses.as_ref())),
    )
}

/// Pods in the order of their indexes, for counting.
pub(super) fn in_order(pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let mut sorted = pods.to_vec();
    sorted.sort_by_key(|p| spec::index(p));
    sorted
}
