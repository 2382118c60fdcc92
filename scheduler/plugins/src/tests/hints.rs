use super::*;
use gantry_scheduler_core::Plugin;

fn plugin(name: &str) -> Box<dyn Plugin> {
    crate::registry(name, &crate::args::Args::default()).unwrap()
}

/// Whether a node that changes from `was` to `is` helps a pod a plugin refused.
fn on_node(name: &str, spec: Value, was: Option<Value>, is: Value) -> bool {
    let mut cluster = Cluster::default();
    if let Some(was) = &was {
        cluster.set_node(&node("a", was.clone()));
    }
    let (at, old) = cluster.set_node(&node("a", is));
    let event = match &old {
        None => Event::NodeAdded(at),
        Some(old) => Event::NodeUpdated { at, old },
    };
    plugin(name).helps(&pod("p", spec), &event, &cluster)
}

#[test]
fn node_changes_wake_only_those_they_can_help() {
    let cordoned = json!({"spec": {"unschedulable": true}});
    let tainted = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let zoned = json!({"metadata": {"labels": {"zone": "a"}}});
    let zone = json!({"nodeSelector": {"zone": "a"}});
    let check = |name: &str, spec: &Value, was: Option<&Value>, is: &Value, expected: bool| {
        let got = on_node(name, spec.clone(), was.cloned(), is.clone());
        assert_eq!(got, expected, "{name} {was:?} -> {is}");
    };
    let plain = json!({});
    check("NodeUnschedulable", &plain, Some(&cordoned), &plain, true);
    check("NodeUnschedulable", &plain, Some(&plain), &plain, false);
    check("NodeUnschedulable", &plain, None, &cordoned, false);
    check("TaintToleration", &plain, Some(&tainted), &plain, true);
    check("TaintToleration", &plain, None, &tainted, false);
    check("NodeAffinity", &zone, Some(&plain), &zoned, true);
    check("NodeAffinity", &zone, Some(&zoned), &zoned, false);
    check("NodeAffinity", &zone, None, &plain, false);
    check("NodeName", &plain, None, &plain, true);
    check("NodePorts", &plain, Some(&plain), &zoned, false);
    check("VolumeBinding", &plain, Some(&plain), &zoned, true);
    let more = json!({"status": {"allocatable": {"cpu": "8"}}});
    check("NodeResourcesFit", &cpu("3"), Some(&plain), &more, true);
    check("NodeResourcesFit", &cpu("9"), Some(&plain), &more, false);
    check("NodeResourcesFit", &cpu("1"), Some(&plain), &zoned, false);
    let term = |key: &str| json!([{"labelSelector": {}, "topologyKey": key}]);
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term("zone")}}});
    let far = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term("zone")}}});
    check("InterPodAffinity", &near, None, &plain, false);
    check("InterPodAffinity", &near, Some(&plain), &zoned, true);
    check("InterPodAffinity", &far, None, &plain, true);
    check("InterPodAffinity", &far, Some(&plain), &zoned, false);
    check("InterPodAffinity", &far, Some(&zoned), &plain, true);
    let spread = json!({"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]});
    check("PodTopologySpread", &spread, None, &plain, false);
    check("PodTopologySpread", &spread, None, &zoned, true);
    check("PodTopologySpread", &spread, Some(&zoned), &plain, true);
}

fn labelled(name: &str, labels: Value, spec: Value) -> Arc<PodInfo> {
    let mut p = json!({"metadata": {"namespace": "n", "name": name, "uid": name, "labels": labels},
                       "spec": {"containers": [{"name": "c", "image": "i"}]}});
    merge(&mut p["spec"], spec);
    Arc::new(PodInfo::new(&serde_json::from_value::<Pod>(p).unwrap()))
}

#[test]
fn pods_that_come_and_go_wake_only_those_they_can_help() {
    let cluster = Cluster::default();
    let app = |app: &str, spec: Value| labelled("p", json!({"app": app}), spec);
    let term = json!([{"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "zone"}]);
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let far =
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    let check = |name: &str, waits: &PodInfo, event: Event<'_>, expected: bool| {
        assert_eq!(plugin(name).helps(waits, &event, &cluster), expected, "{name} {event:?}");
    };
    let (x, y) = (app("x", json!({})), app("y", json!({})));
    let (wants, avoids) = (app("y", near), app("y", far.clone()));
    check("InterPodAffinity", &wants, Event::PodAdded(&x), true);
    check("InterPodAffinity", &wants, Event::PodAdded(&y), false);
    check("InterPodAffinity", &avoids, Event::PodRemoved(&x), true);
    check("InterPodAffinity", &avoids, Event::PodRemoved(&y), false);
    check("InterPodAffinity", &x, Event::PodRemoved(&app("z", far)), true);
    check("InterPodAffinity", &wants, Event::PodUpdated { old: &y, new: &x }, true);
    check("NodeResourcesFit", &y, Event::PodRemoved(&x), true);
    check("NodeResourcesFit", &y, Event::PodAdded(&x), false);
    let small = app("x", cpu("1"));
    let large = app("x", cpu("2"));
    check("NodeResourcesFit", &small, Event::PodUpdated { old: &large, new: &small }, true);
    check("NodeResourcesFit", &small, Event::PodUpdated { old: &small, new: &large }, false);
    let tolerant = app("y", json!({"tolerations": [{"operator": "Exists"}]}));
    check("TaintToleration", &y, Event::Changed { old: &y, new: &tolerant }, true);
    check("TaintToleration", &y, Event::Changed { old: &y, new: &x }, false);
    let gated = app("y", json!({"schedulingGates": [{"name": "g"}]}));
    check("SchedulingGates", &y, Event::Changed { old: &gated, new: &y }, true);
}

#[test]
fn gated_pods_wait_outside_until_their_gates_are_gone() {
    let profiles = [default_profile("default-scheduler")];
    let (cluster, mut queue, now) = (Cluster::default(), Queue::default(), Timestamp::UNIX_EPOCH);
    queue.set(pod("p", json!({"schedulingGates": [{"name": "g"}]})), 0, &profiles[0], &cluster, now);
    assert_eq!((queue.counts(), queue.next()), ([0, 0, 0, 1], None));
    assert!(queue.pop(&profiles, now).is_none());
    queue.set(pod("p", json!({})), 0, &profiles[0], &cluster, now);
    assert_eq!(queue.counts(), [1, 0, 0, 0]);
    assert!(queue.pop(&profiles, now).is_some());
}
