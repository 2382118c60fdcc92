//! Rolling updates of daemon sets: with `maxUnavailable` the old pod goes first, with `maxSurge` (KEP-1591)
//! the new one comes first.

use super::eligible::Verdict;
use super::plan::{Place, Places, Plan, Snapshot};
use super::{pods, status};
use crate::workloads::intstr::scaled;
use gantry_reconcile::conditions;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

pub(super) fn is_rolling(set: &DaemonSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()).unwrap_or("RollingUpdate") == "RollingUpdate"
}

fn rolling(set: &DaemonSet) -> Option<&RollingUpdateDaemonSet> {
    let strategy = set.spec.as_ref()?.update_strategy.as_ref()?;
    if is_rolling(set) { strategy.rolling_update.as_ref() } else { None }
}

fn surge(set: &DaemonSet, nodes: i32) -> i32 {
    scaled(rolling(set).and_then(|r| r.max_surge.as_ref()), nodes, true)
}

/// Whether a node may have an old and a new pod at once.
pub(super) fn allows_surge(set: &DaemonSet) -> bool {
    surge(set, 1) > 0
}

/// How many nodes may have a pod too many, and how many none that is available.
fn limits(set: &DaemonSet, nodes: i32) -> (usize, usize) {
    let surge = surge(set, nodes);
    let mut unavailable = scaled(rolling(set).and_then(|r| r.max_unavailable.as_ref()), nodes, true);
    if nodes > 0 && surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    (usize::try_from(surge).unwrap_or(0), usize::try_from(unavailable).unwrap_or(0))
}

/// A node's new and old pod. `None` where there are several of either.
fn pair<'a>(
    snapshot: &Snapshot<'_>,
    place: &Place<'a>,
) -> Option<(Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>)> {
    let (mut new, mut old) = (None, None);
    for pod in place.pods.iter().filter(|p| p.metadata.deletion_timestamp.is_none()) {
        let slot = if pods::is_updated(snapshot.set, pod, snapshot.revision) { &mut new } else { &mut old };
        if slot.replace(*pod).is_some() {
            return None;
        }
    }
    Some((new, old))
}

/// Adds the update's next steps to the plan.
pub(super) fn update(snapshot: &Snapshot<'_>, places: &Places<'_>, now: Timestamp, plan: &mut Plan) {
    let wanted = places.values().filter(|p| p.verdict == Some(Verdict::Run)).count();
    let (max_surge, max_unavailable) = limits(snapshot.set, i32::try_from(wanted).unwrap_or(i32::MAX));
    // Nodes count that have pods or are to have one.
    let counted = places
        .iter()
        .filter(|(_, p)| !p.pods.is_empty() || p.verdict == Some(Verdict::Run))
        .collect::<Vec<_>>();
    if max_surge == 0 {
        plan.delete = replace(snapshot, &counted, max_unavailable, now);
    } else {
        surging(snapshot, &counted, max_surge, wanted, now, plan);
    }
}

type Counted<'p, 'a> = [(&'p &'a str, &'p Place<'a>)];

fn is_available(snapshot: &Snapshot<'_>, pod: &Pod, now: Timestamp) -> bool {
    conditions::is_available(pod, status::min_ready(snapshot.set), now)
}

/// The old pods to delete: all that are not available, and of the others as many as may be missing.
fn replace(
    snapshot: &Snapshot<'_>,
    places: &Counted<'_, '_>,
    max_unavailable: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let mut unavailable = 0;
    let (mut broken, mut candidates) = (Vec::new(), Vec::new());
    for (_, place) in places {
        match pair(snapshot, place) {
            Some((None, Some(old))) => {
                if !is_available(snapshot, old, now) {
                    broken.push(old.clone());
                    unavailable += 1;
                } else if unavailable < max_unavailable {
                    candidates.push(old.clone());
                }
            }
            Some((Some(new), None)) => unavailable += usize::from(!is_available(snapshot, new, now)),
            _ => unavailable += 1,
        }
    }
    candidates.truncate(max_unavailable.saturating_sub(unavailable));
    broken.extend(candidates);
    broken
}

/// New pods where the old one is not available or surge is left; old ones go once the new one is available.
fn surging(
    snapshot: &Snapshot<'_>,
    places: &Counted<'_, '_>,
    max_surge: usize,
    wanted: usize,
    now: Timestamp,
    plan: &mut Plan,
) {
    let (mut surge, mut available) = (0, 0);
    let (mut misplaced, mut candidates) = (Vec::new(), Vec::new());
    for (node, place) in places {
        let Some((new, old)) = pair(snapshot, place) else {
            surge += 1;
            continue;
        };
        available += usize::from(old.or(new).is_some_and(|p| is_available(snapshot, p, now)));
        let Some(old) = old else { continue };
        match (new, place.verdict) {
            (Some(new), _) if is_available(snapshot, new, now) => plan.delete.push(old.clone()),
            (Some(_), _) => surge += 1,
            (None, Some(Verdict::Run)) if !is_available(snapshot, old, now) => {
                plan.create.push((**node).to_owned());
            }
            (None, Some(Verdict::Run)) if surge < max_surge => candidates.push((**node).to_owned()),
            (None, Some(Verdict::Run) | None) => {}
            (None, _) if !is_available(snapshot, old, now) => plan.delete.push(old.clone()),
            (None, _) => misplaced.push(old.clone()),
        }
    }
    misplaced.truncate(available.saturating_sub(wanted));
    plan.delete.extend(misplaced);
    candidates.truncate(max_surge.saturating_sub(surge));
    plan.create.extend(candidates);
}
