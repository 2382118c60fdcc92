//! Topology spread constraints, and the label keys they share with pod affinity.

use super::options::PodOptions;
use super::selector;
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{PodSpec, TopologySpreadConstraint};
use std::collections::BTreeSet;

const NOT_POSITIVE: &str = "must be greater than zero";

pub fn constraints(all: &[TopologySpreadConstraint], options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, c) in all.iter().enumerate() {
        let at = path.index(i);
        if c.max_skew <= 0 {
            errs.push(Error::invalid(&at.child("maxSkew"), &c.max_skew, NOT_POSITIVE));
        }
        if c.topology_key.is_empty() {
            errs.push(Error::required(&at.child("topologyKey"), "can not be empty"));
        }
        let when = c.when_unsatisfiable.as_str();
        if !matches!(when, "DoNotSchedule" | "ScheduleAnyway") {
            let actions = ["DoNotSchedule", "ScheduleAnyway"];
            errs.push(Error::not_supported(&at.child("whenUnsatisfiable"), when, &actions));
        }
        let twin =
            |o: &&TopologySpreadConstraint| o.topology_key == c.topology_key && o.when_unsatisfiable == when;
        if all[i + 1..].iter().find(twin).is_some() {
            let at = at.child("{topologyKey, whenUnsatisfiable}");
            errs.push(Error::duplicate(&at, &format!("{{{}, {when}}}", c.topology_key)));
        }
        if let Some(n) = c.min_domains {
            let at = at.child("minDomains");
            if n <= 0 {
                errs.push(Error::invalid(&at, &n, NOT_POSITIVE));
            }
            if when != "DoNotSchedule" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errs.push(Error::invalid(&at, &n, why));
            }
        }
        for (field, policy) in
            [("nodeAffinityPolicy", &c.node_affinity_policy), ("nodeTaintsPolicy", &c.node_taints_policy)]
        {
            if let Some(p) = policy.as_deref().filter(|p| !matches!(*p, "Honor" | "Ignore")) {
                errs.push(Error::not_supported(&at.child(field), p, &["Honor", "Ignore"]));
            }
        }
        let keys = list(&c.match_label_keys);
        if options.old_violates_match_label_keys {
            errs.extend(legacy_keys(keys, c.label_selector.as_ref(), &at.child("matchLabelKeys")));
        } else {
            errs.extend(label_keys(keys, &[], c.label_selector.as_ref(), &at));
        }
        if !options.allow_invalid_spread_selector {
            let options = selector::Options::default();
            let at = at.child("labelSelector");
            errs.extend(selector::label_selector(c.label_selector.as_ref(), options, &at));
        }
    }
    errs
}

/// The rule before keys were merged into the selector.
fn legacy_keys(keys: &[String], selector: Option<&LabelSelector>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if keys.is_empty() {
        return errs;
    }
    let mut selected = BTreeSet::new();
    match selector {
        None => errs.push(Error::forbidden(path, "must not be specified when labelSelector is not set")),
        Some(s) => {
            selected.extend(s.match_labels.iter().flatten().map(|(k, _)| k));
            selected.extend(list(&s.match_expressions).iter().map(|e| &e.key));
        }
    }
    for (i, k) in keys.iter().enumerate() {
        errs.extend(invalid_each(&path.index(i), k, names::qualified_name(k)));
        if selected.contains(k) {
            errs.push(Error::invalid(&path.index(i), k, "exists in both matchLabelKeys and labelSelector"));
        }
    }
    errs
}

/// Keys to match and keys to differ in, of a pod affinity term or a spread constraint.
pub fn label_keys(
    matching: &[String],
    mismatching: &[String],
    selector: Option<&LabelSelector>,
    path: &Path,
) -> ErrorList {
    let mut errs = keys(matching, selector, &path.child("matchLabelKeys"));
    errs.extend(keys(mismatching, selector, &path.child("mismatchLabelKeys")));
    if let Some(s) = selector {
        // A key merged from `matchLabelKeys` appears once in the selector; twice is the user's doing.
        let mut seen: BTreeSet<&String> = s.match_labels.iter().flatten().map(|(k, _)| k).collect();
        for e in list(&s.match_expressions) {
            let at = matching.iter().rposition(|k| *k == e.key);
            if let Some(i) = at.filter(|_| seen.contains(&e.key)) {
                let why = "exists in both matchLabelKeys and labelSelector";
                errs.push(Error::invalid(&path.index(i), &e.key, why));
            }
            seen.insert(&e.key);
        }
    }
    for (i, k) in matching.iter().enumerate() {
        if mismatching.contains(k) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errs.push(Error::invalid(&path.child("matchLabelKeys").index(i), k, why));
        }
    }
    errs
}

fn keys(keys: &[String], selector: Option<&LabelSelector>, path: &Path) -> ErrorList {
    if keys.is_empty() {
        return ErrorList::new();
    }
    if selector.is_none() {
        return vec![Error::forbidden(path, "must not be specified when labelSelector is not set")];
    }
    let each = keys.iter().enumerate();
    each.flat_map(|(i, k)| invalid_each(&path.index(i), k, names::qualified_name(k)).collect::<Vec<_>>())
        .collect()
}

/// Whether a stored spec's spread constraints fail today's rule on keys.
pub fn violates_match_label_keys(spec: &PodSpec) -> bool {
    list(&spec.topology_spread_constraints).iter().any(|c| {
        !label_keys(list(&c.match_label_keys), &[], c.label_selector.as_ref(), &Path::root()).is_empty()
    })
}
