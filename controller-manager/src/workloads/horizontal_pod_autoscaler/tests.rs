use super::calculator::{Sample, Samples, Setting, Tolerances};
use super::limits::{Bounds, Memory};
use super::plan::{Aim, Draft, aim, tolerances};
use super::proposal::{Reading, propose};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec,
};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// One pod a line: `name phase cpu=<request> [use=<sample>] [deleted] [unready=<age>] [ready=<age>] [start=<age>]`;
/// ready and started long ago unless it says otherwise. Requests and samples are in millis.
fn read(text: &str) -> (Vec<Arc<Pod>>, Samples) {
    let (mut pods, mut samples) = (Vec::new(), Samples::new());
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |prefix: &str| words.iter().find_map(|w| w.strip_prefix(prefix));
        let age = |prefix: &str| after(prefix).map(|a| at(NOW - a.parse::<i64>().unwrap()).to_string());
        let condition = match (age("unready="), age("ready=")) {
            (Some(at), _) => format!(r#"{{"type":"Ready","status":"False","lastTransitionTime":"{at}"}}"#),
            (None, changed) => {
                let at = changed.unwrap_or_else(|| at(NOW - 9000).to_string());
                format!(r#"{{"type":"Ready","status":"True","lastTransitionTime":"{at}"}}"#)
            }
        };
        let start = age("start=").unwrap_or_else(|| at(NOW - 9900).to_string());
        let deleted = words.contains(&"deleted").then(|| format!(r#","deletionTimestamp":"{start}""#));
        let requests = after("cpu=").map(|cpu| format!(r#","resources":{{"requests":{{"cpu":"{cpu}m"}}}}"#));
        let (name, phase) = (words[0], words[1]);
        let (deleted, requests) = (deleted.unwrap_or_default(), requests.unwrap_or_default());
        let json = format!(
            r#"{{"metadata":{{"name":"{name}"{deleted}}},"spec":{{"containers":[{{"name":"c"{requests}}}]}},
            "status":{{"phase":"{phase}","startTime":"{start}","conditions":[{condition}]}}}}"#
        );
        pods.push(Arc::new(serde_json::from_str(&json).unwrap()));
        if let Some(used) = after("use=") {
            let sample = Sample {
                value: used.parse().unwrap(),
                at: at(NOW - 10),
                window: SignedDuration::from_secs(30),
            };
            samples.insert(name.to_owned(), sample);
        }
    }
    (pods, samples)
}

fn setting(pods: &[Arc<Pod>], wanted: i32) -> Setting<'_> {
    Setting {
        wanted,
        running: wanted,
        pods,
        tolerances: Tolerances { down: 0.1, up: 0.1 },
        cpu_initialization: SignedDuration::from_mins(5),
        initial_readiness: SignedDuration::from_secs(30),
        now: at(NOW),
    }
}

/// By percent of 100 millis requested: `<replicas> <percent>%` or the error.
fn check(target: i32, wanted: i32, text: &str, expected: &str) {
    let (pods, samples) = read(text);
    let found = match setting(&pods, wanted).by_utilization(samples, "cpu", "", target) {
        Ok(found) => format!("{} {}%", found.replicas, found.utilization.unwrap()),
        Err(error) => error,
    };
    assert_eq!(found, expected, "{text}");
}

#[test]
fn use_moves_the_number_of_pods() {
    check(50, 2, "a Running cpu=100 use=90\n b Running cpu=100 use=110", "4 100%");
    check(50, 2, "a Running cpu=100 use=52\n b Running cpu=100 use=52", "2 52%");
    check(50, 2, "a Running cpu=100 use=20\n b Running cpu=100 use=20", "1 20%");
    check(
        50,
        3,
        "a Running cpu=100 use=200\n b Failed\n c Running cpu=100 deleted",
        "missing request for cpu in container c of Pod b",
    );
    check(50, 1, "a Running use=200", "missing request for cpu in container c of Pod a");
    check(
        50,
        1,
        "a Running cpu=100 use=9 deleted",
        "did not receive metrics for targeted pods (pods might be unready)",
    );
    check(50, 1, "", "no pods returned by selector while calculating replica count");
}

#[test]
fn pods_without_a_sample_hold_back() {
    // Up: they are taken to use nothing. Down: all they asked for.
    check(50, 3, "a Running cpu=100 use=100\n b Running cpu=100 use=100\n c Running cpu=100", "4 100%");
    check(50, 3, "a Running cpu=100 use=60\n b Running cpu=100 use=60\n c Running cpu=100", "3 60%");
    check(50, 3, "a Running cpu=100 use=20\n b Running cpu=100 use=20\n c Running cpu=100", "3 20%");
    check(
        50,
        4,
        "a Running cpu=100 use=1\n b Running cpu=100 use=1\n c Running cpu=100 use=1\n d Running cpu=100",
        "2 1%",
    );
}

#[test]
fn pods_that_start_do_not_count_yet() {
    let busy = "a Running cpu=100 use=150\n ";
    check(50, 2, &format!("{busy}b Pending cpu=100"), "3 150%");
    check(50, 2, &format!("{busy}b Running cpu=100 use=400 unready=5 start=20"), "3 150%");
    // Ready, but the sample's window began before that.
    check(50, 2, &format!("{busy}b Running cpu=100 use=400 ready=20 start=60"), "3 150%");
    check(50, 2, &format!("{busy}b Running cpu=100 use=50 ready=60 start=90"), "4 100%");
    // Unready for other reasons than starting.
    check(50, 2, &format!("{busy}b Running cpu=100 use=50 unready=600 start=5000"), "4 100%");
    // Never ready within half a minute of its start.
    check(50, 2, &format!("{busy}b Running cpu=100 use=50 unready=4990 start=5000"), "3 150%");
    check(50, 2, "a Running cpu=100 use=20\n b Pending cpu=100", "1 20%");
}

#[test]
fn averages_values_and_shares() {
    let (pods, samples) = read("a Running use=3000\n b Running use=5000\n c Pending");
    let setting = |wanted, running| Setting { running, ..setting(&pods, wanted) };
    let found = setting(2, 2).by_average(samples, "", 2000).unwrap();
    assert_eq!((found.replicas, found.usage), (4, 4000));
    assert_eq!(setting(2, 2).by_value(30, 10).unwrap().replicas, 6);
    assert_eq!(setting(2, 2).by_value(105, 100).unwrap().replicas, 2);
    assert_eq!(setting(0, 0).by_value(25, 10).unwrap().replicas, 3);
    let found = setting(2, 4).by_share(100, 10);
    assert_eq!((found.replicas, found.usage), (10, 25));
    assert_eq!(setting(2, 4).by_share(41, 10).replicas, 4);
}

/// What one metric of YAML's form proposes: `<replicas> <metric>` or `<reason>: <message>`.
fn check_metric(spec: &str, reading: Result<Reading, String>, expected: &str) {
    let spec: MetricSpec = serde_json::from_str(spec).unwrap();
    let (pods, _) = read("a Running cpu=100 use=100\n b Running cpu=100");
    let found = match propose(&spec, reading, &setting(&pods, 2), "n") {
        Ok(found) => format!("{} {}", found.replicas, found.metric),
        Err(failure) => format!("{}: {}", failure.reason, failure.message),
    };
    assert_eq!(found, expected);
}

#[test]
fn metrics_are_told_in_upstreams_words() {
    let cpu = r#"{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}"#;
    let (_, samples) = read("a Running use=150\n b Running use=50");
    check_metric(
        cpu,
        Ok(Reading::Pods(samples.clone())),
        "4 cpu resource utilization (percentage of request)",
    );
    check_metric(
        cpu,
        Err("unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)".into()),
        "FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: \
         unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)",
    );
    let container = r#"{"type":"ContainerResource","containerResource":{"name":"cpu","container":"x","target":{"type":"Utilization","averageUtilization":50}}}"#;
    check_metric(
        container,
        Ok(Reading::Pods(samples.clone())),
        "FailedGetContainerResourceMetric: failed to get cpu utilization: container x not found in Pod a",
    );
    let pods = r#"{"type":"Pods","pods":{"metric":{"name":"rps"},"target":{"type":"AverageValue","averageValue":"50m"}}}"#;
    check_metric(pods, Ok(Reading::Pods(samples)), "4 pods metric rps");
    let object = r#"{"type":"Object","object":{"metric":{"name":"rps"},"describedObject":{"kind":"Ingress","name":"i"},"target":{"type":"Value","value":"1"}}}"#;
    check_metric(object, Ok(Reading::Value(3000)), "6 Ingress metric rps");
    check_metric(
        object,
        Err("x".into()),
        "FailedGetObjectMetric: unable to get metric rps: x on Ingress n/i",
    );
    let external = r#"{"type":"External","external":{"metric":{"name":"q","selector":{"matchLabels":{"a":"b"}}},"target":{"type":"AverageValue","averageValue":"1"}}}"#;
    check_metric(
        external,
        Ok(Reading::Value(5000)),
        "5 external metric q(&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},})",
    );
    check_metric(
        external,
        Err("x".into()),
        "FailedGetExternalMetric: unable to get external metric n/q/&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}: x",
    );
    check_metric(
        r#"{"type":"Resource","resource":{"name":"cpu","target":{"type":"Value"}}}"#,
        Err("x".into()),
        "FailedGetResourceMetric: invalid resource metric source: neither an average utilization target nor \
         an average value (usage) target was set",
    );
    check_metric(
        r#"{"type":"Moon"}"#,
        Err("x".into()),
        r#"InvalidMetricSourceType: unknown metric source type "Moon""#,
    );
}

fn bounds(current: i32, behavior: Option<&HorizontalPodAutoscalerBehavior>, second: i64) -> Bounds<'_> {
    Bounds {
        current,
        min: 1,
        max: 10,
        behavior,
        downscale_window: SignedDuration::from_mins(5),
        now: at(NOW + second),
    }
}

#[test]
fn without_rules_up_doubles_and_down_waits() {
    let check = |current, recommended, expected: (i32, &str, &str)| {
        let found = Memory::default().limit(recommended, bounds(current, None, 0));
        assert_eq!((found.replicas, found.able.1, found.limited.1), expected);
    };
    check(2, 3, (3, "ReadyForNewScale", "DesiredWithinRange"));
    check(1, 9, (4, "ReadyForNewScale", "ScaleUpLimit"));
    check(6, 20, (10, "ReadyForNewScale", "TooManyReplicas"));
    check(6, 0, (1, "ReadyForNewScale", "TooFewReplicas"));
    let mut memory = Memory::default();
    memory.begin(8, at(NOW));
    let found = memory.limit(2, bounds(8, None, 60));
    assert_eq!((found.replicas, found.able.1), (8, "ScaleDownStabilized"));
    let found = memory.limit(3, bounds(8, None, 301));
    assert_eq!((found.replicas, found.able.1, found.limited.0), (3, "ReadyForNewScale", false));
}

#[test]
fn rules_limit_rates_and_hold() {
    let behavior: HorizontalPodAutoscalerBehavior = serde_json::from_str(
        r#"{"scaleUp":{"stabilizationWindowSeconds":30,"selectPolicy":"Max","policies":[
            {"type":"Pods","value":2,"periodSeconds":60},{"type":"Percent","value":100,"periodSeconds":60}]},
        "scaleDown":{"stabilizationWindowSeconds":0,"selectPolicy":"Min","policies":[
            {"type":"Pods","value":1,"periodSeconds":60},{"type":"Percent","value":50,"periodSeconds":60}]}}"#,
    )
    .unwrap();
    let mut memory = Memory::default();
    let mut check = |current: i32, recommended, second, expected: (i32, &str, &str)| {
        let found = memory.limit(recommended, bounds(current, Some(&behavior), second));
        assert_eq!((found.replicas, found.able.1, found.limited.1), expected, "{second}");
        if found.replicas != current {
            memory.scaled(Some(&behavior), current, found.replicas, at(NOW + second));
        }
    };
    check(3, 9, 0, (6, "ReadyForNewScale", "ScaleUpLimit"));
    // Twice as many as at the period's start, and no more within it.
    check(6, 9, 10, (6, "ReadyForNewScale", "ScaleUpLimit"));
    check(6, 9, 61, (9, "ReadyForNewScale", "DesiredWithinRange"));
    check(9, 2, 130, (8, "ReadyForNewScale", "ScaleDownLimit"));
    check(8, 2, 140, (8, "ReadyForNewScale", "ScaleDownLimit"));
    // A recent lower recommendation holds it down.
    check(8, 10, 150, (8, "ScaleUpStabilized", "DesiredWithinRange"));
    let off: HorizontalPodAutoscalerBehavior =
        serde_json::from_str(r#"{"scaleDown":{"stabilizationWindowSeconds":0,"selectPolicy":"Disabled"}}"#)
            .unwrap();
    let found = Memory::default().limit(1, bounds(8, Some(&off), 0));
    assert_eq!((found.replicas, found.limited.1), (8, "ScaleDownLimit"));
}

