//! Who a stateful set's pods are: names, ordinals, labels, volumes.

use super::claims;
use crate::workloads::history::POD_REVISION;
use gantry_reconcile::ownership;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};
use kube::api::ObjectMeta;

pub(super) const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
pub(super) const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

pub(super) fn name(set: &StatefulSet) -> &str {
    set.metadata.name.as_deref().unwrap_or("")
}

pub(super) fn pod_name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("")
}

/// The set's name and the ordinal a pod's name says; no ordinal where the number is too large.
pub(super) fn parse(pod: &str) -> Option<(&str, Option<i32>)> {
    let (parent, number) = pod.rsplit_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| (parent, number.parse().ok()))
}

/// Whether a pod's name is of the set.
pub(super) fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    parse(pod_name(pod)).is_some_and(|(parent, _)| parent == name(set))
}

pub(super) fn ordinal(pod: &Pod) -> Option<i32> {
    parse(pod_name(pod)).and_then(|(_, ordinal)| ordinal)
}

pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// The first ordinal.
pub(super) fn start(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.ordinals.as_ref()?.start).unwrap_or(0)
}

pub(super) fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    ordinal >= start(set) && i64::from(ordinal) < i64::from(start(set)) + i64::from(replicas(set))
}

pub(super) fn revision(pod: &Pod) -> &str {
    label(pod, POD_REVISION)
}

fn label<'a>(pod: &'a Pod, name: &str) -> &'a str {
    pod.metadata.labels.as_ref().and_then(|l| l.get(name)).map_or("", String::as_str)
}

/// Whether the pod carries its own name, as those of a stateful set do.
pub(super) fn identity_matches(pod: &Pod) -> bool {
    label(pod, POD_NAME) == pod_name(pod)
}

/// Whether the pod mounts its claims.
pub(super) fn storage_matches(set: &StatefulSet, pod: &Pod, ordinal: i32) -> bool {
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
    claims::templates(set).iter().all(|template| {
        let wanted = claims::claim_name(set, template, ordinal);
        let volume = volumes.iter().find(|v| Some(&v.name) == template.metadata.name.as_ref());
        volume.and_then(|v| v.persistent_volume_claim.as_ref()).is_some_and(|c| c.claim_name == wanted)
    })
}

/// The volumes of the set's claims.
pub(super) fn volumes(set: &StatefulSet, ordinal: i32) -> Vec<Volume> {
    let volume = |template| Volume {
        name: claims::template_name(template).to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claims::claim_name(set, template, ordinal),
            read_only: None,
        }),
        ..Volume::default()
    };
    claims::templates(set).iter().map(volume).collect()
}

/// The pod to create, of a template and the revision that holds it.
pub(super) fn new_pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let own = format!("{}-{ordinal}", name(set));
    let meta = template.metadata.clone().unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(POD_NAME.into(), own.clone());
    labels.insert(POD_INDEX.into(), ordinal.to_string());
    labels.insert(POD_REVISION.into(), revision.to_owned());
    let mut spec = template.spec.clone().unwrap_or_default();
    spec.hostname = Some(own.clone());
    spec.subdomain = set.spec.as_ref().and_then(|s| s.service_name.clone()).filter(|s| !s.is_empty());
    let mut mounted = volumes(set, ordinal);
    let others = spec.volumes.take().unwrap_or_default();
    let others = others.into_iter().filter(|v| mounted.iter().all(|m| m.name != v.name)).collect::<Vec<_>>();
    mounted.extend(others);
    spec.volumes = (!mounted.is_empty()).then_some(mounted);
    Pod {
        metadata: ObjectMeta {
            name: Some(own),
            generate_name: Some(format!("{}-", name(set))),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![ownership::controller_ref(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}
