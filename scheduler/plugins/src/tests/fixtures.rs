//! A cluster and a scheduler's memory, for tests.

use super::*;
use gantry_scheduler_core::outside::Nobody;
use gantry_scheduler_core::{Scheduler, Trial};
use rand::rngs::StdRng;

pub struct World {
    pub cluster: Cluster,
    pub memory: Memory,
    pub profile: Profile,
    start: usize,
    rng: StdRng,
}

impl Default for World {
    fn default() -> Self {
        Self {
            cluster: Cluster::default(),
            memory: Memory::default(),
            profile: default_profile("default-scheduler"),
            start: 0,
            rng: StdRng::seed_from_u64(7),
        }
    }
}

impl World {
    pub fn schedule(&mut self, pod: &PodInfo) -> Outcome {
        let mut scheduler = Scheduler {
            at: 0,
            profile: &self.profile,
            memory: &mut self.memory,
            start: &mut self.start,
            rng: &mut self.rng,
            outside: &mut Nobody,
        };
        scheduler.schedule(pod, &mut self.cluster)
    }

    pub fn trial(&mut self, pod: &PodInfo) -> Trial {
        Trial::run(0, &self.profile, &mut self.memory, pod, &mut self.cluster)
    }

    /// The failure of a pod that must fit nowhere.
    pub fn refuse(&mut self, pod: &PodInfo) -> Failure {
        match self.schedule(pod) {
            Outcome::Unschedulable(failure) => failure,
            other => panic!("{} must not fit: {other:?}", pod.name),
        }
    }

    /// The names of the nodes it could choose among, sorted.
    pub fn feasible(&mut self, pod: &PodInfo) -> Vec<String> {
        let _ = self.schedule(pod);
        let nodes = self.memory.feasible().iter().filter_map(|at| self.cluster.node(*at));
        let mut names: Vec<String> = nodes.map(|n| n.name.to_string()).collect();
        names.sort();
        names
    }

    /// Where the pod goes, or why not.
    pub fn decide(&mut self, pod: &PodInfo) -> String {
        match self.schedule(pod) {
            Outcome::Node(i) => self.cluster.node(i).unwrap().name.to_string(),
            Outcome::Error(error) => error,
            Outcome::Unschedulable(failure) => match &failure.preemption {
                Some(Preemption::Evict { node, victims, .. }) => {
                    let mut names: Vec<_> = victims.iter().map(|v| &*v.name).collect();
                    names.sort();
                    format!("{} without {}", self.cluster.node(*node).unwrap().name, names.join(","))
                }
                _ => failure.message(),
            },
        }
    }
}
