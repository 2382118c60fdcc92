use super::plan::{Verdict, judge};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, Pod, PodSpec, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// Taints `key=value@second`, tolerations `key[=value][:seconds]`, `*` for all keys.
fn check(taints: &str, tolerations: &str, now: i64, expected: Verdict) {
    let taints = taints.split_whitespace().map(|t| {
        let (pair, second) = t.split_once('@').unwrap();
        let (key, value) = pair.split_once('=').unwrap();
        Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: "NoExecute".into(),
            time_added: Some(Time(Timestamp::from_second(second.parse().unwrap()).unwrap())),
        }
    });
    let tolerations = tolerations.split_whitespace().map(|t| {
        let (pair, seconds) = t.split_once(':').map_or((t, None), |(p, s)| (p, s.parse().ok()));
        let (key, value) = pair.split_once('=').map_or((pair, None), |(k, v)| (k, Some(v)));
        Toleration {
            key: (key != "*").then(|| key.into()),
            operator: Some(if value.is_some() { "Equal" } else { "Exists" }.into()),
            value: value.map(Into::into),
            effect: None,
            toleration_seconds: seconds,
        }
    });
    let node = Node {
        spec: Some(NodeSpec { taints: Some(taints.collect()), ..Default::default() }),
        ..Default::default()
    };
    let pod = Pod {
        spec: Some(PodSpec { tolerations: Some(tolerations.collect()), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(judge(&pod, &node, Timestamp::from_second(now).unwrap()), expected);
}

#[test]
fn tolerations_decide() {
    check("", "", 0, Verdict::Stays);
    check("a=@0", "", 5, Verdict::Goes);
    check("a=@0", "a", 5, Verdict::Stays);
    check("a=1@0", "a=1", 5, Verdict::Stays);
    check("a=1@0", "a=2", 5, Verdict::Goes);
    check("a=1@0 b=@0", "a", 5, Verdict::Goes);
    check("a=1@0 b=@0", "*", 5, Verdict::Stays);
}

#[test]
fn the_shortest_time_counts_from_when_the_taint_came() {
    check("a=@100", "a:300", 150, Verdict::GoesAfter(Duration::from_secs(250)));
    check("a=@100 b=@120", "a:300 b:30", 130, Verdict::GoesAfter(Duration::from_secs(20)));
    check("a=@100", "a:300 *:10", 105, Verdict::GoesAfter(Duration::from_secs(5)));
    check("a=@100", "a:300", 400, Verdict::Goes);
    check("a=@100", "a:0", 100, Verdict::Goes);
}

#[test]
fn since_when_a_pod_had_to_go() {
    let node: k8s_openapi::api::core::v1::Node = serde_json::from_str(
        r#"{"spec":{"taints":[{"key":"a","effect":"NoExecute","timeAdded":"2026-01-01T00:00:00Z"},
            {"key":"b","effect":"NoExecute","timeAdded":"2026-01-01T00:01:00Z"}]}}"#,
    )
    .unwrap();
    let check = |tolerations: &str, want: &str| {
        let pod: k8s_openapi::api::core::v1::Pod =
            serde_json::from_str(&format!(r#"{{"spec":{{"containers":[],"tolerations":[{tolerations}]}}}}"#))
                .unwrap();
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        assert_eq!(super::plan::due(&pod, &node, now).to_string(), want, "{tolerations}");
    };
    check("", "2026-01-01T00:00:00Z");
    check(r#"{"key":"a","operator":"Exists"}"#, "2026-01-01T00:01:00Z");
    check(r#"{"operator":"Exists","tolerationSeconds":30}"#, "2026-01-01T00:00:30Z");
    check(r#"{"operator":"Exists"}"#, "2026-01-01T01:00:00Z");
}
