use super::*;
use proptest::prelude::*;

const STORED: &str = include_str!("v2.json");
const SERVED: &str = include_str!("v1.json");

fn document(json: &str) -> Document {
    Document::from_json(json.as_bytes()).unwrap()
}

fn served(object: &Document) -> Document {
    let mut object = object.clone();
    Autoscalers.to_served(&mut object);
    object
}

fn stored(object: &Document) -> Document {
    let mut object = object.clone();
    Autoscalers.to_stored(&mut object);
    object
}

#[test]
fn versions_read_as_upstream_wrote_them() {
    let (v2, v1) = (document(STORED), document(SERVED));
    assert_eq!(served(&v2).map(), v1.map());
    // The share of CPU comes last on the way back.
    let mut back = stored(&v1);
    let mut metrics: Vec<MetricSpec> = back.get_at(&["spec", "metrics"]).unwrap();
    metrics.rotate_right(1);
    back.set_at(&["spec", "metrics"], metrics);
    // And what has no average in one version has none of nought in the other.
    assert_eq!(back.map(), v2.map());
}

#[test]
fn parts_convert_as_far_as_they_go() {
    let check = |v1: &str, v2: &str| assert_eq!(stored(&document(v1)), document(v2));
    check("{}", "{}");
    check(
        r#"{"spec":{"maxReplicas":2}}"#,
        r#"{"spec":{"maxReplicas":2,"metrics":[{"resource":{"name":"cpu","target":{"averageUtilization":80,"type":"Utilization"}},"type":"Resource"}]}}"#,
    );
    check(
        r#"{"metadata":{"annotations":{"a":"b","autoscaling.alpha.kubernetes.io/metrics":"{"}},"spec":{"targetCPUUtilizationPercentage":5}}"#,
        r#"{"metadata":{"annotations":{"a":"b"}},"spec":{"metrics":[{"resource":{"name":"cpu","target":{"averageUtilization":5,"type":"Utilization"}},"type":"Resource"}]}}"#,
    );
    check(
        r#"{"metadata":{"annotations":{"autoscaling.alpha.kubernetes.io/behavior":"{\"scaleUp\":{\"selectPolicy\":\"Min\"}}"}}}"#,
        r#"{"metadata":{},"spec":{"behavior":{"scaleUp":{"selectPolicy":"Min"}}}}"#,
    );
    check(
        r#"{"status":{"currentReplicas":1,"currentCPUUtilizationPercentage":7}}"#,
        r#"{"status":{"currentReplicas":1,"currentMetrics":[{"resource":{"current":{"averageUtilization":7},"name":"cpu"},"type":"Resource"}]}}"#,
    );
}

fn amount() -> impl Strategy<Value = String> + Clone {
    (1u32..5000, prop_oneof![Just(""), Just("m"), Just("Mi")]).prop_map(|(n, s)| format!("{n}{s}"))
}

fn metric() -> impl Strategy<Value = String> {
    let selector = prop_oneof![
        Just(String::new()),
        Just(r#","selector":{"matchLabels":{"a":"<b>"}}"#.to_owned()),
        Just(
            r#","selector":{"matchExpressions":[{"key":"k","operator":"In","values":["x","y"]}]}"#.to_owned()
        ),
    ];
    let metric = selector.prop_map(|s| format!(r#""metric":{{"name":"m"{s}}}"#));
    let value = amount().prop_map(|q| format!(r#""target":{{"type":"Value","value":"{q}"}}"#));
    let average =
        amount().prop_map(|q| format!(r#""target":{{"type":"AverageValue","averageValue":"{q}"}}"#));
    let share =
        (1i32..200).prop_map(|n| format!(r#""target":{{"type":"Utilization","averageUtilization":{n}}}"#));
    let about = Just(r#""describedObject":{"apiVersion":"v1","kind":"Service","name":"s"}"#);
    prop_oneof![
        (metric.clone(), average.clone())
            .prop_map(|(m, t)| format!(r#"{{"type":"Pods","pods":{{{m},{t}}}}}"#)),
        (metric.clone(), prop_oneof![value.clone(), average.clone()], about)
            .prop_map(|(m, t, o)| format!(r#"{{"type":"Object","object":{{{o},{m},{t}}}}}"#)),
        (metric, prop_oneof![value, average.clone()])
            .prop_map(|(m, t)| format!(r#"{{"type":"External","external":{{{m},{t}}}}}"#)),
        (prop_oneof![Just("cpu"), Just("memory")], average.clone())
            .prop_map(|(n, t)| format!(r#"{{"type":"Resource","resource":{{"name":"{n}",{t}}}}}"#)),
        share.clone().prop_map(|t| format!(r#"{{"type":"Resource","resource":{{"name":"memory",{t}}}}}"#)),
        prop_oneof![share, average].prop_map(|t| format!(
            r#"{{"type":"ContainerResource","containerResource":{{"container":"c","name":"cpu",{t}}}}}"#
        )),
    ]
}

fn rules() -> impl Strategy<Value = String> {
    (proptest::option::of(0i32..3600), proptest::option::of(Just("Min")), 1i32..9, any::<bool>()).prop_map(
        |(window, select, value, tolerant)| {
            let mut parts =
                vec![format!(r#""policies":[{{"periodSeconds":15,"type":"Pods","value":{value}}}]"#)];
            parts.extend(window.map(|w| format!(r#""stabilizationWindowSeconds":{w}"#)));
            parts.extend(select.map(|s| format!(r#""selectPolicy":"{s}""#)));
            parts.extend(tolerant.then(|| r#""tolerance":"50m""#.to_owned()));
            format!("{{{}}}", parts.join(","))
        },
    )
}

proptest! {
    #[test]
    fn there_and_back_is_the_same(
        metrics in proptest::collection::vec(metric(), 0..4),
        share in proptest::option::of(1i32..100),
        up in proptest::option::of(rules()),
        down in rules(),
        behaves in any::<bool>(),
        replicas in 0i32..9,
    ) {
        let mut all = metrics;
        // Where it comes on the way back.
        all.extend(share.or((all.is_empty()).then_some(80)).map(|n| format!(
            r#"{{"type":"Resource","resource":{{"name":"cpu","target":{{"type":"Utilization","averageUtilization":{n}}}}}}}"#
        )));
        let behavior = if behaves {
            let up = up.map(|r| format!(r#","scaleUp":{r}"#)).unwrap_or_default();
            format!(r#","behavior":{{"scaleDown":{down}{up}}}"#)
        } else {
            String::new()
        };
        let v2 = document(&format!(
            r#"{{"metadata":{{"name":"h"}},"spec":{{"maxReplicas":9,"metrics":[{}]{behavior}}},"status":{{"desiredReplicas":{replicas},"conditions":[{{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}}]}}}}"#,
            all.join(",")
        ));
        let v1 = served(&v2);
        prop_assert_eq!(stored(&v1), v2);
        prop_assert_eq!(served(&stored(&v1)), v1);
    }
}
