//! Which nodes a daemon set's pods run on: its node name, selector and affinity, and the nodes' taints.

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PodTemplateSpec, Taint, Toleration,
};
use std::collections::BTreeMap;

/// What every daemon pod tolerates: key and effect.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// And those on the host's network besides.
const NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a daemon set is to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A pod is to run there.
    Run,
    /// None is to be put there, but one that runs stays.
    Stay,
    /// None is to run there.
    Leave,
}

/// A daemon set's demands, ready to be held against many nodes.
pub(super) struct Demands<'a> {
    spec: Option<&'a PodSpec>,
    tolerations: Vec<Toleration>,
}

impl<'a> Demands<'a> {
    pub(super) fn of(template: Option<&'a PodTemplateSpec>) -> Self {
        let spec = template.and_then(|t| t.spec.as_ref());
        Self { spec, tolerations: spec.map(tolerations).unwrap_or_default() }
    }

    pub(super) fn judge(&self, node: &Node) -> Verdict {
        let Some(spec) = self.spec else { return Verdict::Leave };
        let name = node.metadata.name.as_deref().unwrap_or("");
        if spec.node_name.as_deref().is_some_and(|n| !n.is_empty() && n != name) || !fits(spec, node) {
            return Verdict::Leave;
        }
        let taints = node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
        let repels = |t: &&Taint| !self.tolerations.iter().any(|toleration| tolerates(toleration, t));
        let mut verdict = Verdict::Run;
        for taint in taints.iter().filter(repels) {
            match taint.effect.as_str() {
                "NoExecute" => return Verdict::Leave,
                "NoSchedule" => verdict = Verdict::Stay,
                _ => {}
            }
        }
        verdict
    }
}

/// The template's tolerations and those every daemon pod has.
pub(super) fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    let network = spec.host_network.unwrap_or(false).then_some(&NETWORK);
    for (key, effect) in TOLERATED.iter().chain(network) {
        let wanted = Toleration {
            key: Some((*key).to_owned()),
            operator: Some("Exists".into()),
            effect: Some((*effect).to_owned()),
            ..Toleration::default()
        };
        let same = |t: &&mut Toleration| {
            t.key == wanted.key
                && t.effect == wanted.effect
                && t.operator == wanted.operator
                && t.value.as_deref().unwrap_or("").is_empty()
        };
        match all.iter_mut().find(same) {
            Some(known) => *known = wanted,
            None => all.push(wanted),
        }
    }
    all
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let (key, effect) = (toleration.key.as_deref().unwrap_or(""), toleration.effect.as_deref().unwrap_or(""));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""),
        "Exists" => true,
        _ => false,
    }
}

/// The node selector and the required node affinity.
fn fits(spec: &PodSpec, node: &Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let selected = spec.node_selector.iter().flatten().all(|(k, v)| labels.get(k) == Some(v));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|r| r.node_selector_terms.iter().any(|term| matches(term, node, labels)))
}

/// Whether all a term's requirements hold. A term without any holds nowhere.
fn matches(term: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let name = node.metadata.name.as_deref();
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|e| holds(e, labels.get(&e.key).map(String::as_str)))
        && fields.iter().all(|f| f.key == "metadata.name" && holds(f, name))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|v| values.iter().any(|w| w == v));
    let numbers = || -> Option<(i64, i64)> {
        let [limit] = values else { return None };
        Some((value?.parse().ok()?, limit.parse().ok()?))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, limit)| value > limit),
        "Lt" => numbers().is_some_and(|(value, limit)| value < limit),
        _ => false,
    }
}
