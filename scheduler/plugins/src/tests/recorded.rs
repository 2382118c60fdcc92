//! Clusters and pods put to the real kube-scheduler 1.36, and what it answered: where the pod went, the score
//! of each node it chose among, or why it fits nowhere.
//!
//! `GANTRY_SCHEDULER_DUMP=FILE` writes fresh cases, one a line, to be put to it.

use super::fixtures::World;
use super::random::Dice;
use super::*;
use k8s_openapi::api::core::v1::Namespace;
use rand::rngs::StdRng;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Case {
    nodes: Vec<Node>,
    namespaces: Vec<Namespace>,
    #[serde(default)]
    placed: Vec<Pod>,
    pod: Pod,
    answer: Answer,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct Answer {
    node: String,
    message: String,
    nominated: String,
    /// By node, where there were several to choose among.
    scores: BTreeMap<String, i64>,
}

fn dump(path: &str) {
    let mut lines = String::new();
    for seed in 0..260 {
        let mut dice = Dice(StdRng::seed_from_u64(1_000_000 + seed));
        let nodes = 1 + dice.up_to(7);
        let case = json!({
            "nodes": (0..nodes).map(|i| dice.node(i)).collect::<Vec<_>>(),
            "namespaces": [dice.namespace("n1"), dice.namespace("n2")],
            "placed": (0..dice.up_to(14)).map(|i| dice.placed(&format!("p{i}"), nodes)).collect::<Vec<_>>(),
            "pod": dice.pod("wanted"), "high": dice.once_in(3),
        });
        lines.push_str(&format!("{case}\n"));
    }
    std::fs::write(path, lines).unwrap();
}

/// What kind of answer both gave: refused, made room, one node, several with scores.
///
/// # Errors
/// How they differ.
fn agree(case: Case) -> Result<usize, String> {
    let same = |ours: &str, theirs: &str| {
        if ours == theirs { Ok(()) } else { Err(format!("ours:   {ours}\ntheirs: {theirs}")) }
    };
    let mut world = World::default();
    case.namespaces.iter().for_each(|n| world.cluster.facts.set_namespace(n, false));
    case.nodes.iter().for_each(|n| drop(world.cluster.set_node(n)));
    case.placed.iter().for_each(|p| drop(world.cluster.set_pod(Arc::new(PodInfo::new(p)))));
    let answer = case.answer;
    let outcome = world.schedule(&PodInfo::new(&case.pod));
    let name = |at| world.cluster.node(at).unwrap().name.to_string();
    match outcome {
        Outcome::Unschedulable(failure) if matches!(failure.preemption, Some(Preemption::Evict { .. })) => {
            // Its victims may have gone at once, so that it was bound before anybody could see it wait.
            if !answer.nominated.is_empty() {
                same(&failure.message(), &answer.message)?;
            }
            // Victims without a start time leave the choice among equals to chance.
            let theirs = if answer.nominated.is_empty() { &answer.node } else { &answer.nominated };
            let mendable = failure.nodes.iter().filter(|(_, kind)| failure.kinds[*kind].1.resolvable);
            let ours: Vec<String> = mendable.map(|(at, _)| name(*at)).collect();
            if ours.contains(theirs) { Ok(1) } else { Err(format!("ours: {ours:?}\ntheirs: {theirs}")) }
        }
        Outcome::Unschedulable(failure) => same(&failure.message(), &answer.message).map(|()| 0),
        Outcome::Node(at) if answer.scores.is_empty() => {
            same(&name(at), &format!("{}{}", answer.node, answer.message)).map(|()| 2)
        }
        Outcome::Node(at) => {
            // Ours leave out what all nodes have in common.
            let ours = world.memory.feasible().iter().zip(world.memory.scores());
            let ours: BTreeMap<String, i64> = ours.map(|(at, s)| (name(*at), *s)).collect();
            let level = |scores: &BTreeMap<String, i64>| {
                let least = scores.values().min().copied().unwrap_or(0);
                format!("{:?}", scores.iter().map(|(n, s)| (n, s - least)).collect::<BTreeMap<_, _>>())
            };
            same(&level(&ours), &level(&answer.scores))?;
            let best = answer.scores.values().max();
            let chosen = [answer.scores.get(&name(at)), answer.scores.get(&answer.node)];
            same(&format!("{chosen:?}"), &format!("{:?}", [best, best])).map(|()| 3)
        }
        Outcome::Error(error) => Err(error),
    }
}

#[test]
fn answers_are_the_real_schedulers() {
    if let Ok(path) = std::env::var("GANTRY_SCHEDULER_DUMP") {
        return dump(&path);
    }
    let mut kinds = [0; 4];
    let mut wrong = Vec::new();
    for (i, line) in include_str!("../../testdata/recorded.jsonl").lines().enumerate() {
        match agree(serde_json::from_str(line).unwrap()) {
            Ok(kind) => kinds[kind] += 1,
            Err(how) => wrong.push(format!("case {i}\n{how}")),
        }
    }
    println!("refused {}, made room {}, one node {}, scored {}", kinds[0], kinds[1], kinds[2], kinds[3]);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(kinds.iter().all(|n| *n > 0), "every kind of answer must be there: {kinds:?}");
}
