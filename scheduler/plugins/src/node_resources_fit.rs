//! `NodeResourcesFit`: what a pod asks for must be free; emptier nodes are liked (LeastAllocated).

use gantry_scheduler_core::framework::{Carried, Change, MAX_SCORE};
use gantry_scheduler_core::{Cluster, NodeInfo, Plugin, PodInfo, Rejection};
use std::borrow::Cow;

pub struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        let (asks, has, used) = (&pod.requests, &node.allocatable, &node.requested);
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        let mut resolvable = true;
        if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= node.allowed_pods {
            reasons.push("Too many pods".into());
        }
        let plain = [
            ("Insufficient cpu", asks.cpu, has.cpu, used.cpu),
            ("Insufficient memory", asks.memory, has.memory, used.memory),
            ("Insufficient ephemeral-storage", asks.ephemeral, has.ephemeral, used.ephemeral),
        ];
        for (reason, asks, has, used) in plain {
            if asks > 0 && asks > has - used {
                reasons.push(reason.into());
                resolvable &= asks <= has;
            }
        }
        for (name, asks) in asks.scalars.iter().filter(|(_, asks)| *asks != 0) {
            let has = has.scalar(name);
            if *asks > has - used.scalar(name) {
                reasons.push(format!("Insufficient {name}").into());
                resolvable &= *asks <= has;
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(Rejection { reasons, resolvable }) }
    }

    fn scores(&self, _: &PodInfo) -> bool {
        true
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &Cluster, _: &Carried) -> i64 {
        let free = |used: i64, has: i64| if used > has { 0 } else { (has - used) * MAX_SCORE / has };
        let pairs = [
            (node.scoring.0 + pod.scoring.0, node.allocatable.cpu),
            (node.scoring.1 + pod.scoring.1, node.allocatable.memory),
        ];
        let counted: Vec<i64> =
            pairs.into_iter().filter(|(_, has)| *has != 0).map(|(u, h)| free(u, h)).collect();
        let count = i64::try_from(counted.len()).unwrap_or(0);
        if count == 0 { 0 } else { counted.iter().sum::<i64>() / count }
    }

    fn helps(&self, pod: &PodInfo, change: Change, cluster: &Cluster) -> bool {
        let (Change::NodeAdded(index) | Change::NodeChanged(index) | Change::PodLeft(index)) = change;
        cluster.node(index).is_some_and(|node| self.filter(pod, node, &None).is_ok())
    }
}
