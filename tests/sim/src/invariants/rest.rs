//! Invariants of a cluster nobody disturbs any more.

use super::{Verdict, unless};
use crate::amounts::{bounds, scaled};
use crate::truth::{Tracked, Truth};
use crate::views::PodView;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use std::collections::BTreeMap;

fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn same<T: PartialEq + std::fmt::Debug>(key: &str, what: &str, is: T, should: T) -> Verdict {
    unless(is != should, || format!("{key}: {what} is {is:?}, not {should:?}"))
}

/// Whatever is to go goes.
pub fn nothing_is_stuck(truth: &Truth) -> Verdict {
    let stuck = truth.objects.iter().find(|(_, view)| view.deleting);
    unless(stuck.is_some(), || format!("still being deleted: {stuck:?}"))
}

/// Nothing names an owner that is not there.
pub fn no_orphans(truth: &Truth) -> Verdict {
    let alive: std::collections::BTreeSet<&str> = truth.objects.values().map(|v| v.uid.as_str()).collect();
    for (id, view) in &truth.objects {
        if let Some(owner) = view.owner_references.iter().find(|o| !alive.contains(o.uid.as_str())) {
            return Err(format!(
                "{id:?} is owned by {} {} ({}), which is gone",
                owner.kind, owner.name, owner.uid
            ));
        }
    }
    Ok(())
}

pub fn replica_sets_converge(truth: &Truth) -> Verdict {
    truth.replica_sets.iter().try_for_each(|(key, set)| replica_set(truth, key, set))
}

fn replica_set(truth: &Truth, key: &str, set: &Tracked<ReplicaSet>) -> Verdict {
    let set = &*set.now;
    let wanted = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let pods: Vec<&PodView> = truth.pods_of(uid).filter(|p| p.active()).collect();
    let ready = pods.iter().filter(|p| p.ready).count();
    let status = set.status.clone().unwrap_or_default();
    same(key, "pods", number(pods.len()), wanted)?;
    same(key, "ready pods", number(ready), wanted)?;
    same(key, "status.replicas", status.replicas, wanted)?;
    same(key, "status.availableReplicas", status.available_replicas.unwrap_or(0), wanted)?;
    same(key, "status.observedGeneration", status.observed_generation, set.metadata.generation)
}

pub fn deployments_converge(truth: &Truth) -> Verdict {
    truth.deployments.iter().try_for_each(|(key, d)| deployment(truth, key, &d.now))
}

fn deployment(truth: &Truth, key: &str, deployment: &Deployment) -> Verdict {
    let wanted = bounds(deployment).replicas;
    let status = deployment.status.clone().unwrap_or_default();
    same(key, "status.observedGeneration", status.observed_generation, deployment.metadata.generation)?;
    same(key, "status.replicas", status.replicas.unwrap_or(0), wanted)?;
    same(key, "status.updatedReplicas", status.updated_replicas.unwrap_or(0), wanted)?;
    same(key, "status.availableReplicas", status.available_replicas.unwrap_or(0), wanted)?;
    let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
    let image = |template: Option<&k8s_openapi::api::core::v1::PodTemplateSpec>| {
        template.and_then(|t| t.spec.as_ref()?.containers.first()?.image.clone())
    };
    let template = deployment.spec.as_ref().map(|s| &s.template);
    for set in truth.sets_of(uid) {
        let spec = set.now.spec.as_ref();
        let current = image(spec.and_then(|s| s.template.as_ref())) == image(template);
        let size = spec.and_then(|s| s.replicas).unwrap_or(1);
        let name = set.now.metadata.name.as_deref().unwrap_or_default();
        same(key, &format!("size of {name}"), size, if current { wanted } else { 0 })?;
    }
    Ok(())
}

pub fn stateful_sets_converge(truth: &Truth) -> Verdict {
    truth.stateful_sets.iter().try_for_each(|(key, s)| stateful_set(truth, key, &s.now))
}

fn stateful_set(truth: &Truth, key: &str, set: &StatefulSet) -> Verdict {
    let wanted = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let status = set.status.clone().unwrap_or_default();
    let mut ordinals: Vec<i32> = truth.pods_of(uid).filter_map(PodView::ordinal).collect();
    ordinals.sort_unstable();
    same(key, "ordinals", ordinals, (0..wanted).collect())?;
    let ready = truth.pods_of(uid).filter(|p| p.ready).count();
    same(key, "ready pods", number(ready), wanted)?;
    same(key, "status.readyReplicas", status.ready_replicas.unwrap_or(0), wanted)?;
    same(key, "status.observedGeneration", status.observed_generation, set.metadata.generation)?;
    let update = status.update_revision.as_deref().unwrap_or_default();
    let old = truth.pods_of(uid).find(|p| p.revision() != update);
    unless(old.is_some(), || format!("{key}: {:?} is not of {update}", old.map(|p| &p.name)))?;
    if wanted > 0 {
        same(key, "status.currentRevision", status.current_revision.as_deref(), Some(update))?;
    }
    Ok(())
}

