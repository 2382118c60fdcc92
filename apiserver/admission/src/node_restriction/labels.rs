//! The labels a kubelet may give its node.

use gantry_types::Document;
use std::collections::{BTreeMap, BTreeSet};

const OWN: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const OWN_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED_PREFIX: &str = "node-restriction.kubernetes.io";

fn within(prefix: &str, domain: &str) -> bool {
    prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether a kubelet may set or change the label.
pub(super) fn allowed(label: &str) -> bool {
    let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
    if within(prefix, RESTRICTED_PREFIX) {
        return false;
    }
    let kubernetes = within(prefix, "kubernetes.io") || within(prefix, "k8s.io");
    !kubernetes || OWN.contains(&label) || OWN_PREFIXES.iter().any(|own| within(prefix, own))
}

fn labels(document: &Document) -> BTreeMap<String, String> {
    document.get_at(&["metadata", "labels"]).unwrap_or_default()
}

/// The labels that differ from `old` (all, where there is none) and that a kubelet may not touch, sorted.
pub(super) fn forbidden(new: &Document, old: Option<&Document>) -> Vec<String> {
    let (new, old) = (labels(new), old.map(labels).unwrap_or_default());
    let keys: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    keys.into_iter().filter(|k| new.get(*k) != old.get(*k) && !allowed(k)).cloned().collect()
}
