use super::plan::{Pending, Plan, Record, digest, plan, record};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

/// `name=digest …`; a name alone is of an object that is not there.
fn read(text: &str) -> Record {
    let one = |word: &str| {
        let (name, digest) = word.split_once('=').unwrap_or((word, ""));
        (name.to_owned(), digest.to_owned())
    };
    text.split_whitespace().map(one).collect()
}

fn shown(plan: &Plan) -> String {
    let list =
        |r: &Record| r.iter().map(|(name, digest)| format!("{name}={digest}")).collect::<Vec<_>>().join(" ");
    match plan {
        Plan::Nothing => "nothing".into(),
        Plan::Forget => "forget".into(),
        Plan::Record(r) => format!("record {}", list(r)),
        Plan::Wait(left) => format!("wait {}", left.as_secs()),
        Plan::Roll { record, changed, .. } => format!("roll {} for {}", list(record), changed.join(",")),
    }
}

/// Looks once, and again when it was told to wait.
fn check(asked: bool, seen: Option<&str>, current: &str, expected: &[&str]) {
    let seen = seen.map(|s| serde_json::to_string(&read(s)).unwrap());
    let (mut pending, mut now) = (None, at(0));
    for expected in expected {
        let found = plan(asked, seen.as_deref(), read(current), &mut pending, now);
        assert_eq!(shown(&found), *expected, "{current}");
        if let Plan::Wait(left) = found {
            now = now.checked_add(left).unwrap();
        }
    }
}

#[test]
fn only_what_pods_have_seen_and_changed_rolls() {
    check(false, None, "c=1", &["nothing"]);
    check(false, Some("c=1"), "c=2", &["forget"]);
    check(true, None, "c=1 s=2", &["record c=1 s=2"]);
    check(true, Some("c=1 s=2"), "c=1 s=2", &["nothing"]);
    check(true, Some("c=1 s=2"), "c=1 s=3", &["wait 3", "roll c=1 s=3 for s"]);
    // The template took up one and dropped another: it rolls for that itself.
    check(true, Some("c=1 s=2"), "c=1 new=5", &["record c=1 new=5"]);
    // Gone: pods keep what they have. Back as it was: nothing happened.
    check(true, Some("c=1"), "c", &["nothing"]);
    // An optional one that was not there at first.
    check(true, Some("c="), "c=1", &["wait 3", "roll c=1 for c"]);
}

#[test]
fn a_record_nobody_can_read_is_made_anew() {
    let found = plan(true, Some("nonsense"), read("c=1"), &mut None, at(0));
    assert_eq!(shown(&found), "record c=1");
}

#[test]
fn changes_that_come_together_roll_once() {
    let seen = serde_json::to_string(&read("c=1")).unwrap();
    let mut pending: Option<Pending> = None;
    let mut look =
        |current: &str, second| shown(&plan(true, Some(&seen), read(current), &mut pending, at(second)));
    assert_eq!(look("c=2", 0), "wait 3");
    assert_eq!(look("c=3", 2), "wait 3");
    assert_eq!(look("c=3", 4), "wait 1");
    // Changed back in time.
    assert_eq!(look("c=1", 4), "nothing");
    assert_eq!(look("c=4", 5), "wait 3");
    assert_eq!(look("c=4", 8), "roll c=4 for c");
    // It never settles.
    for second in (10..40).step_by(2) {
        assert!(look(&format!("c={second}"), second).starts_with("wait"), "{second}");
    }
    assert_eq!(look("c=99", 40), "roll c=99 for c");
}

#[test]
fn a_record_names_what_containers_see() {
    let spec: PodSpec = serde_json::from_str(
        r#"{"imagePullSecrets":[{"name":"pull"}],"containers":[{"name":"c","envFrom":[{"configMapRef":{"name":"env"}}]}],
            "volumes":[{"name":"v","secret":{"secretName":"key"}}]}"#,
    )
    .unwrap();
    let found = record(&spec, |name| (name == "env").then(|| "1".into()), |_| None);
    assert_eq!(found, read("ConfigMap/env=1 Secret/key"));
    let (a, b) = (digest(&read("x=1")), digest(&read("x=2")));
    assert!(a != b && a.len() == 16, "{a} {b}");
}
