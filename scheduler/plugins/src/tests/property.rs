//! The plugins and the reference agree on every random cluster, also after things have happened to it.
//!
//! `GANTRY_SCHEDULER_CASES` says how many pairs of cluster and pod to try, `GANTRY_SCHEDULER_SEED` where to
//! begin.

use super::fixtures::World;
use super::random::Dice;
use super::reference::{Everything, feasible};
use super::*;
use gantry_scheduler_core::NodeIndex;
use k8s_openapi::api::core::v1::Namespace;
use rand::rngs::StdRng;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

/// A cluster twice: as plain objects, and as the scheduler holds it.
struct Twins {
    plain: Everything,
    world: World,
}

impl Twins {
    fn new(dice: &mut Dice) -> Self {
        let mut out = Self { plain: Everything::default(), world: World::default() };
        out.world.profile.percentage_of_nodes_to_score = 100;
        for name in ["n1", "n2"] {
            let object = dice.namespace(name);
            out.namespace(serde_json::from_value(object).unwrap());
        }
        dice.storage(&mut out.plain);
        let facts = &mut out.world.cluster.facts;
        out.plain.claims.iter().for_each(|c| facts.set_claim(Arc::new(c.clone()), false));
        out.plain.volumes.iter().for_each(|v| facts.set_volume(Arc::new(v.clone()), false));
        for class in &out.plain.classes {
            facts.classes.insert(class.metadata.name.clone().unwrap(), Arc::new(class.clone()));
        }
        let nodes = 1 + dice.up_to(8);
        // Pods may be heard of before their nodes.
        for i in 0..dice.up_to(20) {
            let pod = dice.placed(&format!("p{i}"), nodes);
            out.place(serde_json::from_value(pod).unwrap());
        }
        for i in 0..nodes {
            let node = dice.node(i);
            out.node(serde_json::from_value(node).unwrap());
        }
        out
    }

    fn namespace(&mut self, object: Namespace) {
        self.world.cluster.facts.set_namespace(&object, false);
        self.plain.namespaces.retain(|n| n.metadata.name != object.metadata.name);
        self.plain.namespaces.push(object);
    }

    fn place(&mut self, pod: Pod) {
        self.world.cluster.set_pod(Arc::new(PodInfo::new(&pod)));
        self.plain.pods.retain(|p| p.metadata.uid != pod.metadata.uid);
        self.plain.pods.push(pod);
    }

    fn node(&mut self, node: Node) {
        self.world.cluster.set_node(&node);
        self.plain.nodes.retain(|n| n.metadata.name != node.metadata.name);
        self.plain.nodes.push(node);
    }

    /// Something happens.
    fn shake(&mut self, dice: &mut Dice) {
        match dice.up_to(6) {
            0 | 1 => {
                let name = format!("p{}", dice.up_to(24));
                let pod = dice.placed(&name, 8);
                self.place(serde_json::from_value(pod).unwrap());
            }
            2 => {
                let uid = format!("p{}", dice.up_to(24));
                self.world.cluster.remove_pod(&uid);
                self.plain.pods.retain(|p| p.metadata.uid.as_deref() != Some(&uid));
            }
            3 => {
                let i = dice.up_to(8);
                let node = dice.node(i);
                self.node(serde_json::from_value(node).unwrap());
            }
            4 => {
                let name = format!("n{}", dice.up_to(8));
                self.world.cluster.remove_node(&name);
                self.plain.nodes.retain(|n| n.metadata.name.as_deref() != Some(&name));
            }
            _ => {
                let name = ["n1", "n2"][dice.up_to(2)];
                let object = dice.namespace(name);
                self.namespace(serde_json::from_value(object).unwrap());
            }
        }
    }

    /// How many of the nodes do, of all.
    fn compare(&mut self, pod: &Pod, seed: u64) -> (usize, usize) {
        let expected = feasible(pod, &self.plain);
        let got = self.world.feasible(&PodInfo::new(pod));
        assert_eq!(got, expected, "seed {seed}\npod {}", serde_json::to_string(pod).unwrap());
        // A trial comes to the same, and leaves everything as it was.
        let trial = self.world.trial(&PodInfo::new(pod));
        let named = |at: &NodeIndex| self.world.cluster.node(*at).unwrap().name.to_string();
        let mut fit: Vec<String> = trial.feasible.iter().map(named).collect();
        fit.sort();
        assert_eq!(fit, expected, "trial, seed {seed}\npod {}", serde_json::to_string(pod).unwrap());
        (expected.len(), self.plain.nodes.len())
    }
}

#[test]
fn feasible_sets_equal_the_references() {
    let (cases, first) = (number("GANTRY_SCHEDULER_CASES", 2_000), number("GANTRY_SCHEDULER_SEED", 1));
    let (mut tried, mut seed, mut some, mut all) = (0, first, 0, 0);
    while tried < cases {
        let mut dice = Dice(StdRng::seed_from_u64(seed));
        let mut twins = Twins::new(&mut dice);
        let pods: Vec<Pod> =
            (0..4).map(|i| serde_json::from_value(dice.pod(&format!("w{i}"))).unwrap()).collect();
        for _ in 0..3 {
            for pod in &pods {
                let (feasible, nodes) = twins.compare(pod, seed);
                tried += 1;
                some += u64::from(feasible > 0 && feasible < nodes);
                all += u64::from(feasible == nodes);
            }
            for _ in 0..1 + dice.up_to(4) {
                twins.shake(&mut dice);
            }
        }
        seed += 1;
    }
    println!("{tried} pairs agree, seeds {first} to {}: {some} fit on some nodes, {all} on all", seed - 1);
    assert!(some * 4 > tried, "cases that tell nothing apart prove nothing");
}
