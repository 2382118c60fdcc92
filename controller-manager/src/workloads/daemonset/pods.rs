//! A daemon set's pods: how they are made for a node, and read.

use super::eligible;
use crate::workloads::history::POD_REVISION;
use gantry_reconcile::ownership;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
};
use kube::api::ObjectMeta;
use std::cmp::Ordering;
use std::sync::Arc;

const GENERATION: &str = "deprecated.daemonset.template.generation";
const POD_GENERATION: &str = "pod-template-generation";
const NODE_FIELD: &str = "metadata.name";

fn generation(set: &DaemonSet) -> Option<String> {
    let text = set.metadata.annotations.as_ref()?.get(GENERATION)?;
    text.parse::<i64>().ok().map(|n| n.to_string())
}

pub(super) fn hash(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|l| l.get(POD_REVISION)).map_or("", String::as_str)
}

/// Whether the pod is of the present template.
pub(super) fn is_updated(set: &DaemonSet, pod: &Pod, revision: &str) -> bool {
    let of_generation = || {
        let labelled = pod.metadata.labels.as_ref().and_then(|l| l.get(POD_GENERATION));
        labelled.is_some() && labelled == generation(set).as_ref()
    };
    !revision.is_empty() && hash(pod) == revision || of_generation()
}

/// The pod to create on a node; its affinity leads the scheduler there.
pub(super) fn new_pod(set: &DaemonSet, node: &str, revision: &str) -> Pod {
    let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let mut spec = template.spec.unwrap_or_default();
    spec.tolerations = Some(eligible::tolerations(&spec));
    lead(&mut spec, node);
    let mut labels = meta.labels.unwrap_or_default();
    if let Some(generation) = generation(set) {
        labels.insert(POD_GENERATION.into(), generation);
    }
    labels.insert(POD_REVISION.into(), revision.to_owned());
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", set.metadata.name.as_deref().unwrap_or(""))),
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

/// Replaces the required node affinity, which held for the choice of the node, by the node itself.
fn lead(spec: &mut PodSpec, node: &str) {
    let here = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: NODE_FIELD.into(),
            operator: "In".into(),
            values: Some(vec![node.to_owned()]),
        }]),
        match_expressions: None,
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    affinity.node_affinity.get_or_insert_default().required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![here] });
}

/// The node a pod is on, or is meant for.
pub(super) fn target(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|n| !n.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let field = required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten())
        .find(|field| field.key == NODE_FIELD && field.operator == "In")?;
    match field.values.as_deref() {
        Some([node]) => Some(node),
        _ => None,
    }
}

pub(super) fn is_assigned(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).is_some_and(|n| !n.is_empty())
}

/// Those on a node before those on the way; older ones first; then by name.
pub(super) fn by_age(a: &Arc<Pod>, b: &Arc<Pod>) -> Ordering {
    let made = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
    is_assigned(b)
        .cmp(&is_assigned(a))
        .then_with(|| made(a).cmp(&made(b)))
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}
