//! `policy/v1` PodDisruptionBudget.

use crate::kinds::prelude::*;
use crate::kinds::template::{at_most_all, count_or_percent};
use crate::kinds::validate::resources::NOT_NEGATIVE;
use crate::kinds::validate::{meta, selector};
use crate::kinds::{core::equal, print};
use gantry_types::field::go_quote;
use gantry_types::k8s_openapi::api::policy::v1::{
    PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus,
};
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How many of the pods it selects may be gone at once by anybody's will.
pub struct PodDisruptionBudgets;

const REASON_MAX: usize = 1 << 10;
const MESSAGE_MAX: usize = 32 << 10;

fn is_condition_reason(reason: &str) -> bool {
    let bytes = reason.as_bytes();
    let ends = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(ends)
        && bytes.iter().all(|b| ends(b) || matches!(b, b',' | b':'))
}

fn condition(c: &Condition, path: &Path) -> ErrorList {
    let mut errs: ErrorList =
        invalid_each(&path.child("type"), &c.type_, names::qualified_name(&c.type_)).collect();
    if !matches!(c.status.as_str(), "True" | "False" | "Unknown") {
        errs.push(Error::not_supported(&path.child("status"), &c.status, &["False", "True", "Unknown"]));
    }
    if let Some(n) = c.observed_generation.filter(|n| *n < 0) {
        let why = "must be greater than or equal to zero";
        errs.push(Error::invalid(&path.child("observedGeneration"), &n, why));
    }
    let at = path.child("reason");
    if c.reason.is_empty() {
        errs.push(Error::required(&at, ""));
    } else if !is_condition_reason(&c.reason) {
        let why = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
        errs.push(Error::invalid(&at, &c.reason, why));
    }
    if c.reason.len() > REASON_MAX {
        errs.push(Error::too_long(&at, REASON_MAX));
    }
    if c.message.len() > MESSAGE_MAX {
        errs.push(Error::too_long(&path.child("message"), MESSAGE_MAX));
    }
    errs
}

/// The conditions of a status: each type once.
pub fn conditions(all: &[Condition], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, c) in all.iter().enumerate() {
        let at = path.index(i);
        if all[..i].iter().any(|earlier| earlier.type_ == c.type_) {
            errs.push(Error::duplicate(&at.child("type"), &c.type_));
        }
        errs.extend(condition(c, &at));
    }
    errs
}

/// As Go prints the internal type, which has no JSON names.
fn go_spec(spec: &PodDisruptionBudgetSpec) -> String {
    let amount = |v: &Option<IntOrString>| v.as_ref().map_or("null".to_owned(), meta::go_json);
    let policy = spec.unhealthy_pod_eviction_policy.as_deref();
    format!(
        "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
        amount(&spec.min_available),
        selector::go_json(spec.selector.as_ref()),
        amount(&spec.max_unavailable),
        policy.map_or("null".to_owned(), go_quote)
    )
}

fn validate_spec(spec: Option<&PodDisruptionBudgetSpec>, options: selector::Options) -> ErrorList {
    let Some(spec) = spec else { return ErrorList::new() };
    let path = Path::new("spec");
    let mut errs = ErrorList::new();
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errs.push(invalid_raw(&path, go_spec(spec), why));
    }
    for (name, amount) in [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)] {
        if let Some(amount) = amount {
            let at = path.child(name);
            errs.extend(count_or_percent(amount, &at));
            errs.extend(at_most_all(amount, &at));
        }
    }
    errs.extend(selector::label_selector(spec.selector.as_ref(), options, &path.child("selector")));
    let policy = text(&spec.unhealthy_pod_eviction_policy);
    if spec.unhealthy_pod_eviction_policy.is_some() && !matches!(policy, "AlwaysAllow" | "IfHealthyBudget") {
        let at = path.child("unhealthyPodEvictionPolicy");
        errs.push(Error::not_supported(&at, policy, &["AlwaysAllow", "IfHealthyBudget"]));
    }
    errs
}

fn validate_status(status: Option<&PodDisruptionBudgetStatus>) -> ErrorList {
    let Some(status) = status else { return ErrorList::new() };
    let path = Path::new("status");
    let mut errs = conditions(list(&status.conditions), &path.child("conditions"));
    for (name, n) in [
        ("disruptionsAllowed", status.disruptions_allowed),
        ("currentHealthy", status.current_healthy),
        ("desiredHealthy", status.desired_healthy),
        ("expectedPods", status.expected_pods),
    ] {
        if let Some(n) = n.filter(|n| *n < 0) {
            errs.push(Error::invalid(&path.child(name), &n, NOT_NEGATIVE));
        }
    }
    errs
}

fn amount_cell(amount: Option<&IntOrString>) -> Cell {
    match amount {
        None => "N/A".into(),
        Some(IntOrString::Int(n)) => n.to_string().into(),
        Some(IntOrString::String(s)) => s.as_str().into(),
    }
}

impl Strategy for PodDisruptionBudgets {
    type Kind = PodDisruptionBudget;

    fn default(&self, budget: &mut PodDisruptionBudget) {
        budget.spec.get_or_insert_default();
        let status = budget.status.get_or_insert_default();
        for count in [
            &mut status.current_healthy,
            &mut status.desired_healthy,
            &mut status.disruptions_allowed,
            &mut status.expected_pods,
        ] {
            count.get_or_insert(0);
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, budget: &mut PodDisruptionBudget) {
        budget.status = None;
        budget.metadata.generation = Some(1);
    }

    fn prepare_update(&self, cx: &Context<'_>, budget: &mut PodDisruptionBudget, old: &PodDisruptionBudget) {
        if cx.subresource == "status" {
            budget.spec.clone_from(&old.spec);
        } else {
            budget.status.clone_from(&old.status);
        }
    }

    fn spec_changed(&self, budget: &PodDisruptionBudget, old: &PodDisruptionBudget) -> Option<bool> {
        Some(!equal::values(&budget.spec, &old.spec))
    }

    fn validate_create(&self, _cx: &Context<'_>, budget: &PodDisruptionBudget) -> ErrorList {
        validate_spec(budget.spec.as_ref(), selector::Options::default())
    }

    fn validate_update(
        &self,
        cx: &Context<'_>,
        budget: &PodDisruptionBudget,
        old: &PodDisruptionBudget,
    ) -> ErrorList {
        if cx.subresource == "status" {
            return validate_status(budget.status.as_ref());
        }
        let selected = old.spec.as_ref().and_then(|s| s.selector.as_ref());
        let strict = selector::Options::default();
        let allow_invalid_values = !selector::label_selector(selected, strict, &Path::root()).is_empty();
        validate_spec(budget.spec.as_ref(), selector::Options { allow_invalid_values })
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, budget: &PodDisruptionBudget, now: Timestamp) -> Vec<Cell> {
        let spec = budget.spec.as_ref();
        vec![
            print::name(&budget.metadata),
            amount_cell(spec.and_then(|s| s.min_available.as_ref())),
            amount_cell(spec.and_then(|s| s.max_unavailable.as_ref())),
            budget.status.as_ref().and_then(|s| s.disruptions_allowed).unwrap_or(0).into(),
            print::age(budget.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, _name: &str, _prefix: bool) -> Vec<String> {
        // Any path segment: upstream asks no more of this kind.
        Vec::new()
    }
}
