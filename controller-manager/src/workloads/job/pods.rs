//! The pods a job creates, and the patches it makes on them.

use super::index::Index;
use super::policy::{self, Verdict};
use super::spec::{self, FAILURES, FINALIZER, IGNORED_FAILURES, INDEX, Spec};
use gantry_reconcile::{Effect, PatchKind, ownership};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use serde::Serialize;

const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// What the server leaves of a `generateName`, so that the random end fits.
const LONGEST_PREFIX: usize = 58;

/// The pod to create; `replaces` is the index's failed pod whose failure count this one carries on.
pub(super) fn pod_of(job: &Job, index: Option<Index>, replaces: Option<&Pod>) -> Pod {
    let name = job.metadata.name.as_deref().unwrap_or("");
    let template = job.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let mut finalizers = meta.finalizers.unwrap_or_default();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    let mut pod = Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: job.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: Some(finalizers),
            owner_references: Some(vec![ownership::controller_ref(job)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    };
    if let (Some(index), Some(spec)) = (index, &job.spec) {
        give_index(&mut pod, Spec(spec), name, index, replaces);
    }
    pod
}

fn give_index(pod: &mut Pod, spec: Spec<'_>, name: &str, index: Index, replaces: Option<&Pod>) {
    let end = format!("-{index}-");
    let kept: String = name.chars().take(LONGEST_PREFIX.saturating_sub(end.len())).collect();
    pod.metadata.generate_name = Some(format!("{kept}{end}"));
    pod.metadata.labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.into(), index.to_string());
    if spec.0.backoff_limit_per_index.is_some() {
        let (failures, ignored) = replaces.map_or((0, 0), |old| {
            let blamed = policy::judge(spec, old) != Verdict::Ignore;
            let (failures, ignored) = (spec::index_failures(old), spec::ignored_index_failures(old));
            (failures + i32::from(blamed), ignored + i32::from(!blamed))
        });
        annotations.insert(FAILURES.into(), failures.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED_FAILURES.into(), ignored.to_string());
        }
    }
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(format!("{name}-{index}"));
    spec.init_containers.iter_mut().flatten().chain(&mut spec.containers).for_each(tell_index);
}

/// Gives a container its index as a variable, unless it has one of that name.
fn tell_index(container: &mut Container) {
    let env = container.env.get_or_insert_default();
    if env.iter().any(|v| v.name == INDEX_VARIABLE) {
        return;
    }
    env.push(EnvVar {
        name: INDEX_VARIABLE.into(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: format!("metadata.labels['{INDEX}']"),
            }),
            ..EnvVarSource::default()
        }),
    });
}

#[derive(Serialize)]
struct Patch<'a> {
    metadata: PatchMeta<'a>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct PatchMeta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owner_references: Vec<Owner<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    finalizers: Vec<&'static str>,
    #[serde(rename = "$deleteFromPrimitiveList/finalizers", skip_serializing_if = "Vec::is_empty")]
    drop_finalizers: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Owner<'a> {
    Add(OwnerReference),
    Remove {
        #[serde(rename = "$patch")]
        patch: &'static str,
        uid: &'a str,
    },
}

fn patch(pod: &Pod, metadata: PatchMeta<'_>) -> Effect {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let name = pod.metadata.name.as_deref().unwrap_or("");
    Effect::patch::<Pod>(namespace, name, PatchKind::Strategic, &Patch { metadata })
}

/// Says that the pod is counted, or need not be.
pub(super) fn drop_finalizer(pod: &Pod) -> Effect {
    patch(pod, PatchMeta { drop_finalizers: vec![FINALIZER], ..PatchMeta::default() })
}

/// Makes the job the pod's controller, and the pod one to be counted.
pub(super) fn adopt(job: &Job, pod: &Pod) -> Effect {
    let owner_references = vec![Owner::Add(ownership::controller_ref(job))];
    let uid = pod.metadata.uid.as_deref();
    patch(pod, PatchMeta { uid, owner_references, finalizers: vec![FINALIZER], drop_finalizers: vec![] })
}

/// Leaves a pod to others.
pub(super) fn release(job: &Job, pod: &Pod) -> Effect {
    let owner = job.metadata.uid.as_deref().unwrap_or("");
    let owner_references = vec![Owner::Remove { patch: "delete", uid: owner }];
    let uid = pod.metadata.uid.as_deref();
    patch(pod, PatchMeta { uid, owner_references, finalizers: vec![], drop_finalizers: vec![FINALIZER] })
}
