//! `NodeResourcesBalancedAllocation`: nodes whose CPU and memory would be used more evenly are liked.

use gantry_scheduler_core::framework::{Carried, MAX_SCORE};
use gantry_scheduler_core::{Cluster, NodeInfo, Plugin, PodInfo};

pub struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    /// Pods that ask for neither tip no balance.
    fn scores(&self, pod: &PodInfo) -> bool {
        pod.requests.cpu != 0 || pod.requests.memory != 0
    }

    /// By how much the pod mends (or spoils) the balance, around 75.
    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &Cluster, _: &Carried) -> i64 {
        let (used, has) = (&node.requested, &node.allocatable);
        let before = balance((used.cpu, has.cpu), (used.memory, has.memory));
        let after =
            balance((used.cpu + pod.requests.cpu, has.cpu), (used.memory + pod.requests.memory, has.memory));
        MAX_SCORE / 2 + (MAX_SCORE / 2 + after - before) / 2
    }
}

/// 100 less the standard deviation of the used fractions, in percent.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score of whole percents")]
fn balance(cpu: (i64, i64), memory: (i64, i64)) -> i64 {
    let fraction = |(used, has): (i64, i64)| (has != 0).then(|| (used as f64 / has as f64).min(1.0));
    let deviation = match (fraction(cpu), fraction(memory)) {
        (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
        _ => 0.0,
    };
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}
