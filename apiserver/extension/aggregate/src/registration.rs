//! The APIServices of what this server serves itself.

use crate::{group_version, spec};
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use gantry_types::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceSpec,
};

/// The label of APIServices a server keeps by itself.
pub const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Its value for those looked at once, at start.
pub const ON_START: &str = "onstart";
/// The group of APIServices themselves, which has none.
pub const OWN_GROUP: &str = "apiregistration.k8s.io";

/// Groups from first to last in discovery: name, priority, and the priorities of versions.
const PRIORITIES: &[(&str, i32, &[(&str, i32)])] = &[
    ("", 18000, &[("v1", 1)]),
    ("apps", 17800, &[("v1", 15)]),
    ("events.k8s.io", 17750, &[("v1", 15), ("v1beta1", 5)]),
    ("authentication.k8s.io", 17700, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("authorization.k8s.io", 17600, &[("v1", 15)]),
    ("autoscaling", 17500, &[("v2", 30), ("v1", 15)]),
    ("batch", 17400, &[("v1", 15)]),
    ("certificates.k8s.io", 17300, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("networking.k8s.io", 17200, &[("v1", 15), ("v1beta1", 9)]),
    ("policy", 17100, &[("v1", 15)]),
    ("rbac.authorization.k8s.io", 17000, &[("v1", 15)]),
    ("storage.k8s.io", 16800, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("admissionregistration.k8s.io", 16700, &[("v1", 15), ("v1beta1", 12), ("v1alpha1", 9)]),
    ("apiextensions.k8s.io", 16700, &[("v1", 15)]),
    ("scheduling.k8s.io", 16600, &[("v1", 15), ("v1alpha2", 2)]),
    ("coordination.k8s.io", 16500, &[("v1", 15), ("v1beta1", 13), ("v1alpha2", 12)]),
    ("node.k8s.io", 16300, &[("v1", 15)]),
    ("discovery.k8s.io", 16200, &[("v1", 15)]),
    ("resource.k8s.io", 16200, &[("v1", 21), ("v1beta2", 15), ("v1beta1", 9), ("v1alpha3", 1)]),
    ("flowcontrol.apiserver.k8s.io", 16100, &[("v1", 21)]),
    ("internal.apiserver.k8s.io", 16000, &[("v1alpha1", 9)]),
    ("storagemigration.k8s.io", 15800, &[("v1beta1", 9)]),
];

/// The priorities of a group version of our own: of the group, and of the version inside it.
pub fn priority(group: &str, version: &str) -> Option<(i32, i32)> {
    let (_, group, versions) = PRIORITIES.iter().find(|(name, ..)| *name == group)?;
    let (_, version) = versions.iter().find(|(name, _)| *name == version)?;
    Some((*group, *version))
}

/// What is to be written at start.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Create(APIService),
    /// Takes this spec.
    Update(String, APIServiceSpec),
    /// Only the object of this UID.
    Delete(String, String),
}

/// The APIService of a local group version; `None` for one that is not registered.
fn wanted(group: &str, version: &str) -> Option<APIService> {
    let (group_priority, version_priority) = priority(group, version)?;
    Some(APIService {
        metadata: ObjectMeta {
            name: Some(format!("{version}.{group}")),
            labels: Some([(MANAGED.to_owned(), ON_START.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(APIServiceSpec {
            group: (!group.is_empty()).then(|| group.to_owned()),
            version: Some(version.to_owned()),
            group_priority_minimum: group_priority,
            version_priority,
            ..APIServiceSpec::default()
        }),
        status: None,
    })
}

/// Whether two specs say the same, absent and empty being alike.
fn same(a: &APIServiceSpec, b: &APIServiceSpec) -> bool {
    let plain = |s: &APIServiceSpec| APIServiceSpec {
        group: Some(s.group.clone().unwrap_or_default()),
        version: Some(s.version.clone().unwrap_or_default()),
        insecure_skip_tls_verify: Some(s.insecure_skip_tls_verify.unwrap_or(false)),
        ca_bundle: s.ca_bundle.clone().filter(|b| !b.0.is_empty()),
        ..s.clone()
    };
    plain(a) == plain(b)
}

/// What start-up writes: missing ones are made; of those labelled as ours, wrong ones are corrected and those
/// nobody serves any more removed. Others are somebody's own.
pub fn plan(existing: &[APIService], local: &[(&str, &str)]) -> Vec<Action> {
    let name = |s: &APIService| s.metadata.name.clone().unwrap_or_default();
    let mut actions = Vec::new();
    let wanted: Vec<APIService> = local.iter().filter_map(|(g, v)| wanted(g, v)).collect();
    for service in &wanted {
        let Some(present) = existing.iter().find(|e| name(e) == name(service)) else {
            actions.push(Action::Create(service.clone()));
            continue;
        };
        if let (true, Some(want)) = (ours(present), spec(service))
            && !spec(present).is_some_and(|has| same(has, want))
        {
            actions.push(Action::Update(name(service), want.clone()));
        }
    }
    for spurious in existing.iter().filter(|e| ours(e) && !wanted.iter().any(|w| name(w) == name(e))) {
        // A group version this build does not know is left to whoever shares the store.
        let (group, version) = group_version(spurious);
        if priority(group, version).is_none() {
            let uid = spurious.metadata.uid.clone().unwrap_or_default();
            actions.push(Action::Delete(name(spurious), uid));
        }
    }
    actions
}

fn ours(service: &APIService) -> bool {
    service.metadata.labels.as_ref().and_then(|l| l.get(MANAGED)).is_some_and(|v| v == ON_START)
}
