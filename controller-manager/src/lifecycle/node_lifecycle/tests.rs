use super::plan::{Permit, adds_no_execute, labels, taints, unknown};
use super::zones::{Limits, State, Zones, state};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeSpec, NodeStatus, Taint};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Conditions `Kind=Status`, taints `key:effect`, or `cordoned`.
fn node(text: &str) -> Node {
    let mut node =
        Node { spec: Some(NodeSpec::default()), status: Some(NodeStatus::default()), ..Node::default() };
    for word in text.split_whitespace() {
        if word == "cordoned" {
            node.spec.get_or_insert_default().unschedulable = Some(true);
        } else if let Some((kind, status)) = word.split_once('=') {
            let condition =
                NodeCondition { type_: kind.into(), status: status.into(), ..NodeCondition::default() };
            node.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
        } else if let Some((key, effect)) = word.split_once(':') {
            let taint = Taint { key: full(key), effect: effect.into(), value: None, time_added: None };
            node.spec.get_or_insert_default().taints.get_or_insert_default().push(taint);
        }
    }
    node
}

fn full(key: &str) -> String {
    if key.contains('/') { key.to_owned() } else { format!("node.kubernetes.io/{key}") }
}

fn check(text: &str, permit: Permit, expected: Option<&[&str]>) {
    let found = taints(&node(text), permit, Timestamp::UNIX_EPOCH).map(|taints| {
        taints
            .iter()
            .map(|t| format!("{}:{}", t.key.trim_start_matches("node.kubernetes.io/"), t.effect))
            .collect::<Vec<_>>()
    });
    let expected = expected.map(|e| e.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
    assert_eq!(found, expected, "{text}");
}

#[test]
fn taints_follow_conditions() {
    check("Ready=True", Permit::Yes, None);
    check("Ready=True cordoned", Permit::Yes, Some(&["unschedulable:NoSchedule"]));
    check(
        "Ready=True unschedulable:NoSchedule x.io/own:NoSchedule",
        Permit::Yes,
        Some(&["x.io/own:NoSchedule"]),
    );
    check("Ready=True DiskPressure=True", Permit::Yes, Some(&["disk-pressure:NoSchedule"]));
    check("Ready=False", Permit::Yes, Some(&["not-ready:NoSchedule", "not-ready:NoExecute"]));
    check("Ready=False", Permit::Later, Some(&["not-ready:NoSchedule"]));
    check("Ready=Unknown", Permit::Yes, Some(&["unreachable:NoSchedule", "unreachable:NoExecute"]));
    check(
        "Ready=Unknown not-ready:NoSchedule not-ready:NoExecute",
        Permit::Later,
        Some(&["unreachable:NoSchedule", "unreachable:NoExecute"]),
    );
    check("Ready=True not-ready:NoSchedule not-ready:NoExecute", Permit::Yes, Some(&[]));
    check(
        "Ready=Unknown unreachable:NoSchedule unreachable:NoExecute",
        Permit::Never,
        Some(&["unreachable:NoSchedule"]),
    );
    check("not-ready:NoExecute", Permit::Yes, None);
}

#[test]
fn a_silent_node_becomes_unknown_once() {
    let changed = unknown(&node("Ready=True MemoryPressure=False"), Timestamp::UNIX_EPOCH).unwrap();
    let conditions = changed.status.clone().unwrap().conditions.unwrap();
    let reasons: Vec<_> =
        conditions.iter().map(|c| (c.type_.as_str(), c.reason.as_deref().unwrap())).collect();
    assert_eq!(
        reasons,
        [
            ("Ready", "NodeStatusUnknown"),
            ("MemoryPressure", "NodeStatusUnknown"),
            ("DiskPressure", "NodeStatusNeverUpdated"),
            ("PIDPressure", "NodeStatusNeverUpdated"),
        ]
    );
    assert!(unknown(&changed, Timestamp::UNIX_EPOCH).is_none());
}

const LIMITS: Limits =
    Limits { rate: 0.1, secondary_rate: 0.01, unhealthy_threshold: 0.55, large_cluster: 50 };

#[test]
fn zones_are_judged_as_upstream() {
    for (ready, broken, expected) in [
        (0, 1, State::Full),
        (1, 2, State::Normal),
        (2, 3, State::Partial),
        (3, 3, State::Normal),
        (0, 0, State::Normal),
    ] {
        assert_eq!(state(&LIMITS, ready, broken), expected, "{ready} {broken}");
    }
}

#[test]
fn one_node_at_a_time() {
    let mut zones = Zones::new(LIMITS);
    let now = Instant::now();
    let all: Vec<_> =
        ["Ready=True", "Ready=True", "Ready=False", "Ready=False"].map(node).map(Arc::new).into();
    assert_eq!(zones.permit(&all[2], &all, now), (Permit::Yes, None));
    let after = taints(&all[2], Permit::Yes, Timestamp::UNIX_EPOCH).unwrap();
    assert!(adds_no_execute(&all[2], &after));
    zones.spend(&all[2], now);
    assert_eq!(zones.permit(&all[3], &all, now), (Permit::Later, Some(Duration::from_secs(10))));
    assert_eq!(zones.permit(&all[3], &all, now + Duration::from_secs(10)).0, Permit::Yes);
    let broken: Vec<_> = ["Ready=False", "Ready=Unknown"].map(node).map(Arc::new).into();
    assert_eq!(zones.permit(&broken[0], &broken, now).0, Permit::Never);
}

#[test]
fn older_labels_follow_newer_ones() {
    let check = |given: &[(&str, &str)], expected: &[(&str, &str)]| {
        let mut node = node("");
        node.metadata.labels = Some(given.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect());
        let found = labels(&node);
        let found: Vec<_> = found.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(found, expected, "{given:?}");
    };
    let (os, old_os, arch, old_arch) =
        ("kubernetes.io/os", "beta.kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/arch");
    check(&[], &[]);
    check(&[(os, "linux"), (arch, "arm64")], &[(old_arch, "arm64"), (old_os, "linux")]);
    check(&[(os, "linux"), (old_os, "linux"), (old_arch, "amd64")], &[]);
    check(&[(os, "linux"), (old_os, "plan9")], &[(old_os, "linux")]);
}
