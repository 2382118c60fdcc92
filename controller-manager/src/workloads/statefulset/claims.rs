//! A stateful set's volume claims: which ones a pod has, and who owns them under the retention policy
//! (KEP-1847).

use super::identity;
use gantry_reconcile::ownership;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

pub(super) fn templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.as_ref().and_then(|s| s.volume_claim_templates.as_deref()).unwrap_or_default()
}

pub(super) fn template_name(template: &PersistentVolumeClaim) -> &str {
    template.metadata.name.as_deref().unwrap_or("")
}

pub(super) fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template_name(template), identity::name(set))
}

/// The claim to create: the template, with the set's selector among its labels.
pub(super) fn new_claim(
    set: &StatefulSet,
    template: &PersistentVolumeClaim,
    ordinal: i32,
) -> PersistentVolumeClaim {
    let mut claim = template.clone();
    claim.metadata.name = Some(claim_name(set, template, ordinal));
    claim.metadata.namespace = set.metadata.namespace.clone();
    let wanted = set.spec.as_ref().and_then(|s| s.selector.match_labels.clone());
    if claim.metadata.labels.is_some() || wanted.is_some() {
        claim.metadata.labels.get_or_insert_default().extend(wanted.unwrap_or_default());
    }
    claim
}

/// What is to be deleted with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Policy {
    when_deleted: bool,
    when_scaled: bool,
}

fn policy(set: &StatefulSet) -> Policy {
    let policy = set.spec.as_ref().and_then(|s| s.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |value: Option<&String>| value.is_some_and(|v| v == "Delete");
    Policy {
        when_deleted: deletes(policy.and_then(|p| p.when_deleted.as_ref())),
        when_scaled: deletes(policy.and_then(|p| p.when_scaled.as_ref())),
    }
}

/// A pod as claims refer to it; one that is yet to be created has no uid.
#[derive(Clone, Copy, Debug)]
pub(super) struct PodRef<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub ordinal: i32,
}

impl<'a> PodRef<'a> {
    pub(super) fn of(pod: &'a Pod, ordinal: i32) -> Self {
        Self { name: identity::pod_name(pod), uid: pod.metadata.uid.as_deref().unwrap_or(""), ordinal }
    }

    fn refers(&self, reference: &OwnerReference) -> bool {
        reference.api_version == "v1" && reference.kind == "Pod" && reference.name == self.name
    }

    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: self.name.to_owned(),
            uid: self.uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

fn set_refers(set: &StatefulSet, reference: &OwnerReference) -> bool {
    reference.api_version == StatefulSet::api_version(&())
        && reference.kind == StatefulSet::kind(&())
        && reference.name == identity::name(set)
}

fn set_uid(set: &StatefulSet) -> &str {
    set.metadata.uid.as_deref().unwrap_or("")
}

fn owners(claim: &PersistentVolumeClaim) -> &[OwnerReference] {
    claim.metadata.owner_references.as_deref().unwrap_or_default()
}

fn owned_by(claim: &PersistentVolumeClaim, uid: &str) -> bool {
    owners(claim).iter().any(|r| r.uid == uid)
}

/// Whether the claim belongs to an earlier pod of this name, and will go with it.
pub(super) fn is_stale_for_pod(claim: &PersistentVolumeClaim, pod: PodRef<'_>) -> bool {
    owners(claim).iter().find(|r| pod.refers(r)).is_some_and(|r| r.uid != pod.uid)
}

fn is_stale_for_set(claim: &PersistentVolumeClaim, set: &StatefulSet) -> bool {
    owners(claim).iter().find(|r| set_refers(set, r)).is_some_and(|r| r.uid != set_uid(set))
}

/// Whether a claim left by an earlier pod must be awaited to go before the pod is made.
pub(super) fn must_wait(set: &StatefulSet, claim: &PersistentVolumeClaim, pod: PodRef<'_>) -> bool {
    policy(set).when_scaled && is_stale_for_pod(claim, pod)
}

/// Whether somebody else manages the claim, so that the policy does not apply to it.
pub(super) fn has_unexpected_controller(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    pod: PodRef<'_>,
) -> bool {
    let policy = policy(set);
    if !policy.when_deleted && !policy.when_scaled {
        return false;
    }
    owners(claim).iter().any(|r| {
        if set_refers(set, r) {
            r.uid != set_uid(set)
        } else if pod.refers(r) {
            r.uid != pod.uid
        } else {
            r.controller == Some(true)
        }
    })
}

/// Who ought to own the claim: the set, the pod.
fn wanted(set: &StatefulSet, pod: PodRef<'_>) -> (bool, bool) {
    let policy = policy(set);
    let scaled_down = !identity::in_range(set, pod.ordinal);
    let by_pod = policy.when_scaled && scaled_down;
    let by_set = policy.when_deleted && !by_pod;
    (by_set, by_pod)
}

/// Whether the claim's owners are what the policy wants, or cannot be changed.
pub(super) fn is_up_to_date(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: PodRef<'_>) -> bool {
    if is_stale_for_set(claim, set) || is_stale_for_pod(claim, pod) {
        return true;
    }
    let (has_set, has_pod) = (owned_by(claim, set_uid(set)), owned_by(claim, pod.uid));
    if has_unexpected_controller(claim, set, pod) {
        return !has_set && !has_pod;
    }
    let ours = |r: &&OwnerReference| r.uid == set_uid(set) || r.uid == pod.uid;
    if owners(claim).iter().filter(ours).any(|r| r.controller != Some(true)) {
        return false;
    }
    (has_set, has_pod) == wanted(set, pod)
}

/// The claim with the owners the policy wants.
pub(super) fn with_owners(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    pod: PodRef<'_>,
) -> PersistentVolumeClaim {
    let mut changed = claim.clone();
    let mut refs: Vec<_> =
        owners(claim).iter().filter(|r| !set_refers(set, r) && !pod.refers(r)).cloned().collect();
    if !has_unexpected_controller(claim, set, pod) {
        let (by_set, by_pod) = wanted(set, pod);
        if by_pod && refs.iter().all(|r| r.uid != pod.uid) {
            refs.push(pod.reference());
        }
        if by_set && refs.iter().all(|r| r.uid != set_uid(set)) {
            refs.push(ownership::controller_ref(set));
        }
    }
    changed.metadata.owner_references = (!refs.is_empty()).then_some(refs);
    changed
}
