//! Invariants of writes as such, of binding, of budgets, of deletion.

use super::{Verdict, unless};
use crate::actor::Verb;
use crate::amounts::scaled;
use crate::truth::{Change, Truth, WINDOW};
use crate::views::{PodView, millis};
use crate::virtual_world::elapsed;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

/// Whether the write is of the object the request names.
fn is_target(change: &Change<'_>) -> bool {
    let intent = &change.actor.intent;
    let resource = if intent.resource == "nodes" { "minions" } else { &intent.resource };
    let key = if intent.namespace.is_empty() {
        intent.name.clone()
    } else {
        format!("{}/{}", intent.namespace, intent.name)
    };
    resource == change.resource && key == change.key
}

/// A request that names a uid changes no other object.
pub fn only_the_object_meant(_: &Truth, change: &Change<'_>) -> Verdict {
    let (Some(meant), Some(hit)) = (&change.actor.intent.uid, change.before) else { return Ok(()) };
    unless(is_target(change) && *meant != hit.uid, || {
        format!("{} meant {meant} and changed {} ({})", change.actor.name, hit.uid, change.key)
    })
}

/// A request that names a revision replaces that revision and no other.
pub fn no_lost_update(_: &Truth, change: &Change<'_>) -> Verdict {
    let (Some(meant), Some(replaced)) = (&change.actor.intent.revision, change.replaced) else {
        return Ok(());
    };
    unless(is_target(change) && *meant != replaced.to_string(), || {
        format!("{} wrote {} from {meant} over {replaced}", change.actor.name, change.key)
    })
}

/// A pod that has a node keeps it.
pub fn no_double_bind(truth: &Truth, change: &Change<'_>) -> Verdict {
    let (Some(before), Some(after)) = (change.pod_before, truth.pods.get(change.key)) else { return Ok(()) };
    let moved = change.resource == "pods" && before.uid == after.uid && before.node != after.node;
    unless(moved && !before.node.is_empty(), || {
        format!("{} moved from {} to {}", change.key, before.node, after.node)
    })
}

/// The scheduler puts no more on a node than it holds.
pub fn no_overcommitted_node(truth: &Truth, change: &Change<'_>) -> Verdict {
    if change.resource != "pods" || change.actor.intent.verb != Verb::Bind {
        return Ok(());
    }
    let Some(pod) = truth.pods.get(change.key) else { return Ok(()) };
    let Some(node) = truth.nodes.get(&pod.node) else { return Ok(()) };
    let holds = node.status.as_ref().and_then(|s| s.allocatable.as_ref()?.get("cpu"));
    let holds = holds.map_or(0, |q| millis(&q.0));
    let there = truth.pods.values().filter(|p| p.node == pod.node && !p.terminal());
    let asked: i64 = there.map(|p| p.cpu).sum();
    unless(asked > holds, || format!("{} holds {holds}m and {asked}m are asked of it", pod.node))
}

/// A namespace goes last.
pub fn nothing_in_a_gone_namespace(truth: &Truth, change: &Change<'_>) -> Verdict {
    if change.resource != "namespaces" || change.after.is_some() {
        return Ok(());
    }
    let left = truth.objects.iter().find(|(_, view)| view.namespace == change.key);
    unless(left.is_some(), || {
        format!("namespace {} is gone, and {:?} is left in it", change.key, left.map(|(id, _)| id))
    })
}

/// An object does not go while it bears finalizers.
pub fn finalizers_hold(_: &Truth, change: &Change<'_>) -> Verdict {
    let (Some(before), None) = (change.before, change.after) else { return Ok(()) };
    // The write that takes the last one away removes the object at once.
    let last = before.finalizers.len() <= 1 && matches!(change.actor.intent.verb, Verb::Update | Verb::Patch);
    unless(!before.finalizers.is_empty() && !last, || {
        format!("{} went with {:?}", change.key, before.finalizers)
    })
}

/// The fewest healthy pods a budget may have asked for lately.
fn desired(truth: &Truth, budget: &PodDisruptionBudget, pods: &[&PodView]) -> i32 {
    let Some(spec) = &budget.spec else { return 0 };
    let expected = || truth.fewest_expected(pods);
    match (&spec.min_available, &spec.max_unavailable) {
        (Some(min), _) => scaled(min, expected, true),
        (None, Some(max)) => (expected() - scaled(max, expected, true)).max(0),
        (None, None) => 0,
    }
}

/// Evictions leave as many healthy pods as their budgets ask for.
pub fn budgets_hold(truth: &Truth, change: &Change<'_>) -> Verdict {
    if change.resource != "pods" || change.actor.intent.verb != Verb::Evict {
        return Ok(());
    }
    let Some(pod) = change.pod_before.filter(|p| p.ready && !p.deleting) else { return Ok(()) };
    let going = truth.pods.get(change.key).is_none_or(|p| p.deleting && p.uid == pod.uid);
    for budget in truth.budgets.values().filter(|_| going) {
        let budget = &*budget.now;
        let wanted = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
        let in_namespace = budget.metadata.namespace.as_deref() == Some(pod.namespace.as_str());
        let matching = |p: &PodView| {
            p.namespace == pod.namespace && gantry_reconcile::selector::matches(wanted, Some(&p.labels))
        };
        if !in_namespace || !matching(pod) {
            continue;
        }
        let pods: Vec<&PodView> = truth.pods.values().filter(|p| matching(p)).collect();
        let desired = desired(truth, budget, &pods);
        // What the budget's controller could not know yet: pods lost otherwise.
        let lost = truth.lost(matching, |l| l.evicted);
        let healthy = truth.ready(matching);
        if healthy + lost < desired {
            let name = budget.metadata.name.as_deref().unwrap_or_default();
            return Err(format!(
                "{} was evicted: {healthy} healthy pods, {lost} lost otherwise within {WINDOW:?} of {:?}, and {name} asks for {desired}",
                change.key,
                elapsed()
            ));
        }
    }
    Ok(())
}
