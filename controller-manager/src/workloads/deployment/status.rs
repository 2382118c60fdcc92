//! What a deployment's status and conditions say.

use super::plan::{Sizes, replicas};
use super::rolling::sum;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::Arc;
use std::time::Duration;

pub(super) const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILURE: &str = "ReplicaFailure";
pub(super) const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";

pub(super) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

pub(super) fn get<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

pub(super) fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_ != kind);
        if conditions.is_empty() {
            status.conditions = None;
        }
    }
}

/// Sets a condition unless one with its status and reason is there; an unchanged status keeps its time.
pub(super) fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(old) = get(status, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time.clone();
        }
    }
    remove(status, &new.type_);
    status.conditions.get_or_insert_default().push(new);
}

pub(super) fn deadline(deployment: &Deployment) -> Option<i64> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    (seconds != i32::MAX).then_some(i64::from(seconds))
}

pub(super) fn of(deployment: &Deployment) -> DeploymentStatus {
    deployment.status.clone().unwrap_or_default()
}

/// Counts, and the Available condition.
pub(super) fn calculate(
    deployment: &Deployment,
    all: &[Arc<ReplicaSet>],
    newest: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let old = of(deployment);
    let available = sum(all, |s| s.status.as_ref()?.available_replicas);
    let nonzero = |n: i32| (n != 0).then_some(n);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(sum(all, |s| Some(s.status.as_ref()?.replicas))),
        updated_replicas: nonzero(newest.and_then(|s| s.status.as_ref()).map_or(0, |s| s.replicas)),
        ready_replicas: nonzero(sum(all, |s| s.status.as_ref()?.ready_replicas)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((sum(all, |s| s.spec.as_ref()?.replicas) - available).max(0)),
        collision_count: old.collision_count,
        terminating_replicas: terminating(all),
        conditions: old.conditions,
    };
    let sizes = Sizes::of(deployment);
    let enough = available >= sizes.replicas - sizes.max_unavailable;
    set(
        &mut status,
        if enough {
            condition(
                AVAILABLE,
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
                now,
            )
        } else {
            condition(
                AVAILABLE,
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
                now,
            )
        },
    );
    status
}

/// Known only where every set that has been seen by its controller reports it.
fn terminating(all: &[Arc<ReplicaSet>]) -> Option<i32> {
    let mut total = 0;
    for set in all {
        let status = set.status.as_ref();
        match status.and_then(|s| s.terminating_replicas) {
            Some(n) => total += n,
            None if status.and_then(|s| s.observed_generation).unwrap_or(0) == 0 => {}
            None => return None,
        }
    }
    Some(total)
}

/// Whether everything wanted is there and nothing else.
pub(super) fn complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = replicas(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

fn progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |v: Option<i32>| v.unwrap_or(0);
    let stale = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || stale(new) < stale(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

fn timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let (Some(seconds), Some(current)) = (deadline(deployment), get(status, PROGRESSING)) else {
        return false;
    };
    match current.reason.as_deref() {
        Some(NEW_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => current.last_update_time.as_ref().is_none_or(|t| t.0.as_second() + seconds < now.as_second()),
    }
}

/// The status during a rollout, with progress and failure conditions.
pub(super) fn rollout(
    deployment: &Deployment,
    all: &[Arc<ReplicaSet>],
    newest: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let old = of(deployment);
    let mut status = calculate(deployment, all, newest, now);
    if deadline(deployment).is_none() {
        remove(&mut status, PROGRESSING);
    }
    let current = get(&old, PROGRESSING).cloned();
    let done = status.replicas == status.updated_replicas
        && current.as_ref().is_some_and(|c| c.reason.as_deref() == Some(NEW_AVAILABLE));
    if deadline(deployment).is_some() && !done {
        let subject = match newest {
            Some(set) => format!("ReplicaSet {:?}", set.metadata.name.as_deref().unwrap_or("")),
            None => format!("Deployment {:?}", deployment.metadata.name.as_deref().unwrap_or("")),
        };
        if complete(deployment, &status) {
            let message = format!("{subject} has successfully progressed.");
            set(&mut status, condition(PROGRESSING, "True", NEW_AVAILABLE, &message, now));
        } else if progressing(&old, &status) {
            let message = format!("{subject} is progressing.");
            let mut new = condition(PROGRESSING, "True", "ReplicaSetUpdated", &message, now);
            if let Some(current) = current {
                if current.status == "True" {
                    new.last_transition_time = current.last_transition_time;
                }
                remove(&mut status, PROGRESSING);
            }
            set(&mut status, new);
        } else if timed_out(deployment, &status, now) {
            let message = format!("{subject} has timed out progressing.");
            set(&mut status, condition(PROGRESSING, "False", TIMED_OUT, &message, now));
        }
    }
    match failure(all, newest) {
        Some(failure) => set(&mut status, failure),
        None => remove(&mut status, FAILURE),
    }
    status
}

/// The newest set's failure, else any set's.
fn failure(all: &[Arc<ReplicaSet>], newest: Option<&ReplicaSet>) -> Option<DeploymentCondition> {
    let of = |set: &ReplicaSet| {
        set.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == FAILURE).map(|c| {
            DeploymentCondition {
                type_: c.type_.clone(),
                status: c.status.clone(),
                reason: c.reason.clone(),
                message: c.message.clone(),
                last_transition_time: c.last_transition_time.clone(),
                last_update_time: c.last_transition_time.clone(),
            }
        })
    };
    newest.and_then(of).or_else(|| all.iter().find_map(|s| of(s)))
}

/// When to look again whether progress has stopped.
pub(super) fn next_look(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let (seconds, current) = (deadline(deployment)?, get(status, PROGRESSING)?);
    if complete(deployment, status) || current.reason.as_deref() == Some(TIMED_OUT) {
        return None;
    }
    let since = current.last_update_time.as_ref().map_or(now.as_second(), |t| t.0.as_second());
    Some(Duration::from_secs((since + seconds - now.as_second() + 1).max(1).unsigned_abs()))
}

/// The deployment after the creation of its new set was refused.
pub(super) fn creation_failed(deployment: &Deployment, message: &str, now: Timestamp) -> Option<Deployment> {
    deadline(deployment)?;
    let mut changed = deployment.clone();
    let mut status = of(deployment);
    set(&mut status, condition(PROGRESSING, "False", "ReplicaSetCreateError", message, now));
    let differs = deployment.status.as_ref() != Some(&status);
    changed.status = Some(status);
    differs.then_some(changed)
}
