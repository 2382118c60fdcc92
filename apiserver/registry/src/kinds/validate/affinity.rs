//! Node and pod affinity.

use super::options::PodOptions;
use super::{meta, selector, spread};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{
    Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSpec,
    WeightedPodAffinityTerm,
};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub fn affinity(a: &Affinity, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if let Some(n) = &a.node_affinity {
        let at = path.child("nodeAffinity");
        if let Some(s) = &n.required_during_scheduling_ignored_during_execution {
            errs.extend(node_selector(s, options.allow_invalid_node_affinity_values, &at.child(REQUIRED)));
        }
        let at = at.child(PREFERRED);
        for (i, t) in list(&n.preferred_during_scheduling_ignored_during_execution).iter().enumerate() {
            errs.extend(weight(t.weight, &at.index(i)));
            errs.extend(node_term(&t.preference, true, &at.index(i).child("preference")));
        }
    }
    let both = [
        (
            "podAffinity",
            a.pod_affinity.as_ref().map(|p| {
                let required = &p.required_during_scheduling_ignored_during_execution;
                (required, &p.preferred_during_scheduling_ignored_during_execution)
            }),
        ),
        (
            "podAntiAffinity",
            a.pod_anti_affinity.as_ref().map(|p| {
                let required = &p.required_during_scheduling_ignored_during_execution;
                (required, &p.preferred_during_scheduling_ignored_during_execution)
            }),
        ),
    ];
    for (field, terms) in both {
        let Some((required, preferred)) = terms else { continue };
        let at = path.child(field);
        errs.extend(pod_terms(list(required), list(preferred), options, &at));
    }
    errs
}

fn pod_terms(
    required: &[PodAffinityTerm],
    preferred: &[WeightedPodAffinityTerm],
    options: &PodOptions,
    path: &Path,
) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, t) in required.iter().enumerate() {
        errs.extend(pod_term(t, options, &path.child(REQUIRED).index(i)));
    }
    for (i, t) in preferred.iter().enumerate() {
        let at = path.child(PREFERRED).index(i);
        errs.extend(weight(t.weight, &at));
        errs.extend(pod_term(&t.pod_affinity_term, options, &at.child("podAffinityTerm")));
    }
    errs
}

fn weight(weight: i32, path: &Path) -> Option<Error> {
    let why = "must be in the range 1-100";
    (!(1..=100).contains(&weight)).then(|| Error::invalid(&path.child("weight"), &weight, why))
}

fn term_selectors(t: &PodAffinityTerm, allow_invalid_values: bool, path: &Path) -> ErrorList {
    let options = selector::Options { allow_invalid_values };
    let mut errs = selector::label_selector(t.label_selector.as_ref(), options, &path.child("labelSelector"));
    let at = path.child("namespaceSelector");
    errs.extend(selector::label_selector(t.namespace_selector.as_ref(), options, &at));
    errs
}

fn pod_term(t: &PodAffinityTerm, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = term_selectors(t, options.allow_invalid_affinity_values, path);
    for ns in list(&t.namespaces) {
        errs.extend(invalid_each(&path.child("namespace"), ns, meta::label_name(ns, false)));
    }
    let (matching, mismatching) = (list(&t.match_label_keys), list(&t.mismatch_label_keys));
    errs.extend(spread::label_keys(matching, mismatching, t.label_selector.as_ref(), path));
    let at = path.child("topologyKey");
    if t.topology_key.is_empty() {
        errs.push(Error::required(&at, "can not be empty"));
    }
    errs.extend(invalid_each(&at, &t.topology_key, names::qualified_name(&t.topology_key)));
    errs
}

/// Node selector terms.
pub fn node_selector(s: &NodeSelector, allow_invalid_values: bool, path: &Path) -> ErrorList {
    let at = path.child("nodeSelectorTerms");
    if s.node_selector_terms.is_empty() {
        return vec![Error::required(&at, "must have at least one node selector term")];
    }
    let terms = s.node_selector_terms.iter().enumerate();
    terms.flat_map(|(i, t)| node_term(t, allow_invalid_values, &at.index(i))).collect()
}

fn node_term(t: &NodeSelectorTerm, allow_invalid_values: bool, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, r) in list(&t.match_expressions).iter().enumerate() {
        errs.extend(node_requirement(r, allow_invalid_values, &path.child("matchExpressions").index(i)));
    }
    for (i, r) in list(&t.match_fields).iter().enumerate() {
        errs.extend(node_field_requirement(r, &path.child("matchFields").index(i)));
    }
    errs
}

fn node_requirement(r: &NodeSelectorRequirement, allow_invalid_values: bool, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let (values, at) = (list(&r.values), path.child("values"));
    match r.operator.as_str() {
        "In" | "NotIn" => {
            if values.is_empty() {
                errs.push(Error::required(&at, "must be specified when `operator` is 'In' or 'NotIn'"));
            }
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errs.push(Error::forbidden(&at, why));
            }
        }
        "Gt" | "Lt" => {
            if values.len() != 1 {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errs.push(Error::required(&at, why));
            }
        }
        other => errs.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    errs.extend(invalid_each(&path.child("key"), &r.key, names::qualified_name(&r.key)));
    if !allow_invalid_values {
        for (i, v) in values.iter().enumerate() {
            errs.extend(invalid_each(&at.index(i), v, names::label_value(v)));
        }
    }
    errs
}

fn node_field_requirement(r: &NodeSelectorRequirement, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let (values, at) = (list(&r.values), path.child("values"));
    match r.operator.as_str() {
        "In" | "NotIn" => {
            if values.len() != 1 {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errs.push(Error::required(&at, why));
            }
        }
        other => errs.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    if r.key == "metadata.name" {
        for (i, v) in values.iter().enumerate() {
            errs.extend(invalid_each(&at.index(i), v, meta::subdomain_name(v, false)));
        }
    } else {
        errs.push(Error::invalid(&path.child("key"), &r.key, "not a valid field selector key"));
    }
    errs
}

/// Whether a stored spec has affinity selectors today's rule would refuse.
pub fn has_invalid_selectors(spec: &PodSpec) -> bool {
    let Some(a) = &spec.affinity else { return false };
    let bad = |t: &PodAffinityTerm| !term_selectors(t, false, &Path::root()).is_empty();
    let bad_weighted = |t: &WeightedPodAffinityTerm| bad(&t.pod_affinity_term);
    a.pod_affinity.as_ref().is_some_and(|p| {
        list(&p.required_during_scheduling_ignored_during_execution).iter().any(bad)
            || list(&p.preferred_during_scheduling_ignored_during_execution).iter().any(bad_weighted)
    }) || a.pod_anti_affinity.as_ref().is_some_and(|p| {
        list(&p.required_during_scheduling_ignored_during_execution).iter().any(bad)
            || list(&p.preferred_during_scheduling_ignored_during_execution).iter().any(bad_weighted)
    })
}

/// Whether a stored spec requires node labels with values that are none.
pub fn has_invalid_node_values(spec: &PodSpec) -> bool {
    let node = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = node.and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_some_and(has_invalid_values)
}

/// Whether a node selector names values that are no label values.
pub fn has_invalid_values(s: &NodeSelector) -> bool {
    let requirements = s.node_selector_terms.iter().flat_map(|t| list(&t.match_expressions));
    requirements.flat_map(|r| list(&r.values)).any(|v| !names::label_value(v).is_empty())
}