pub fn daemon_sets_converge(truth: &Truth) -> Verdict {
    truth.daemon_sets.iter().try_for_each(|(key, s)| daemon_set(truth, key, &s.now))
}

fn daemon_set(truth: &Truth, key: &str, set: &DaemonSet) -> Verdict {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let mut places: BTreeMap<&str, usize> = truth.nodes.keys().map(|n| (n.as_str(), 0)).collect();
    for pod in truth.pods_of(uid) {
        *places.entry(&pod.node).or_default() += 1;
        unless(!pod.ready, || format!("{key}: {} is not ready", pod.name))?;
    }
    unless(places.values().any(|n| *n != 1), || format!("{key}: pods by node are {places:?}"))?;
    let status = set.status.clone().unwrap_or_default();
    let nodes = number(truth.nodes.len());
    same(key, "status.desiredNumberScheduled", status.desired_number_scheduled, nodes)?;
    same(key, "status.numberReady", status.number_ready, nodes)?;
    same(key, "status.updatedNumberScheduled", status.updated_number_scheduled.unwrap_or(0), nodes)?;
    same(key, "status.observedGeneration", status.observed_generation, set.metadata.generation)
}

/// Jobs end; what they say of their pods is true.
pub fn jobs_converge(truth: &Truth) -> Verdict {
    for (key, job) in &truth.jobs {
        let status = job.now.status.clone().unwrap_or_default();
        let uid = job.now.metadata.uid.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let has = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        unless(!has("Complete") && !has("Failed"), || format!("{key} does not end"))?;
        same(key, "status.active", status.active.unwrap_or(0), 0)?;
        let ended = truth.job_pods.get(&uid);
        let won = ended.map_or(0, |pods| pods.values().filter(|p| *p == "Succeeded").count());
        same(key, "status.succeeded", status.succeeded.unwrap_or(0), number(won))?;
        let wanted = job.now.spec.as_ref().and_then(|s| s.completions).unwrap_or(1);
        unless(has("Complete") && number(won) < wanted, || {
            format!("{key} is complete with {won} of {wanted}")
        })?;
        let held = truth.pods_of(&uid).find(|p| !p.finalizers.is_empty());
        unless(held.is_some(), || format!("{key}: {:?} keeps its finalizer", held.map(|p| &p.name)))?;
    }
    Ok(())
}

/// Budgets say what is.
pub fn budgets_converge(truth: &Truth) -> Verdict {
    for (key, budget) in &truth.budgets {
        let (budget, status) = (&*budget.now, budget.now.status.clone().unwrap_or_default());
        let Some(spec) = &budget.spec else { continue };
        let namespace = budget.metadata.namespace.as_deref().unwrap_or_default();
        let matching = |p: &PodView| {
            let selected = gantry_reconcile::selector::matches(spec.selector.as_ref(), Some(&p.labels));
            p.namespace == namespace && selected
        };
        let pods: Vec<&PodView> = truth.pods.values().filter(|p| matching(p)).collect();
        if pods.iter().any(|p| p.owner.is_none()) {
            // Such pods cannot be counted on.
            continue;
        }
        let healthy = truth.ready(matching);
        let expected = || truth.expected(&pods);
        let desired = match (&spec.min_available, &spec.max_unavailable) {
            (Some(min), _) => scaled(min, expected, true),
            (None, Some(max)) => (expected() - scaled(max, expected, true)).max(0),
            (None, None) => continue,
        };
        let count = |n: Option<i32>| n.unwrap_or(0);
        same(key, "status.currentHealthy", count(status.current_healthy), healthy)?;
        same(key, "status.desiredHealthy", count(status.desired_healthy), desired)?;
        let allowed = if pods.is_empty() { 0 } else { (healthy - desired).max(0) };
        same(key, "status.disruptionsAllowed", count(status.disruptions_allowed), allowed)?;
        same(key, "status.observedGeneration", status.observed_generation, budget.metadata.generation)?;
    }
    Ok(())
}

/// Every pod that has not ended is on a node that exists, and ready.
pub fn pods_run(truth: &Truth) -> Verdict {
    let idle = truth.pods.values().find(|p| p.active() && !(p.ready && truth.nodes.contains_key(&p.node)));
    unless(idle.is_some(), || {
        format!("does not run: {}", idle.map(|p| format!("{} {p}", p.key)).unwrap_or_default())
    })
}

/// Nodes that are back bear no taint of their absence.
pub fn nodes_recover(truth: &Truth) -> Verdict {
    for (name, node) in &truth.nodes {
        let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
        let left: Vec<&str> = taints.map(|t| t.key.as_str()).collect();
        unless(!left.is_empty(), || format!("{name} still has {left:?}"))?;
    }
    Ok(())
}
