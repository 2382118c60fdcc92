//! How many pods, which ones to remove, and what the status says.

use crate::workloads::availability;
use gantry_reconcile::{conditions, selector};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::ObjectMeta;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// No more than this many creations or deletions in one go.
const BURST: usize = 500;

/// What to do about the number of pods.
#[derive(Debug)]
pub(super) enum Scale {
    Keep,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

fn wanted(set: &ReplicaSet) -> usize {
    usize::try_from(set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)).unwrap_or(0)
}

/// `pods` are the set's active ones; `related` those of all sets of the same owner, asked for when needed.
pub(super) fn scale(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    related: impl FnOnce() -> Vec<Arc<Pod>>,
    now: Timestamp,
) -> Scale {
    let wanted = wanted(set);
    match pods.len().cmp(&wanted) {
        Ordering::Equal => Scale::Keep,
        Ordering::Less => Scale::Create((wanted - pods.len()).min(BURST)),
        Ordering::Greater => {
            let count = (pods.len() - wanted).min(BURST);
            let mut ranked = pods.to_vec();
            if count < pods.len() {
                rank(&mut ranked, &related(), now);
            }
            ranked.truncate(count);
            Scale::Delete(ranked)
        }
    }
}

/// Sorts pods so that those to go first come first.
fn rank(pods: &mut [Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|p| conditions::is_active(p)) {
        *on_node.entry(node(pod)).or_default() += 1;
    }
    pods.sort_by(|a, b| {
        let ready = |p: &Pod| conditions::is_ready(p);
        let neighbours = |p: &Pod| on_node.get(node(p)).copied().unwrap_or(0);
        let made = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
        let both_ready = ready(a) && ready(b);
        let since = |p: &Pod| if both_ready { conditions::ready_since(p) } else { None };
        (!node(a).is_empty())
            .cmp(&!node(b).is_empty())
            .then_with(|| phase_order(a).cmp(&phase_order(b)))
            .then_with(|| ready(a).cmp(&ready(b)))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| neighbours(b).cmp(&neighbours(a)))
            .then_with(|| younger(since(a), since(b), now, uid(a).cmp(uid(b))))
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| younger(made(a), made(b), now, uid(a).cmp(uid(b))))
    });
}

/// The younger first; `otherwise` decides where both times are of the same order of magnitude but differ. An
/// unknown time counts as the youngest.
fn younger(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp, otherwise: Ordering) -> Ordering {
    match (a, b) {
        (a, b) if a == b => Ordering::Equal,
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(a), Some(b)) => by_age(a, b, now).then(otherwise),
    }
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("")
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or("")
}

fn phase_order(pod: &Pod) -> u8 {
    match conditions::phase(pod) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let text =
        pod.metadata.annotations.as_ref().and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost"));
    text.and_then(|t| t.parse().ok()).unwrap_or(0)
}

/// The most restarts among ordinary containers, then among sidecars.
fn restarts(pod: &Pod) -> (i32, i32) {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let inits = spec.and_then(|s| s.init_containers.as_ref());
    let sidecar = |name: &str| {
        inits.into_iter().flatten().any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
    };
    let ordinary = status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten();
    let sidecars = status.and_then(|s| s.init_container_statuses.as_ref()).into_iter().flatten();
    (
        ordinary.map(|s| s.restart_count).max().unwrap_or(0),
        sidecars.filter(|s| sidecar(&s.name)).map(|s| s.restart_count).max().unwrap_or(0),
    )
}

/// Younger before older, but only by powers of two of their ages, so that which of two equally old pods goes
/// does not depend on seconds.
fn by_age(a: Timestamp, b: Timestamp, now: Timestamp) -> Ordering {
    let level = |t: Timestamp| {
        let age = now.duration_since(t).as_nanos();
        if age > 0 { i64::from(age.ilog2()) } else { -1 }
    };
    level(a).cmp(&level(b))
}

/// The pod to create.
pub(super) fn pod_of(set: &ReplicaSet, owner: OwnerReference) -> Pod {
    let name = set.metadata.name.as_deref().unwrap_or("");
    let template = set.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: set.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Zero is not sent, so it is not kept either.
fn nonzero(n: usize) -> Option<i32> {
    (n != 0).then(|| count(n))
}

/// The status that follows from what was seen and how scaling went.
pub(super) fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    terminating: Option<usize>,
    failure: Option<&str>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let spec = set.spec.as_ref();
    let min_ready = spec.and_then(|s| s.min_ready_seconds).unwrap_or(0);
    let labels =
        spec.and_then(|s| s.template.as_ref()?.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let matching =
        |p: &&Arc<Pod>| selector::subset(&labels, p.metadata.labels.as_ref().unwrap_or(&Default::default()));
    let mut conditions = set.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let failed = conditions.iter().any(|c| c.type_ == "ReplicaFailure");
    match failure {
        Some(words) if !failed => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some(if pods.len() < wanted(set) { "FailedCreate" } else { "FailedDelete" }.into()),
            message: Some(words.into()),
            last_transition_time: Some(Time(now)),
        }),
        None if failed => conditions.retain(|c| c.type_ != "ReplicaFailure"),
        _ => {}
    }
    ReplicaSetStatus {
        replicas: count(pods.len()),
        fully_labeled_replicas: nonzero(pods.iter().filter(matching).count()),
        ready_replicas: nonzero(pods.iter().filter(|p| conditions::is_ready(p)).count()),
        available_replicas: nonzero(
            pods.iter().filter(|p| conditions::is_available(p, min_ready, now)).count(),
        ),
        terminating_replicas: terminating.map(count),
        observed_generation: set.metadata.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    }
}

/// Whether the status must be written.
pub(super) fn status_differs(set: &ReplicaSet, new: &ReplicaSetStatus) -> bool {
    // Where the counts stay the same but for what is sent as zero or not at all, nothing is to be written.
    let zero = |n: Option<i32>| n.unwrap_or(0);
    set.status.as_ref().is_none_or(|old| {
        old.replicas != new.replicas
            || zero(old.fully_labeled_replicas) != zero(new.fully_labeled_replicas)
            || zero(old.ready_replicas) != zero(new.ready_replicas)
            || zero(old.available_replicas) != zero(new.available_replicas)
            || old.terminating_replicas != new.terminating_replicas
            || old.observed_generation != new.observed_generation
            || old.conditions.as_deref().unwrap_or_default() != new.conditions.as_deref().unwrap_or_default()
    })
}

/// When the next ready pod becomes available, if one is waiting for that.
pub(super) fn next_look(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    status: &ReplicaSetStatus,
    now: Timestamp,
) -> Option<Duration> {
    let min_ready = set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
    if min_ready == 0 || status.ready_replicas == status.available_replicas {
        return None;
    }
    availability::next_look(pods, min_ready, now)
}
