use super::ledger::{Pending, UNSEEN};
use super::plan::{Plan, Snapshot, counted, plan, taken};
use gantry_machinery::quota::{Amounts, format, parse};
use gantry_types::GroupResource;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use std::sync::Arc;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn quota(json: &str) -> ResourceQuota {
    serde_json::from_str(json).unwrap()
}

fn pods(all: &[&str]) -> Vec<Arc<Pod>> {
    all.iter().map(|json| Arc::new(serde_json::from_str(json).unwrap())).collect()
}

const POD: &str = r#"{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"500m"}}}]}}"#;
const ENDED: &str = r#"{"spec":{"containers":[]},"status":{"phase":"Succeeded"}}"#;

fn amounts(list: &[(&str, &str)]) -> Amounts {
    list.iter().map(|(n, q)| ((*n).to_owned(), q.parse().unwrap())).collect()
}

/// `spec.hard` and `status.used` (empty: no status) to what is written: `hard used`, or nothing.
fn check(hard: &str, used: &str, snapshot: &Snapshot, want: &str) {
    let status = match used {
        "" => String::new(),
        used => format!(r#","status":{{"hard":{hard},"used":{used}}}"#),
    };
    let found = plan(&quota(&format!(r#"{{"spec":{{"hard":{hard}}}{status}}}"#)), snapshot, now());
    let text = found
        .status
        .map(|s| format!("{} {}", format(&parse(s.hard.as_ref())), format(&parse(s.used.as_ref()))));
    assert_eq!(text.unwrap_or_default(), want, "{hard} {used}");
}

#[test]
fn use_is_counted() {
    let two = Snapshot { pods: pods(&[POD, POD, ENDED]), ..Snapshot::default() };
    check(r#"{"pods":"5","requests.cpu":"2"}"#, "", &two, "pods=5,requests.cpu=2 pods=2,requests.cpu=1");
    check(r#"{"pods":"5"}"#, r#"{"pods":"2"}"#, &two, "");
    check(
        r#"{"pods":"5","count/pods":"9"}"#,
        r#"{"pods":"2","count/pods":"2"}"#,
        &two,
        "count/pods=9,pods=5 count/pods=3,pods=2",
    );
    // What cannot be counted stays as it was, what is not limited goes.
    check(
        r#"{"services":"5","secrets":"3","nothing.known/x":"1"}"#,
        r#"{"services":"4","pods":"1"}"#,
        &two,
        "nothing.known/x=1,secrets=3,services=5 services=4",
    );
    let counts = [(GroupResource::new("", "secrets"), 2), (GroupResource::new("apps", "deployments"), 1)];
    let counted =
        Snapshot { counts: counts.into_iter().collect(), services: Some(Vec::new()), ..Snapshot::default() };
    check(
        r#"{"secrets":"3","count/secrets":"3","count/deployments.apps":"1","services":"1"}"#,
        "",
        &counted,
        "count/deployments.apps=1,count/secrets=3,secrets=3,services=1 count/deployments.apps=1,count/secrets=2,secrets=2,services=0",
    );
}

#[test]
fn what_was_just_taken_stays_taken() {
    let one = |recent: &[(&str, &str)]| Snapshot {
        pods: pods(&[POD]),
        recent: amounts(recent),
        ..Snapshot::default()
    };
    check(r#"{"pods":"5"}"#, r#"{"pods":"3"}"#, &one(&[]), "pods=5 pods=1");
    check(r#"{"pods":"5"}"#, r#"{"pods":"3"}"#, &one(&[("pods", "1")]), "pods=5 pods=2");
    check(r#"{"pods":"5"}"#, r#"{"pods":"3"}"#, &one(&[("pods", "7")]), "");
    // More than was taken is counted at once, and not twice.
    check(r#"{"pods":"5"}"#, r#"{"pods":"0"}"#, &one(&[("pods", "1")]), "pods=5 pods=1");
}

#[test]
fn pods_overdue_are_looked_at_in_time() {
    let going = r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:10Z","deletionGracePeriodSeconds":30},"spec":{"containers":[]}}"#;
    let found = plan(
        &quota(r#"{"spec":{"hard":{"pods":"1"}},"status":{"hard":{"pods":"1"},"used":{"pods":"1"}}}"#),
        &Snapshot { pods: pods(&[going]), ..Snapshot::default() },
        now(),
    );
    let due = "2026-01-01T00:00:40Z".parse().ok();
    assert_eq!(found, Plan { status: None, due });
}

#[test]
fn names_say_what_is_counted() {
    let check = |name: &str, want: Option<(&str, &str)>| {
        let found = counted(name);
        assert_eq!(found.as_ref().map(|r| (&*r.group, &*r.resource)), want, "{name}");
    };
    check("count/deployments.apps", Some(("apps", "deployments")));
    check("count/widgets.example.com", Some(("example.com", "widgets")));
    check("secrets", Some(("", "secrets")));
    check("count/pods", None);
    check("services", None);
    check("cpu", None);
}

#[test]
fn growth_is_what_was_taken() {
    let at = |used: &str| quota(&format!(r#"{{"status":{{"used":{used}}}}}"#));
    let found = taken(&at(r#"{"pods":"1","cpu":"2"}"#), &at(r#"{"pods":"3","cpu":"1","memory":"1"}"#));
    assert_eq!(format(&found), "pods=2");
}

#[test]
fn what_was_taken_is_pending_until_seen() {
    let start = std::time::Instant::now();
    let mut pending = Pending::default();
    pending.take(start, amounts(&[("pods", "1"), ("cpu", "2")]));
    pending.take(start + UNSEEN / 2, amounts(&[("pods", "1")]));
    assert_eq!(format(&pending.unseen(start).0), "cpu=2,pods=2");
    pending.seen(&amounts(&[("pods", "1"), ("memory", "7")]));
    assert_eq!(format(&pending.unseen(start).0), "cpu=2,pods=1");
    // More than was taken leaves nothing owed.
    pending.seen(&amounts(&[("cpu", "3")]));
    assert_eq!(pending.unseen(start + UNSEEN), (amounts(&[("pods", "1")]), Some(UNSEEN / 2)));
    assert_eq!(pending.unseen(start + UNSEEN * 2), (Amounts::new(), None));
}
