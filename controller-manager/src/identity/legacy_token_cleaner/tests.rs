use super::plan::{Verdict, account_of, tracked_enough, unused, verdict};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};

const PERIOD: SignedDuration = SignedDuration::from_hours(24 * 30);

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// `made=<day> [used=<day>] [invalid=<day>] [uid=<uid>] [type=<type>] [going]`
fn secret(text: &str) -> Secret {
    let after = |prefix: &str| text.split_whitespace().find_map(|w| w.strip_prefix(prefix));
    let mut labels = Vec::new();
    labels.extend(after("used=").map(|d| format!(r#""kubernetes.io/legacy-token-last-used":"{d}""#)));
    labels.extend(after("invalid=").map(|d| format!(r#""kubernetes.io/legacy-token-invalid-since":"{d}""#)));
    let (made, kind) = (after("made=").unwrap(), after("type=").unwrap_or("service-account-token"));
    let going = if text.contains("going") { r#","deletionTimestamp":"2026-11-20T00:00:00Z""# } else { "" };
    let (labels, uid) = (labels.join(","), after("uid=").unwrap_or(""));
    serde_json::from_str(&format!(
        r#"{{"metadata":{{"name":"t","namespace":"n","creationTimestamp":"{made}T12:00:00Z"{going},"labels":{{{labels}}},
            "annotations":{{"kubernetes.io/service-account.name":"a","kubernetes.io/service-account.uid":"{uid}"}}}},
            "type":"kubernetes.io/{kind}"}}"#
    ))
    .unwrap()
}

fn account(secrets: &str) -> ServiceAccount {
    serde_json::from_str(&format!(
        r#"{{"metadata":{{"name":"a","namespace":"n","uid":"u"}},"secrets":[{{"name":"{secrets}"}}]}}"#
    ))
    .unwrap()
}

#[test]
fn tracking_must_be_as_old_as_the_period() {
    let check = |since: &str, want: bool| {
        assert_eq!(tracked_enough(Some(since), now(), PERIOD), Ok(want), "{since}");
    };
    check("2026-10-20", true);
    check("2026-10-21", false);
    check("2026-11-20", false);
    assert!(tracked_enough(None, now(), PERIOD).unwrap_err().contains("since label"));
    for bad in ["", "today", "2026-1-1", "20261101"] {
        assert!(tracked_enough(Some(bad), now(), PERIOD).is_err(), "{bad}");
    }
}

#[test]
fn only_old_unused_tokens_made_by_the_system_matter() {
    let check = |text: &str, want: bool| {
        assert_eq!(unused(&secret(text), Some(&account("t")), now(), PERIOD), want, "{text}");
    };
    check("made=2026-01-01", true);
    check("made=2026-10-21", false);
    check("made=2026-01-01 used=2026-10-20", true);
    check("made=2026-01-01 used=2026-10-21", false);
    check("made=2026-01-01 used=soon", false);
    check("made=2026-01-01 uid=u", true);
    check("made=2026-01-01 uid=other", false);
    check("made=2026-01-01 type=other", false);
    check("made=2026-01-01 going", false);
    let old = secret("made=2026-01-01");
    assert_eq!(account_of(&old), Some("a"));
    assert!(!unused(&old, None, now(), PERIOD));
    assert!(!unused(&old, Some(&account("another")), now(), PERIOD), "made by hand");
}

#[test]
fn marked_first_and_deleted_a_period_later() {
    let check = |text: &str, want: Verdict| assert_eq!(verdict(&secret(text), now(), PERIOD), want, "{text}");
    check("made=2026-01-01", Verdict::Mark("2026-11-20".into()));
    check("made=2026-01-01 invalid=never", Verdict::Mark("2026-11-20".into()));
    check("made=2026-01-01 invalid=2026-10-21", Verdict::Keep);
    check("made=2026-01-01 invalid=2026-10-20", Verdict::Delete);
}
