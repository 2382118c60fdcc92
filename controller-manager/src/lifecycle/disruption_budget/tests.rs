use super::plan::{Plan, Snapshot, asks_owners, go_selector, plan, stale_at};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use std::sync::Arc;

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

fn budget(spec: &str, status: &str) -> PodDisruptionBudget {
    let json = format!(r#"{{"metadata":{{"name":"b","generation":3}},"spec":{spec},"status":{status}}}"#);
    serde_json::from_str(&json).unwrap()
}

/// `+` ready, `-` not, `x` ready and going; named `p0`, `p1`, ….
fn pods(states: &str) -> Vec<Arc<Pod>> {
    let one = |(i, state): (usize, char)| {
        let ready = if state == '-' { "False" } else { "True" };
        let going = if state == 'x' { r#","deletionTimestamp":"2026-01-01T00:00:00Z""# } else { "" };
        let json = format!(
            r#"{{"metadata":{{"name":"p{i}"{going}}},"status":{{"conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
        );
        Arc::new(serde_json::from_str(&json).unwrap())
    };
    states.chars().enumerate().map(one).collect()
}

fn planned(spec: &str, status: &str, states: &str, expected: Result<i32, &str>) -> Plan {
    let snapshot = Snapshot { pods: pods(states), expected: expected.map_err(str::to_owned) };
    plan(&budget(spec, status), &snapshot, now())
}

/// Allowed, healthy of desired, expected.
fn check(spec: &str, states: &str, expected: i32, want: &str) {
    let status = planned(spec, "{}", states, Ok(expected)).status.unwrap();
    let n = |v: Option<i32>| v.unwrap();
    let text = format!(
        "{} {}/{} of {}",
        n(status.disruptions_allowed),
        n(status.current_healthy),
        n(status.desired_healthy),
        n(status.expected_pods)
    );
    assert_eq!(text, want, "{spec} {states}");
    assert_eq!(status.observed_generation, Some(3));
    let condition = &status.conditions.unwrap()[0];
    let allowed = n(status.disruptions_allowed) > 0;
    assert_eq!(condition.status == "True", allowed);
    assert_eq!(condition.reason, if allowed { "SufficientPods" } else { "InsufficientPods" });
}

#[test]
fn numbers_and_shares() {
    check(r#"{"minAvailable":2}"#, "+++", 9, "1 3/2 of 3");
    check(r#"{"minAvailable":2}"#, "+-x", 9, "0 1/2 of 3");
    check(r#"{"minAvailable":0}"#, "", 9, "0 0/0 of 0");
    check(r#"{"minAvailable":"50%"}"#, "+++", 5, "0 3/3 of 5");
    check(r#"{"minAvailable":"50%"}"#, "+++++", 5, "2 5/3 of 5");
    check(r#"{"maxUnavailable":1}"#, "+++", 3, "1 3/2 of 3");
    check(r#"{"maxUnavailable":"30%"}"#, "++++", 4, "2 4/2 of 4");
    check(r#"{"maxUnavailable":9}"#, "+", 3, "1 1/0 of 3");
    check(r#"{"maxUnavailable":"100%"}"#, "", 0, "0 0/0 of 0");
    check("{}", "+", 1, "0 1/0 of 0");
}

#[test]
fn what_is_right_is_left() {
    let right = r#"{"currentHealthy":2,"desiredHealthy":1,"expectedPods":2,"disruptionsAllowed":1,"observedGeneration":3,"conditions":[{"type":"DisruptionAllowed","status":"True","reason":"SufficientPods","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}"#;
    assert_eq!(planned(r#"{"minAvailable":1}"#, right, "++", Ok(0)).status, None);
    assert!(planned(r#"{"minAvailable":2}"#, right, "++", Ok(0)).status.is_some());
    let old = right.replace(r#""observedGeneration":3"#, r#""observedGeneration":2"#);
    assert!(planned(r#"{"minAvailable":1}"#, &old, "++", Ok(0)).status.is_some());
}

#[test]
fn pods_being_evicted_do_not_count() {
    let status = r#"{"disruptedPods":{"p0":"2026-01-01T00:09:00Z","p1":"2026-01-01T00:00:00Z","gone":"2026-01-01T00:09:59Z"}}"#;
    let found = planned(r#"{"minAvailable":1}"#, status, "+++", Ok(0));
    let new = found.status.unwrap();
    assert_eq!((new.current_healthy, new.disruptions_allowed), (Some(2), Some(1)));
    assert_eq!(new.disrupted_pods.unwrap().keys().collect::<Vec<_>>(), ["p0"]);
    assert_eq!(found.recheck, "2026-01-01T00:11:00Z".parse().ok());
    assert_eq!(found.undeleted.len(), 1);
}

#[test]
fn what_cannot_be_told_allows_nothing() {
    let found = planned(r#"{"maxUnavailable":1}"#, r#"{"disruptionsAllowed":1}"#, "+", Err("no owner"));
    let status = found.status.unwrap();
    let condition = &status.conditions.unwrap()[0];
    assert_eq!(status.disruptions_allowed, Some(0));
    assert_eq!((&*condition.reason, &*condition.message), ("SyncFailed", "no owner"));
    assert_eq!(found.failed.as_deref(), Some("no owner"));
    // A number of pods asks no owner.
    assert!(planned(r#"{"minAvailable":1}"#, "{}", "+", Err("no owner")).failed.is_none());
    assert!(asks_owners(&budget(r#"{"minAvailable":"1%"}"#, "{}")));
    assert!(!asks_owners(&budget(r#"{"minAvailable":1}"#, "{}")));
}

#[test]
fn disruptions_that_did_not_come_are_taken_back() {
    let check = |reason: &str, going: &str, want: Option<&str>| {
        let json = format!(
            r#"{{"metadata":{{{going}}},"status":{{"conditions":[{{"type":"DisruptionTarget","status":"True","reason":"{reason}","lastTransitionTime":"2026-01-01T00:00:00Z"}}]}}}}"#
        );
        let pod: Pod = serde_json::from_str(&json).unwrap();
        let at = stale_at(&pod, SignedDuration::from_mins(2));
        assert_eq!(at, want.map(|t| t.parse().unwrap()));
    };
    check("EvictionByEvictionAPI", "", Some("2026-01-01T00:02:00Z"));
    check("TerminationByKubelet", "", None);
    check("EvictionByEvictionAPI", r#""deletionTimestamp":"2026-01-01T00:00:00Z""#, None);
}

#[test]
fn selectors_read_as_go_prints_them() {
    let json = r#"{"matchLabels":{"a":"b","c":"d"},"matchExpressions":[{"key":"k","operator":"In","values":["x","y"]}]}"#;
    assert_eq!(
        go_selector(&serde_json::from_str(json).unwrap()),
        "&LabelSelector{MatchLabels:map[string]string{a: b,c: d,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}"
    );
}