fn autoscaler(spec: &str) -> HorizontalPodAutoscaler {
    let spec: HorizontalPodAutoscalerSpec =
        serde_json::from_str(&format!(r#"{{"maxReplicas":10,"scaleTargetRef":{{}}{spec}}}"#)).unwrap();
    HorizontalPodAutoscaler { spec, ..Default::default() }
}

#[test]
fn bounds_need_no_metrics() {
    let hpa = autoscaler(r#","minReplicas":3"#);
    assert_eq!(aim(&hpa, 0), Aim::Off);
    assert_eq!(aim(&hpa, 12), Aim::Fixed(10, "Current number of replicas above Spec.MaxReplicas"));
    assert_eq!(aim(&hpa, 2), Aim::Fixed(3, "Current number of replicas below Spec.MinReplicas"));
    assert_eq!(aim(&hpa, 5), Aim::Metrics);
    let own = autoscaler(r#","behavior":{"scaleUp":{"tolerance":"50m"}}"#);
    assert_eq!(tolerances(&own, 0.1), Tolerances { down: 0.1, up: 0.05 });
}

#[test]
fn it_goes_to_zero_and_back_where_that_is_asked_for() {
    let metric = r#"{"type":"External","external":{"metric":{"name":"queue"},"target":{"type":"AverageValue","averageValue":"10"}}}"#;
    let check = |annotated: bool, min: i32, metrics: &str, condition: &str, want: Aim| {
        let mut hpa = autoscaler(&format!(r#","minReplicas":{min},"metrics":[{metrics}]"#));
        if annotated {
            hpa.metadata.annotations = Some([("gantry.io/scale-to-zero".into(), "true".into())].into());
        }
        let status = format!(r#"{{"desiredReplicas":0,"conditions":[{condition}]}}"#);
        hpa.status = Some(serde_json::from_str(&status).unwrap());
        assert_eq!(aim(&hpa, 0), want, "{annotated} {min} {condition}");
        hpa
    };
    let zeroed = r#"{"type":"ScaledToZero","status":"True"}"#;
    let hpa = check(true, 0, metric, zeroed, Aim::Metrics);
    check(false, 0, metric, zeroed, Aim::Off);
    // Somebody turned it off.
    check(true, 0, metric, "", Aim::Off);
    check(true, 0, metric, r#"{"type":"ScaledToZero","status":"False"}"#, Aim::Off);
    check(true, 0, "", zeroed, Aim::Off);
    let raised = check(true, 3, "", zeroed, Aim::Metrics);

    let shown = |draft: &Draft| {
        let all = draft.status.conditions.iter().flatten();
        all.filter(|c| c.type_ == "ScaledToZero").map(|c| c.status.clone()).collect::<String>()
    };
    let spec: MetricSpec = serde_json::from_str(metric).unwrap();
    let asked = |usage, replicas| {
        propose(&spec, Ok(Reading::Value(usage)), &setting(&[], replicas), "n").unwrap().replicas
    };
    // Values are in millis.
    assert_eq!((asked(0, 1), asked(0, 0), asked(25_000, 0)), (0, 0, 3));
    let settle = |hpa: &HorizontalPodAutoscaler, current, desired| {
        let mut draft = Draft::new(hpa, at(NOW));
        let window = SignedDuration::ZERO;
        let size = draft.settle(hpa, &mut Memory::default(), current, (desired, "queue"), window);
        draft.scaled(hpa, current, &size);
        (size.replicas, shown(&draft), size.reason)
    };
    assert_eq!(settle(&hpa, 2, 0), (0, "True".into(), "All metrics below target".into()));
    assert_eq!(settle(&hpa, 0, 3), (3, "False".into(), "queue above target".into()));
    // The limits know the least number of replicas; rules, where they ask for no change, do not.
    assert_eq!(settle(&raised, 0, 0), (3, "False".into(), String::new()));
    let mut ruled = raised.clone();
    ruled.spec.behavior = Some(HorizontalPodAutoscalerBehavior::default());
    let words = "Current number of replicas below Spec.MinReplicas";
    assert_eq!(settle(&ruled, 0, 0), (3, "False".into(), words.into()));
    assert_eq!(settle(&autoscaler(""), 2, 0).1, "");
}

#[test]
fn the_largest_proposal_wins_unless_a_lost_one_might_be_larger() {
    let cpu = |percent: i32| -> MetricSpec {
        serde_json::from_str(&format!(
            r#"{{"type":"Resource","resource":{{"name":"cpu","target":{{"type":"Utilization","averageUtilization":{percent}}}}}}}"#
        ))
        .unwrap()
    };
    let (pods, samples) = read("a Running cpu=100 use=100\n b Running cpu=100 use=100");
    let setting = setting(&pods, 2);
    let good = |percent| propose(&cpu(percent), Ok(Reading::Pods(samples.clone())), &setting, "n");
    let lost = || propose(&cpu(50), Err("gone".into()), &setting, "n");
    let draft = || Draft::new(&autoscaler(""), at(NOW));
    let mut up = draft();
    let (best, _, statuses, words) = up.choose(vec![good(50), good(25), lost()], 2).unwrap();
    assert_eq!((best, statuses.len(), words.is_some()), (8, 3, true));
    assert_eq!(up.events[0].1, "FailedGetResourceMetric");
    let mut down = draft();
    let (words, _) = down.choose(vec![good(200), lost()], 2).unwrap_err();
    assert_eq!(
        words,
        "invalid metrics (1 invalid out of 2), first error is: failed to get cpu resource metric value: \
         failed to get cpu utilization: unable to get metrics for resource cpu: gone"
    );
    let condition = &down.status.conditions.unwrap()[0];
    assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("ScalingActive", "False"));
    let mut none = draft();
    assert!(none.choose(vec![lost()], 0).is_err());
}
