use super::*;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn with_claim(name: &str) -> Arc<PodInfo> {
    pod("p", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]}))
}

fn world() -> World {
    let mut world = World::default();
    for zone in ["a", "b"] {
        let labels = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
        world.cluster.set_node(&node(zone, labels));
    }
    world
}

const NO: &str = "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";

#[test]
fn claims_that_cannot_be_used_are_told_in_upstream_words() {
    let check = |claim: Value, expected: &str| {
        let mut world = world();
        let mut object_ = json!({"metadata": {"namespace": "n", "name": "c", "uid": "c"}, "spec": {}});
        merge(&mut object_, claim);
        world.cluster.facts.set_claim(object(object_), false);
        assert_eq!(world.decide(&with_claim("c")), format!("0/2 nodes are available: {expected} not found"));
    };
    assert_eq!(
        world().decide(&with_claim("x")),
        format!("0/2 nodes are available: persistentvolumeclaim \"x\" not found. not found")
    );
    check(json!({}), "pod has unbound immediate PersistentVolumeClaims.");
    check(
        json!({"status": {"phase": "Lost"}, "spec": {"volumeName": "v"}}),
        "persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"v\".",
    );
    check(
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        "persistentvolumeclaim \"c\" is being deleted.",
    );
    check(
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}),
        "persistentvolume \"v\" not found.",
    );
}

#[test]
fn late_claims_take_the_smallest_volume_that_reaches_or_have_one_made() {
    let mut world = world();
    let class = json!({"metadata": {"name": "late"}, "provisioner": "kubernetes.io/no-provisioner",
                       "volumeBindingMode": "WaitForFirstConsumer"});
    world.cluster.facts.classes.insert("late".into(), object(class));
    let claim = json!({"metadata": {"namespace": "n", "name": "c", "uid": "c"},
                       "spec": {"storageClassName": "late", "accessModes": ["ReadWriteOnce"],
                                "resources": {"requests": {"storage": "2Gi"}}}});
    world.cluster.facts.set_claim(object(claim), false);
    let pod = with_claim("c");
    assert_eq!(
        world.decide(&pod),
        format!("0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind. {NO}")
    );
    for (name, size, zone) in [("small", "1Gi", "a"), ("fits", "3Gi", "b"), ("large", "9Gi", "b")] {
        let expression = json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]});
        let volume = json!({"metadata": {"name": name}, "status": {"phase": "Available"}, "spec": {
            "storageClassName": "late", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}});
        world.cluster.facts.set_volume(object(volume), false);
    }
    assert_eq!(world.decide(&pod), "b");
    let at = world.cluster.index("b").unwrap();
    let binding = crate::registry("VolumeBinding", &crate::args::Args::default()).unwrap();
    binding.reserve(&pod, at, &mut world.cluster).unwrap();
    let steps = format!("{:?}", binding.pre_bind(&pod, at, &world.cluster));
    assert!(steps.contains("GiveVolume { volume: \"fits\", claim: \"n/c\" }"), "{steps}");
    assert!(steps.contains("AwaitClaims { claims: [\"n/c\"], node: \"b\", timeout: 10m }"), "{steps}");
    binding.unreserve(&pod, at, &mut world.cluster);
    assert_eq!(binding.pre_bind(&pod, at, &world.cluster).len(), 1);
    let class = json!({"metadata": {"name": "late"}, "provisioner": "p.x", "volumeBindingMode": "WaitForFirstConsumer"});
    world.cluster.facts.classes.insert("late".into(), object(class));
    let at = world.cluster.index("a").unwrap();
    binding.reserve(&pod, at, &mut world.cluster).unwrap();
    let steps = format!("{:?}", binding.pre_bind(&pod, at, &world.cluster));
    assert!(steps.contains("ChooseNode { claim: \"n/c\", node: \"a\" }"), "{steps}");
}

#[test]
fn drivers_attach_no_more_than_they_can() {
    let mut world = World::default();
    world.cluster.set_node(&node("a", json!({})));
    let csi = json!({"metadata": {"name": "a"}, "spec": {"drivers": [
        {"name": "d.x", "nodeID": "a", "allocatable": {"count": 1}}]}});
    world.cluster.facts.csi_nodes.insert("a".into(), object(csi));
    for i in 0..2 {
        let (claim, volume) = (format!("c{i}"), format!("v{i}"));
        world.cluster.facts.set_claim(
            object(json!({
                "metadata": {"namespace": "n", "name": claim, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
                "spec": {"volumeName": volume}})),
            false,
        );
        let spec = json!({"csi": {"driver": "d.x", "volumeHandle": volume}});
        world.cluster.facts.set_volume(object(json!({"metadata": {"name": volume}, "spec": spec})), false);
    }
    assert_eq!(world.decide(&with_claim("c0")), "a");
    let mut there = PodInfo::clone(&with_claim("c0"));
    (there.uid, there.node) = ("there".into(), "a".into());
    world.cluster.set_pod(Arc::new(there));
    assert_eq!(world.decide(&with_claim("c0")), "a", "a volume counts once");
    assert!(
        world
            .decide(&with_claim("c1"))
            .starts_with("0/1 nodes are available: 1 node(s) exceed max volume count.")
    );
}

#[test]
fn budgets_and_start_times_choose_the_victims() {
    let victim = |name: &str, node: &str, app: &str, started: &str| {
        let p = json!({
            "metadata": {"namespace": "n", "name": name, "uid": name, "labels": {"app": app}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]},
            "status": {"startTime": started}});
        Arc::new(PodInfo::new(&serde_json::from_value::<Pod>(p).unwrap()))
    };
    let mut wants = cpu("2");
    wants["priority"] = 10.into();
    let preemptor = pod("p", wants);
    let mut world = World::default();
    world.cluster.set_node(&node("a", json!({})));
    world.cluster.set_node(&node("b", json!({})));
    world.cluster.set_pod(victim("old", "a", "x", "2026-01-01T00:00:00Z"));
    world.cluster.set_pod(victim("new", "b", "y", "2026-01-02T00:00:00Z"));
    assert_eq!(world.decide(&preemptor), "b without new");
    let budget = json!({"metadata": {"namespace": "n", "name": "b"}, "spec": {"selector": {"matchLabels": {"app": "y"}}},
                        "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    world.cluster.facts.set_budget(object::<PodDisruptionBudget>(budget), false);
    assert_eq!(world.decide(&preemptor), "a without old");
    let before: Vec<_> =
        world.cluster.nodes().map(|(_, n)| (n.name.clone(), n.pods.len(), n.requested.cpu)).collect();
    assert_eq!(before, [("a".into(), 1, 2000), ("b".into(), 1, 2000)], "trials leave no trace");
}

#[test]
fn room_made_for_others_is_left_to_them() {
    let mut wants = cpu("2");
    wants["priority"] = 10.into();
    let important = pod("important", wants);
    let mut world = World::default();
    world.cluster.set_node(&node("a", json!({})));
    world.cluster.nominate(&important, "a");
    let message = world.decide(&pod("p", cpu("1")));
    assert!(message.starts_with("0/1 nodes are available: 1 Insufficient cpu."), "{message}");
    assert_eq!(world.decide(&important), "a");
}
