//! What eviction and the disruption controller agree on in a disruption budget's status.

use gantry_types::k8s_openapi::api::policy::v1::PodDisruptionBudgetStatus;
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use gantry_types::k8s_openapi::jiff::{SignedDuration, Timestamp};

/// The condition that says whether a disruption is allowed now.
pub const ALLOWED: &str = "DisruptionAllowed";
pub const SUFFICIENT: &str = "SufficientPods";
pub const INSUFFICIENT: &str = "InsufficientPods";
pub const SYNC_FAILED: &str = "SyncFailed";

/// How long an eviction that was allowed may take to delete its pod, before it no longer counts.
pub const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);

/// The condition of a status.
pub fn allowed(status: &PodDisruptionBudgetStatus) -> Option<&Condition> {
    status.conditions.iter().flatten().find(|c| c.type_ == ALLOWED)
}

fn wanted(status: &PodDisruptionBudgetStatus) -> (&'static str, &'static str) {
    match status.disruptions_allowed.unwrap_or(0) {
        n if n > 0 => ("True", SUFFICIENT),
        _ => ("False", INSUFFICIENT),
    }
}

/// Sets a condition; the time of transition stays when the status does.
pub fn set_condition(status: &mut PodDisruptionBudgetStatus, mut condition: Condition) {
    let all = status.conditions.get_or_insert_default();
    match all.iter_mut().find(|c| c.type_ == condition.type_) {
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time = old.last_transition_time.clone();
            }
            *old = condition;
        }
        None => all.push(condition),
    }
}

/// Brings the condition in line with the number of disruptions allowed.
pub fn settle_condition(status: &mut PodDisruptionBudgetStatus, now: Timestamp) {
    let (value, reason) = wanted(status);
    let condition = Condition {
        type_: ALLOWED.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: status.observed_generation.filter(|g| *g != 0),
        last_transition_time: Time(now),
    };
    set_condition(status, condition);
}

/// Whether the condition says what the number does, of this generation.
pub fn is_settled(status: &PodDisruptionBudgetStatus, generation: i64) -> bool {
    let (value, reason) = wanted(status);
    status.observed_generation.unwrap_or(0) == generation
        && allowed(status).is_some_and(|c| c.status == value && c.reason == reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_follows_the_number() {
        let at = |s: &str| s.parse::<Timestamp>().unwrap();
        let mut status = PodDisruptionBudgetStatus {
            disruptions_allowed: Some(1),
            observed_generation: Some(2),
            ..Default::default()
        };
        assert!(!is_settled(&status, 2));
        settle_condition(&mut status, at("2026-01-01T00:00:00Z"));
        assert!(is_settled(&status, 2) && !is_settled(&status, 3));
        settle_condition(&mut status, at("2026-01-02T00:00:00Z"));
        let time = |s: &PodDisruptionBudgetStatus| allowed(s).unwrap().last_transition_time.0;
        assert_eq!(time(&status), at("2026-01-01T00:00:00Z"));
        status.disruptions_allowed = Some(0);
        assert!(!is_settled(&status, 2));
        settle_condition(&mut status, at("2026-01-03T00:00:00Z"));
        assert_eq!(allowed(&status).unwrap().reason, INSUFFICIENT);
        assert_eq!(time(&status), at("2026-01-03T00:00:00Z"));
    }
}
