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
