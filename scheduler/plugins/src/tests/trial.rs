use super::*;
use gantry_scheduler_core::Trial;

/// `plugin: reason nodes (alone)`, a line a refusal, then who fits with what score.
fn told(world: &World, trial: &Trial) -> Vec<String> {
    let names = |nodes: &[gantry_scheduler_core::NodeIndex]| {
        let mut names: Vec<&str> = nodes.iter().map(|at| &*world.cluster.node(*at).unwrap().name).collect();
        names.sort_unstable();
        names.join(",")
    };
    let plugin = |i: usize| world.profile.plugins[i].name();
    let mut out: Vec<String> = trial
        .refusals
        .iter()
        .map(|r| {
            let why: Vec<&str> = r.why.reasons.iter().map(|w| &**w).collect();
            format!("{}: {} {} ({})", plugin(r.plugin), why.join("+"), names(&r.nodes), names(&r.alone))
        })
        .collect();
    out.sort();
    if let Some((i, why)) = &trial.whole {
        out.push(format!("{}: {}", plugin(*i), why.reasons.iter().next().unwrap()));
    }
    if !trial.feasible.is_empty() {
        out.push(format!("fits {}", names(&trial.feasible)));
    }
    out
}

fn world(nodes: &[Node], placed: &[Arc<PodInfo>]) -> World {
    let mut world = World::default();
    for n in nodes {
        world.cluster.set_node(n);
    }
    placed.iter().for_each(|p| drop(world.cluster.set_pod(p.clone())));
    world
}

#[test]
fn every_plugin_speaks_of_every_node() {
    let cordoned = json!({"spec": {"unschedulable": true}});
    let nodes =
        [node("a", json!({})), node("b", cordoned.clone()), node("c", cordoned), node("d", json!({}))];
    let mut world = world(&nodes, &[on("x", "a", cpu("2")), on("y", "b", cpu("2"))]);
    let check = |world: &mut World, p: &PodInfo, expected: &[&str]| {
        let trial = world.trial(p);
        assert_eq!(told(world, &trial), expected, "{}", p.name);
        assert_eq!(trial.total, 4);
    };
    let refusals = [
        "NodeResourcesFit: Insufficient cpu a,b (a)",
        "NodeUnschedulable: node(s) were unschedulable b,c (c)",
        "fits d",
    ];
    check(&mut world, &pod("p", cpu("1")), &refusals);
    // Asking twice changes nothing.
    check(&mut world, &pod("p", cpu("1")), &refusals);
    check(
        &mut world,
        &pod("q", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]})),
        &["VolumeRestrictions: persistentvolumeclaim \"none\" not found"],
    );
    // Room made for a more important pod is taken.
    let mut important = cpu("2");
    important["priority"] = 10.into();
    let guest = pod("guest", important);
    world.cluster.nominate(&guest, "d");
    check(
        &mut world,
        &pod("p", cpu("1")),
        &[
            "NodeResourcesFit: Insufficient cpu a,b,d (a,d)",
            "NodeUnschedulable: node(s) were unschedulable b,c (c)",
        ],
    );
    assert_eq!(world.cluster.node(world.cluster.index("d").unwrap()).unwrap().pods.len(), 0);
}

#[test]
fn a_trial_scores_as_a_decision_does() {
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    let mut world = world(&[node("a", soft), node("b", json!({}))], &[]);
    let trial = world.trial(&pod("p", json!({})));
    let by = |name: &str| {
        let s = trial.scores.iter().find(|s| world.profile.plugins[s.plugin].name() == name).unwrap();
        (s.weight, s.by_node.clone())
    };
    assert_eq!(by("TaintToleration"), (3, vec![0, 300]));
    assert!(trial.score(1) > trial.score(0));
    assert_eq!(trial.score(1) - trial.score(0), 300);
}
