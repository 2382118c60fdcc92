//! Telling a pod why it is being deleted, before it is.

use crate::context::now;
use gantry_client::Key;
use gantry_client::error::ApiError;
use gantry_reconcile::{Effect, Executor, PatchKind, conditions};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

#[derive(Serialize)]
struct Patch<'a> {
    metadata: PatchMeta<'a>,
    status: PatchStatus<'a>,
}

#[derive(Serialize)]
struct PatchMeta<'a> {
    uid: &'a str,
}

#[derive(Serialize)]
struct PatchStatus<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'a str>,
    conditions: Vec<PodCondition>,
}

/// A patch that adds (or replaces) one condition of a pod, and its phase where given.
pub(super) fn condition(
    pod: &Pod,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    phase: Option<&str>,
) -> Effect {
    let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    let condition = PodCondition {
        type_: kind.into(),
        status: status.into(),
        reason: text(reason),
        message: text(message),
        last_transition_time: Some(Time(now())),
        ..PodCondition::default()
    };
    let patch = Patch {
        metadata: PatchMeta { uid: pod.metadata.uid.as_deref().unwrap_or("") },
        status: PatchStatus { phase, conditions: vec![condition] },
    };
    let (namespace, name) =
        (pod.metadata.namespace.as_deref().unwrap_or(""), pod.metadata.name.as_deref().unwrap_or(""));
    Effect::patch_status::<Pod>(namespace, name, PatchKind::Strategic, &patch)
}

/// Marks a pod with `DisruptionTarget` and deletes it. With `force` it goes at once, and as failed.
pub(super) async fn delete(
    executor: &Executor,
    key: &Key,
    pod: &Pod,
    reason: &str,
    message: &str,
    force: bool,
) -> Result<(), kube::Error> {
    if !reason.is_empty() && !conditions::is_terminal(pod) {
        let phase = force.then_some("Failed");
        match executor.apply(key, &condition(pod, "DisruptionTarget", "True", reason, message, phase)).await {
            Err(error) if error.is_not_found() => return Ok(()),
            // After a conflict it is still to go: the key comes back, and another pod of the name is seen then.
            other => drop(other?),
        }
    }
    let mut effect = Effect::delete(pod);
    if let Effect::Delete { grace_seconds, .. } = &mut effect {
        *grace_seconds = force.then_some(0);
    }
    executor.delete(key, &effect).await
}
