//! The arithmetic of scaling and rolling updates.

use super::annotations;
use super::plan::{Sets, Sizes, Step, is_rolling, size};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

/// Oldest first; of equally old ones, by name.
pub(super) fn by_creation(a: &Arc<ReplicaSet>, b: &Arc<ReplicaSet>) -> Ordering {
    let made = |s: &ReplicaSet| s.metadata.creation_timestamp.as_ref().map(|t| t.0);
    made(a).cmp(&made(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

pub(super) fn sum(sets: &[Arc<ReplicaSet>], of: impl Fn(&ReplicaSet) -> Option<i32>) -> i32 {
    sets.iter().filter_map(|s| of(s)).sum()
}

fn total(sets: &[Arc<ReplicaSet>]) -> i32 {
    sets.iter().map(|s| size(s)).sum()
}

fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
}

fn active(sets: &[Arc<ReplicaSet>]) -> Vec<Arc<ReplicaSet>> {
    sets.iter().filter(|s| size(s) > 0).cloned().collect()
}

/// A set at a new size. Nothing where it has that size, unless `force` and its annotations are out of date.
pub(super) fn resize(deployment: &Deployment, set: &ReplicaSet, to: i32, force: bool) -> Option<Step> {
    let from = size(set);
    if !force && from == to {
        return None;
    }
    let sizes = Sizes::of(deployment);
    let mut changed = set.clone();
    let annotated = annotations::set_sizes(&mut changed, sizes.replicas, sizes.max_total());
    if from == to && !annotated {
        return None;
    }
    changed.spec.get_or_insert_default().replicas = Some(to);
    let name = set.metadata.name.as_deref().unwrap_or("");
    let way = if from < to { "up" } else { "down" };
    let message = (from != to).then(|| format!("Scaled {way} replica set {name} from {from} to {to}"));
    Some(Step::UpdateSet { set: Box::new(changed), message })
}

/// How large the new set, now `current`, may be beside the old ones.
pub(super) fn newest_size(deployment: &Deployment, old: &[Arc<ReplicaSet>], current: i32) -> i32 {
    let sizes = Sizes::of(deployment);
    if !is_rolling(deployment) {
        return sizes.replicas;
    }
    let room = sizes.max_total() - (total(old) + current);
    if room <= 0 { current } else { current + room.min(sizes.replicas - current) }
}

pub(super) fn grow_newest(deployment: &Deployment, sets: &Sets, newest: &ReplicaSet) -> Option<Step> {
    let (current, wanted) = (size(newest), Sizes::of(deployment).replicas);
    match current.cmp(&wanted) {
        Ordering::Equal => None,
        Ordering::Greater => resize(deployment, newest, wanted, false),
        Ordering::Less => resize(deployment, newest, newest_size(deployment, &sets.old, current), false),
    }
}

/// Takes from old sets what may go: first replicas that do not work, then as many as availability allows.
pub(super) fn shrink_old(deployment: &Deployment, sets: &Sets, newest: &ReplicaSet) -> Vec<Step> {
    let mut old = active(&sets.old);
    if old.is_empty() {
        return Vec::new();
    }
    let sizes = Sizes::of(deployment);
    let floor = sizes.replicas - sizes.max_unavailable;
    let most = total(&sets.all()) - floor - (size(newest) - available(newest));
    if most <= 0 {
        return Vec::new();
    }
    old.sort_by(by_creation);
    let mut targets: Vec<i32> = old.iter().map(|s| size(s)).collect();
    let mut taken = 0;
    for (set, target) in old.iter().zip(&mut targets) {
        let broken = (*target - available(set)).clamp(0, most - taken);
        *target -= broken;
        taken += broken;
    }
    let mut spare = sum(&old, |s| Some(available(s))) + available(newest) - floor;
    for target in &mut targets {
        let cut = (*target).min(spare.max(0));
        *target -= cut;
        spare -= cut;
    }
    old.iter().zip(targets).filter_map(|(set, to)| resize(deployment, set, to, false)).collect()
}

/// Brings the sets to a new total without rolling on: in proportion where several have pods.
pub(super) fn scale(deployment: &Deployment, sets: &Sets) -> Vec<Step> {
    let sizes = Sizes::of(deployment);
    let with_pods = active(&sets.all());
    // One set with pods, or none: then it is the newest one, or the latest of the old ones, that is sized.
    let single = match with_pods.as_slice() {
        [] => sets.newest.clone().or_else(|| sets.old.iter().max_by(|a, b| by_creation(a, b)).cloned()),
        [one] => Some(one.clone()),
        _ => None,
    };
    if let Some(set) = single {
        return resize(deployment, &set, sizes.replicas, false).into_iter().collect();
    }
    let saturated = |s: &Arc<ReplicaSet>| {
        size(s) == sizes.replicas
            && annotations::desired(s) == Some(sizes.replicas)
            && available(s) == sizes.replicas
    };
    if sets.newest.as_ref().is_some_and(saturated) {
        return active(&sets.old).iter().filter_map(|s| resize(deployment, s, 0, false)).collect();
    }
    if !is_rolling(deployment) {
        return Vec::new();
    }
    proportional(deployment, sizes, with_pods)
}

fn proportional(deployment: &Deployment, sizes: Sizes, mut sets: Vec<Arc<ReplicaSet>>) -> Vec<Step> {
    let allowed = if sizes.replicas > 0 { sizes.max_total() } else { 0 };
    let to_add = allowed - total(&sets);
    if to_add > 0 {
        sets.sort_by(|a, b| Reverse(size(a)).cmp(&Reverse(size(b))).then_with(|| by_creation(b, a)));
    } else {
        sets.sort_by(|a, b| Reverse(size(a)).cmp(&Reverse(size(b))).then_with(|| by_creation(a, b)));
    }
    let mut added = 0;
    let mut targets = Vec::new();
    for set in &sets {
        let share =
            if to_add == 0 || to_add == added { 0 } else { share(deployment, sizes, set, to_add - added) };
        added += share;
        targets.push(size(set) + share);
    }
    if let Some(first) = targets.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    sets.iter().zip(targets).filter_map(|(set, to)| resize(deployment, set, to, true)).collect()
}

/// A set's part in adding (or, below zero, removing) replicas, no more than what is `left`.
fn share(deployment: &Deployment, sizes: Sizes, set: &ReplicaSet, left: i32) -> i32 {
    let current = size(set);
    let fraction = if sizes.replicas == 0 {
        -current
    } else {
        let before = annotations::max(set).filter(|m| *m != 0);
        let before = before.or_else(|| deployment.status.as_ref()?.replicas).unwrap_or(0);
        if before == 0 {
            return 0;
        }
        let size = f64::from(current) * f64::from(sizes.max_total()) / f64::from(before);
        // Rounded half away from zero; sizes fit an i32 by far.
        size.round() as i32 - current
    };
    if left > 0 { fraction.min(left) } else { fraction.max(left) }
}
