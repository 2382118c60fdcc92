//! Which failures of pods count, and which successes suffice: `podFailurePolicy` and `successPolicy`.

use super::indexes;
use crate::kinds::prelude::*;
use crate::kinds::template::not_negative;
use gantry_types::k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule, SuccessPolicy, SuccessPolicyRule,
};
use std::collections::BTreeSet;

const RULES: usize = 20;
const EXIT_CODES: usize = 255;
const PATTERNS: usize = 20;
const INDEXES: usize = 64 * 1024;

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

/// An error about a value that is not shown.
pub fn invalid_unshown(path: &Path, detail: &str) -> Error {
    Error { kind: ErrorType::Invalid, field: path.to_string(), value: None, detail: detail.to_owned() }
}

/// One of a set of words: required, and known.
fn one_of(value: &str, known: &[&str], path: &Path) -> Option<Error> {
    if value.is_empty() {
        let quoted: Vec<String> = known.iter().map(|k| format!("\"{k}\"")).collect();
        return Some(Error::required(path, format!("valid values: [{}]", quoted.join(" "))));
    }
    (!known.contains(&value)).then(|| Error::not_supported(path, value, known))
}

pub fn failure(policy: &PodFailurePolicy, spec: &JobSpec, path: &Path) -> ErrorList {
    let path = path.child("rules");
    let mut errs = ErrorList::new();
    if policy.rules.len() > RULES {
        errs.push(Error::too_many(&path, policy.rules.len(), RULES));
    }
    let pod = spec.template.spec.as_ref();
    let init = pod.map(|p| list(&p.init_containers)).unwrap_or_default();
    let containers: BTreeSet<&str> =
        pod.into_iter().flat_map(|p| p.containers.iter()).chain(init).map(|c| c.name.as_str()).collect();
    for (i, rule) in policy.rules.iter().enumerate() {
        errs.extend(failure_rule(rule, spec, &containers, &path.index(i)));
    }
    errs
}

fn failure_rule(
    rule: &PodFailurePolicyRule,
    spec: &JobSpec,
    containers: &BTreeSet<&str>,
    path: &Path,
) -> ErrorList {
    let mut errs = ErrorList::new();
    let at = path.child("action");
    if rule.action == "FailIndex" && spec.backoff_limit_per_index.is_none() {
        errs.push(Error::invalid(&at, &rule.action, "requires the backoffLimitPerIndex to be set"));
    }
    errs.extend(one_of(&rule.action, ACTIONS, &at));
    let patterns = list(&rule.on_pod_conditions);
    if let Some(codes) = &rule.on_exit_codes {
        errs.extend(exit_codes(codes, containers, &path.child("onExitCodes")));
    }
    errs.extend(conditions(patterns, &path.child("onPodConditions")));
    match (rule.on_exit_codes.is_some(), !patterns.is_empty()) {
        (true, true) => errs
            .push(invalid_unshown(path, "specifying both OnExitCodes and OnPodConditions is not supported")),
        (false, false) => {
            errs.push(invalid_unshown(path, "specifying one of OnExitCodes and OnPodConditions is required"))
        }
        _ => {}
    }
    errs
}

fn conditions(patterns: &[PodFailurePolicyOnPodConditionsPattern], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if patterns.len() > PATTERNS {
        errs.push(Error::too_many(path, patterns.len(), PATTERNS));
    }
    for (i, p) in patterns.iter().enumerate() {
        let at = path.index(i);
        errs.extend(invalid_each(&at.child("type"), &p.type_, names::qualified_name(&p.type_)));
        errs.extend(one_of(text(&p.status), STATUSES, &at.child("status")));
    }
    errs
}

fn exit_codes(
    codes: &PodFailurePolicyOnExitCodesRequirement,
    containers: &BTreeSet<&str>,
    path: &Path,
) -> ErrorList {
    let mut errs = ErrorList::new();
    errs.extend(one_of(&codes.operator, OPERATORS, &path.child("operator")));
    if let Some(name) = codes.container_name.as_ref().filter(|n| !containers.contains(n.as_str())) {
        let why = "must be one of the container or initContainer names in the pod template";
        errs.push(Error::invalid(&path.child("containerName"), name, why));
    }
    let at = path.child("values");
    let values = &codes.values;
    if values.is_empty() {
        errs.push(Error::invalid(&at, values, "at least one value is required"));
    } else if values.len() > EXIT_CODES {
        errs.push(Error::too_many(&at, values.len(), EXIT_CODES));
    }
    let mut seen = BTreeSet::new();
    for (i, code) in values.iter().enumerate() {
        if codes.operator == "In" && *code == 0 {
            errs.push(Error::invalid(&at.index(i), code, "must not be 0 for the In operator"));
        }
        if !seen.insert(code) {
            errs.push(Error::duplicate(&at.index(i), code));
        }
    }
    if !values.is_sorted() {
        errs.push(Error::invalid(&at, values, "must be ordered"));
    }
    errs
}

pub fn success(policy: &SuccessPolicy, completions: i32, path: &Path) -> ErrorList {
    let path = path.child("rules");
    let mut errs = ErrorList::new();
    if policy.rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errs.push(Error::required(&path, why));
    }
    if policy.rules.len() > RULES {
        errs.push(Error::too_many(&path, policy.rules.len(), RULES));
    }
    for (i, rule) in policy.rules.iter().enumerate() {
        errs.extend(success_rule(rule, completions, &path.index(i)));
    }
    errs
}

fn success_rule(rule: &SuccessPolicyRule, completions: i32, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errs.push(Error::required(path, why));
    }
    let mut named = 0;
    if let Some(text) = &rule.succeeded_indexes {
        let at = path.child("succeededIndexes");
        if text.len() > INDEXES {
            errs.push(Error::too_long(&at, INDEXES));
        }
        match indexes::count(text, completions) {
            Ok(count) => named = count,
            Err(why) => {
                errs.push(Error::invalid(&at, text, format!("error parsing succeededIndexes: {why}")));
            }
        }
    }
    if let Some(count) = rule.succeeded_count {
        let at = path.child("succeededCount");
        errs.extend(not_negative(Some(count.into()), &at));
        let mut at_most = |limit: i32, of: &str| {
            if count > limit {
                let why = format!("must be less than or equal to {limit} (the number of {of})");
                errs.push(Error::invalid(&at, &count, why));
            }
        };
        at_most(completions, "specified completions");
        if rule.succeeded_indexes.is_some() {
            at_most(named, "indexes in the specified succeededIndexes field");
        }
    }
    errs
}
