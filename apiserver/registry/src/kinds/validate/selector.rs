//! Label selectors.

use super::meta;
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use serde::Serialize;
use std::collections::BTreeMap;

/// What stored objects of older versions may still carry.
#[derive(Clone, Copy, Default)]
pub struct Options {
    pub allow_invalid_values: bool,
}

pub fn label_selector(selector: Option<&LabelSelector>, options: Options, path: &Path) -> ErrorList {
    let Some(s) = selector else { return ErrorList::new() };
    let mut errs = meta::labels(s.match_labels.as_ref(), &path.child("matchLabels"));
    let at = path.child("matchExpressions");
    for (i, r) in list(&s.match_expressions).iter().enumerate() {
        errs.extend(requirement(r, options, &at.index(i)));
    }
    errs
}

fn requirement(r: &LabelSelectorRequirement, options: Options, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let values = list(&r.values);
    let at = path.child("values");
    match r.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errs.push(Error::required(&at, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errs.push(Error::forbidden(
                &at,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ));
        }
        "Exists" | "DoesNotExist" => {}
        other => {
            errs.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator"));
        }
    }
    errs.extend(invalid_each(&path.child("key"), &r.key, names::qualified_name(&r.key)));
    if !options.allow_invalid_values {
        for (i, v) in values.iter().enumerate() {
            errs.extend(invalid_each(&at.index(i), v, names::label_value(v)));
        }
    }
    errs
}

/// Whether a stored selector has values today's rule would refuse.
pub fn has_invalid_values(selector: Option<&LabelSelector>) -> bool {
    let requirements = selector.map(|s| list(&s.match_expressions)).unwrap_or_default();
    requirements.iter().flat_map(|r| list(&r.values)).any(|v| !names::label_value(v).is_empty())
}

pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && list(&selector.match_expressions).is_empty()
}

/// Whether the selector selects an object with these labels; unreadable selectors select nothing.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    selector.match_labels.iter().flatten().all(|(k, v)| labels.get(k) == Some(v))
        && list(&selector.match_expressions).iter().all(|r| {
            let value = labels.get(&r.key);
            let in_set = value.is_some_and(|v| list(&r.values).contains(v));
            match r.operator.as_str() {
                "In" => in_set,
                "NotIn" => !in_set,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// The selector as Go's encoder prints it.
pub fn go_json(selector: Option<&LabelSelector>) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct GoSelector<'a> {
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        match_labels: BTreeMap<&'a str, &'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        match_expressions: Vec<&'a LabelSelectorRequirement>,
    }
    selector.map_or_else(
        || "null".to_owned(),
        |s| {
            meta::go_json(&GoSelector {
                match_labels: s
                    .match_labels
                    .iter()
                    .flatten()
                    .map(|(k, v)| (k.as_str(), v.as_str()))
                    .collect(),
                match_expressions: list(&s.match_expressions).iter().collect(),
            })
        },
    )
}
