//! What a budget's status should say of its pods.

use gantry_machinery::disruption::{self, DELETION_TIMEOUT};
use gantry_reconcile::conditions;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The pods a budget selects, and what it takes to count them.
pub(super) struct Snapshot {
    pub pods: Vec<Arc<Pod>>,
    /// How many pods their owners want, each owner once; or why that cannot be told.
    pub expected: Result<i32, String>,
}

/// What to do about a budget.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// The status to write; `None` where it is right.
    pub status: Option<PodDisruptionBudgetStatus>,
    /// When an eviction that deleted nothing no longer counts.
    pub recheck: Option<Timestamp>,
    /// Pods that were to be deleted, and were not.
    pub undeleted: Vec<Arc<Pod>>,
    /// Why the budget could not be calculated.
    pub failed: Option<String>,
}

/// Whether the number of pods comes from their owners, and not from looking.
pub(super) fn asks_owners(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.as_ref();
    let min = spec.and_then(|s| s.min_available.as_ref());
    spec.is_some_and(|s| s.max_unavailable.is_some()) || matches!(min, Some(IntOrString::String(_)))
}

/// A number, or a share of `total`, rounded up.
fn scaled(value: &IntOrString, total: i32) -> Result<i32, String> {
    let text = match value {
        IntOrString::Int(n) => return Ok(*n),
        IntOrString::String(text) => text,
    };
    let percent = text.strip_suffix('%').and_then(|p| p.parse::<i64>().ok());
    let Some(percent) = percent else {
        return Err(format!(
            "invalid value for IntOrString: invalid value \"{text}\": cannot be parsed as percentage"
        ));
    };
    let whole = percent.saturating_mul(i64::from(total)).saturating_add(99).div_euclid(100);
    Ok(i32::try_from(whole).unwrap_or(i32::MAX))
}

/// How many pods there should be, and how many of them healthy.
fn wanted(budget: &PodDisruptionBudget, snapshot: &Snapshot) -> Result<(i32, i32), String> {
    let Some(spec) = &budget.spec else { return Ok((0, 0)) };
    if let Some(most) = &spec.max_unavailable {
        let expected = snapshot.expected.clone()?;
        return Ok((expected, (expected - scaled(most, expected)?).max(0)));
    }
    match &spec.min_available {
        None => Ok((0, 0)),
        Some(IntOrString::Int(n)) => Ok((i32::try_from(snapshot.pods.len()).unwrap_or(i32::MAX), *n)),
        Some(share) => {
            let expected = snapshot.expected.clone()?;
            Ok((expected, scaled(share, expected)?))
        }
    }
}

/// A selector as Go prints one.
pub(super) fn go_selector(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(k, v)| format!("{k}: {v},"));
    let terms = selector.match_expressions.iter().flatten().map(|r| {
        let values = r.values.as_deref().unwrap_or_default().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", r.key, r.operator)
    });
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{{}}},}}",
        labels.collect::<String>(),
        terms.collect::<String>()
    )
}

fn gone(at: &Time) -> Timestamp {
    at.0.checked_add(DELETION_TIMEOUT).unwrap_or(at.0)
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("")
}

pub(super) fn plan(budget: &PodDisruptionBudget, snapshot: &Snapshot, now: Timestamp) -> Plan {
    let old = budget.status.clone().unwrap_or_default();
    let (expected, desired) = match wanted(budget, snapshot) {
        Ok(counts) => counts,
        Err(why) => return failed(old, why, now),
    };
    let mut disrupted: BTreeMap<String, Time> = BTreeMap::new();
    let (mut recheck, mut undeleted) = (None::<Timestamp>, Vec::new());
    for pod in snapshot.pods.iter().filter(|p| p.metadata.deletion_timestamp.is_none()) {
        let Some(at) = old.disrupted_pods.as_ref().and_then(|pods| pods.get(name(pod))) else { continue };
        if gone(at) < now {
            undeleted.push(pod.clone());
        } else {
            recheck = Some(recheck.map_or(gone(at), |r| r.min(gone(at))));
            disrupted.insert(name(pod).to_owned(), at.clone());
        }
    }
    let healthy = |pod: &&Arc<Pod>| {
        pod.metadata.deletion_timestamp.is_none()
            && disrupted.get(name(pod)).is_none_or(|at| gone(at) <= now)
            && conditions::is_ready(pod)
    };
    let current = i32::try_from(snapshot.pods.iter().filter(healthy).count()).unwrap_or(i32::MAX);
    // Without pods nothing is allowed: the first ones must not go before they are counted.
    let allowed = if expected > 0 { (current - desired).max(0) } else { 0 };
    let generation = budget.metadata.generation.unwrap_or(0);
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(current),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: Some(generation),
        conditions: old.conditions.clone(),
    };
    let pods = |s: &PodDisruptionBudgetStatus| s.disrupted_pods.clone().unwrap_or_default();
    let counts = |s: &PodDisruptionBudgetStatus| {
        [s.current_healthy, s.desired_healthy, s.expected_pods, s.disruptions_allowed].map(|n| n.unwrap_or(0))
    };
    let right = counts(&old) == counts(&status)
        && pods(&old) == pods(&status)
        && disruption::is_settled(&old, generation);
    disruption::settle_condition(&mut status, now);
    Plan { status: (!right).then_some(status), recheck, undeleted, failed: None }
}

/// The safe side: nothing is allowed.
fn failed(old: PodDisruptionBudgetStatus, why: String, now: Timestamp) -> Plan {
    let mut status = old.clone();
    status.disruptions_allowed = Some(0);
    let condition = Condition {
        type_: disruption::ALLOWED.to_owned(),
        status: "False".to_owned(),
        reason: disruption::SYNC_FAILED.to_owned(),
        message: why.clone(),
        observed_generation: old.observed_generation.filter(|g| *g != 0),
        last_transition_time: Time(now),
    };
    disruption::set_condition(&mut status, condition);
    let changed = status != old;
    Plan { status: changed.then_some(status), recheck: None, undeleted: Vec::new(), failed: Some(why) }
}

/// When the mark of a disruption that did not come is taken back: `None` where there is none, or it is the
/// node's own.
pub(super) fn stale_at(pod: &Pod, timeout: jiff::SignedDuration) -> Option<Timestamp> {
    let condition = conditions::of(pod, "DisruptionTarget").filter(|c| c.status == "True")?;
    let ours = condition.reason.as_deref() != Some("TerminationByKubelet");
    if !ours || pod.metadata.deletion_timestamp.is_some() || conditions::is_terminal(pod) {
        return None;
    }
    condition.last_transition_time.as_ref()?.0.checked_add(timeout).ok()
}
