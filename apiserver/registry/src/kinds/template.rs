//! What kinds that carry a pod template have in common.

use crate::kinds::core::pod;
use crate::kinds::prelude::*;
use crate::kinds::validate::options::PodOptions;
use crate::kinds::validate::resources::NOT_NEGATIVE;
use gantry_types::Document;
use gantry_types::k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// A count or duration that must not be negative.
pub fn not_negative(n: Option<i64>, path: &Path) -> Option<Error> {
    n.filter(|n| *n < 0).map(|n| Error::invalid(path, &n, NOT_NEGATIVE))
}

/// What the status of a replica set, of either kind, counts.
#[derive(Clone, Copy)]
pub struct Counts {
    pub replicas: i32,
    pub fully_labeled: Option<i32>,
    pub ready: Option<i32>,
    pub available: Option<i32>,
    /// Replication controllers do not count these.
    pub terminating: Option<i32>,
    pub observed_generation: Option<i64>,
}

impl Counts {
    /// No count is negative, nor above those it counts among.
    pub fn validate(&self) -> ErrorList {
        let path = Path::new("status");
        let among = [
            ("fullyLabeledReplicas", self.fully_labeled),
            ("readyReplicas", self.ready),
            ("availableReplicas", self.available),
        ];
        let whole = [("replicas", Some(self.replicas))];
        let mut errs = ErrorList::new();
        for (field, n) in whole.iter().chain(&among).chain(&[("terminatingReplicas", self.terminating)]) {
            errs.extend(not_negative(n.map(i64::from), &path.child(field)));
        }
        errs.extend(not_negative(self.observed_generation, &path.child("observedGeneration")));
        for (field, n) in among {
            let n = n.unwrap_or(0);
            if n > self.replicas {
                errs.push(Error::invalid(&path.child(field), &n, "cannot be greater than status.replicas"));
            }
        }
        let available = self.available.unwrap_or(0);
        if available > self.ready.unwrap_or(0) {
            let why = "cannot be greater than readyReplicas";
            errs.push(Error::invalid(&path.child("availableReplicas"), &available, why));
        }
        errs
    }
}

/// A count of pods, or a share of them.
pub fn count_or_percent(v: &IntOrString, path: &Path) -> ErrorList {
    match v {
        IntOrString::Int(n) => not_negative(Some(i64::from(*n)), path).into_iter().collect(),
        IntOrString::String(s) => invalid_each(path, s, names::percent(s)).collect(),
    }
}

/// The number of a percentage; `None` for anything else.
pub fn percent(v: &IntOrString) -> Option<i64> {
    match v {
        IntOrString::String(s) if names::percent(s).is_empty() => s.strip_suffix('%')?.parse().ok(),
        _ => None,
    }
}

/// The number of a count or percentage, 0 for what is neither.
pub fn amount(v: &IntOrString) -> i64 {
    percent(v).unwrap_or_else(|| match v {
        IntOrString::Int(n) => i64::from(*n),
        IntOrString::String(s) => s.parse().unwrap_or(0),
    })
}

/// No share is above all of them.
pub fn at_most_all(v: &IntOrString, path: &Path) -> Option<Error> {
    let above = percent(v).is_some_and(|p| p > 100);
    above.then(|| Error::invalid(path, v, "must not be greater than 100%"))
}

/// Whether a counter of collisions went back, or was dropped.
pub fn decremented(new: Option<i32>, old: Option<i32>) -> bool {
    old.is_some_and(|old| new.is_none_or(|new| new < old))
}

/// Lets the typed form tell a selector without terms from none.
pub fn mark_selector(object: &mut Document) {
    let selector: Option<BTreeMap<String, IgnoredAny>> = object.get_at(&["spec", "selector"]);
    if selector.is_some_and(|s| s.is_empty()) {
        object.set_at(&["spec", "selector", "matchLabels"], BTreeMap::<&str, &str>::new());
    }
}

/// The selector, unless absent; see [`mark_selector`].
pub fn present(s: &LabelSelector) -> Option<&LabelSelector> {
    (s.match_labels.is_some() || s.match_expressions.is_some()).then_some(s)
}

/// What a template may carry because the stored one did.
pub fn options(old: Option<&PodTemplateSpec>) -> PodOptions {
    let spec = old.and_then(|t| t.spec.as_ref());
    spec.map(|s| PodOptions::for_update(s, old.and_then(|t| t.metadata.as_ref()))).unwrap_or_default()
}

/// Drops fields behind gates that are off, unless the stored template has them.
pub fn drop_disabled(template: &mut PodTemplateSpec, old: Option<&PodTemplateSpec>) {
    if let Some(spec) = template.spec.as_mut() {
        pod::drop_disabled(spec, old.and_then(|t| t.spec.as_ref()));
    }
}

/// Names of workloads become names of pods, which are hostnames.
pub fn name_warning(metadata: &ObjectMeta) -> Option<String> {
    let messages = names::dns1123_label(text(&metadata.name));
    (!messages.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        )
    })
}

/// Names and images of a template's containers, as wide cells.
pub fn container_cells(template: Option<&PodTemplateSpec>) -> [Cell; 2] {
    let containers =
        template.and_then(|t| t.spec.as_ref()).map(|s| s.containers.as_slice()).unwrap_or_default();
    let join = |of: fn(&Container) -> &str| containers.iter().map(of).collect::<Vec<_>>().join(",").into();
    [join(|c| &c.name), join(|c| text(&c.image))]
}
