//! How many pods, which ones to remove, and what the status says.

use gantry_reconcile::{conditions, ownership, selector};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use std::cmp::{Ordering, Reverse};
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

/// `pods` are the set's active ones; `related` those of all sets of the same owner.
pub(super) fn scale(set: &ReplicaSet, pods: &[Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) -> Scale {
    let wanted = wanted(set);
    match pods.len().cmp(&wanted) {
        Ordering::Equal => Scale::Keep,
        Ordering::Less => Scale::Create((wanted - pods.len()).min(BURST)),
        Ordering::Greater => {
            let count = (pods.len() - wanted).min(BURST);
            let mut ranked = pods.to_vec();
            if count < pods.len() {
                rank(&mut ranked, related, now);
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
        let created = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
        let younger = |x: Option<Timestamp>, y: Option<Timestamp>| match (x, y) {
            (Some(x), Some(y)) => by_age(x, y, now),
            _ => Ordering::Equal,
        };
        (!node(a).is_empty())
            .cmp(&!node(b).is_empty())
            .then_with(|| phase_order(a).cmp(&phase_order(b)))
            .then_with(|| ready(a).cmp(&ready(b)))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| Reverse(neighbours(a)).cmp(&Reverse(neighbours(b))))
            .then_with(|| younger(conditions::ready_since(a), conditions::ready_since(b)))
            .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
            .then_with(|| younger(created(a), created(b)))
            .then_with(|| uid(a).cmp(uid(b)))
    });
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
    let most = |list: Option<&Vec<_>>| {
        list.into_iter()
            .flatten()
            .map(|s: &k8s_openapi::api::core::v1::ContainerStatus| s.restart_count)
            .max()
            .unwrap_or(0)
    };
    let status = pod.status.as_ref();
    (
        most(status.and_then(|s| s.container_statuses.as_ref())),
        most(status.and_then(|s| s.init_container_statuses.as_ref())),
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
pub(super) fn pod_of(set: &ReplicaSet) -> Pod {
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
            owner_references: Some(vec![ownership::controller_ref(set)]),
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
    terminating: usize,
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
        terminating_replicas: Some(count(terminating)),
        observed_generation: set.metadata.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    }
}

/// Whether the status must be written.
pub(super) fn status_differs(set: &ReplicaSet, new: &ReplicaSetStatus) -> bool {
    set.status.as_ref() != Some(new)
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
    pods.iter()
        .filter(|p| !conditions::is_available(p, min_ready, now))
        .filter_map(|p| conditions::ready_since(p))
        .map(|t| (t.as_second() + i64::from(min_ready) - now.as_second()).max(1))
        .min()
        .map(|s| Duration::from_secs(s.unsigned_abs()))
}
