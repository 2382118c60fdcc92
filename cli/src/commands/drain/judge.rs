//! Which pods of a node may go.

use gantry_types::Document;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::time::parse_rfc3339;
use std::collections::BTreeMap;

/// Begins the trouble with a DaemonSet that could not be looked up, as against one that is gone.
pub const UNKNOWN: &str = "\u{0}";

/// What drain does with a pod.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Evict,
    Skip,
    /// Says so; and it goes, or stays.
    Warn {
        why: String,
        go: bool,
    },
    Refuse(String),
}

#[derive(Clone, Copy, Default)]
pub struct Policy {
    pub force: bool,
    pub ignore_daemon_sets: bool,
    pub delete_local: bool,
    /// Seconds after its end is due until a pod is no longer waited for; 0: never.
    pub skip_deleted: i64,
}

#[derive(serde::Deserialize)]
struct Owner {
    kind: String,
    name: String,
    #[serde(default)]
    controller: bool,
}

fn controller(pod: &Document) -> Option<Owner> {
    let owners: Vec<Owner> = pod.get_at(&["metadata", "ownerReferences"]).unwrap_or_default();
    owners.into_iter().find(|o| o.controller)
}

/// The DaemonSet a living pod belongs to.
pub fn daemon_set(pod: &Document) -> Option<String> {
    controller(pod).filter(|c| c.kind == "DaemonSet" && !finished(pod)).map(|c| c.name)
}

fn finished(pod: &Document) -> bool {
    matches!(pod.str_at(&["status", "phase"]), Some("Succeeded" | "Failed"))
}

/// Whether a pod should long have gone.
pub fn overdue(deletion: &str, limit: i64, now: Timestamp) -> bool {
    limit > 0 && parse_rfc3339(deletion).is_ok_and(|at| now.duration_since(at).as_secs() > limit)
}

/// What to do with a pod; `orphaned` is what finding its DaemonSet failed with.
pub fn judge(pod: &Document, p: Policy, orphaned: Option<&str>, now: Timestamp) -> Verdict {
    let warn = |why: &str, go| Verdict::Warn { why: why.to_owned(), go };
    if overdue(pod.meta_str("deletionTimestamp"), p.skip_deleted, now) {
        return Verdict::Skip;
    }
    if daemon_set(pod).is_some() {
        match orphaned {
            Some(why) => match why.strip_prefix(UNKNOWN) {
                Some(why) => return Verdict::Refuse(why.to_owned()),
                None if !p.force => return Verdict::Refuse(why.to_owned()),
                None => {}
            },
            None if p.ignore_daemon_sets => return warn("ignoring DaemonSet-managed Pods", false),
            None => {
                return Verdict::Refuse(
                    "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)".to_owned(),
                );
            }
        }
    }
    if pod.annotation("kubernetes.io/config.mirror").is_some() {
        return Verdict::Skip;
    }
    if finished(pod) {
        return Verdict::Evict;
    }
    let volumes: Vec<BTreeMap<String, serde::de::IgnoredAny>> =
        pod.get_at(&["spec", "volumes"]).unwrap_or_default();
    if volumes.iter().any(|v| v.contains_key("emptyDir")) && !p.delete_local {
        let why = "Pods with local storage (use --delete-emptydir-data to override)";
        return Verdict::Refuse(why.to_owned());
    }
    match controller(pod) {
        Some(_) => Verdict::Evict,
        None if p.force => warn("deleting Pods that declare no controller", true),
        None => Verdict::Refuse("Pods that declare no controller (use --force to override)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(json: &str) -> Document {
        Document::from_json(json.as_bytes()).unwrap()
    }

    fn owned(kind: &str, rest: &str) -> String {
        format!(
            r#"{{"metadata":{{"ownerReferences":[{{"kind":"{kind}","name":"o","controller":true}}]}}{rest}}}"#
        )
    }

    #[test]
    fn pods_are_judged() {
        let check = |pod: &str, force: bool, expected: &str| {
            let p = Policy { force, ignore_daemon_sets: force, ..Policy::default() };
            let got = format!("{:?}", judge(&document(pod), p, None, Timestamp::UNIX_EPOCH));
            assert!(got.starts_with(expected), "{pod}: {got}");
        };
        check("{}", false, "Refuse(\"Pods that declare no controller");
        check("{}", true, "Warn { why: \"deleting Pods that declare no controller\", go: true");
        check(r#"{"status":{"phase":"Failed"}}"#, false, "Evict");
        check(&owned("DaemonSet", ""), false, "Refuse(\"DaemonSet");
        check(&owned("DaemonSet", ""), true, "Warn { why: \"ignoring DaemonSet-managed Pods\", go: false");
        check(&owned("DaemonSet", r#","status":{"phase":"Succeeded"}"#), false, "Evict");
        check(&owned("ReplicaSet", ""), false, "Evict");
        let local = r#","spec":{"volumes":[{"name":"a","emptyDir":{}}]}"#;
        check(&owned("ReplicaSet", local), false, "Refuse(\"Pods with local");
        check(r#"{"metadata":{"annotations":{"kubernetes.io/config.mirror":"x"}}}"#, false, "Skip");
    }

    #[test]
    fn orphans_of_a_daemon_set_go_by_force() {
        let check = |trouble: &str, force: bool, expected: Verdict| {
            let p = Policy { force, ..Policy::default() };
            let pod = document(&owned("DaemonSet", ""));
            assert_eq!(judge(&pod, p, Some(trouble), Timestamp::UNIX_EPOCH), expected, "{trouble}");
        };
        check("gone", false, Verdict::Refuse("gone".into()));
        check("gone", true, Verdict::Evict);
        check(&format!("{UNKNOWN}no"), true, Verdict::Refuse("no".into()));
    }

    #[test]
    fn pods_long_due_are_left_alone() {
        let pod = document(r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}"#);
        let check = |skip: i64, now: &str, expected: bool| {
            let p = Policy { force: true, skip_deleted: skip, ..Policy::default() };
            let got = judge(&pod, p, None, now.parse().unwrap()) == Verdict::Skip;
            assert_eq!(got, expected, "{skip} {now}");
        };
        check(10, "2026-01-01T00:00:11Z", true);
        check(10, "2026-01-01T00:00:10Z", false);
        check(0, "2026-01-02T00:00:00Z", false);
    }
}
