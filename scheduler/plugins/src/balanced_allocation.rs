//! `NodeResourcesBalancedAllocation`: nodes whose resources would be used more evenly are liked.

use crate::args::ResourceSpec;
use crate::resource_scores::{balance, used};
use gantry_scheduler_core::framework::{Carried, Cx, MAX_SCORE};
use gantry_scheduler_core::{NodeIndex, NodeInfo, Plugin, Point, Shape};

pub struct BalancedAllocation {
    resources: Vec<ResourceSpec>,
    /// The default: CPU and memory.
    plain: bool,
}

impl BalancedAllocation {
    pub fn new(resources: &[ResourceSpec]) -> Self {
        let plain = matches!(resources, [a, b] if a.name == "cpu" && b.name == "memory");
        Self { resources: resources.to_vec(), plain }
    }

    fn asks(&self, pod: &Shape) -> bool {
        self.resources.iter().any(|r| {
            let asks = &pod.requests;
            0 != match r.name.as_str() {
                "cpu" => asks.cpu,
                "memory" => asks.memory,
                "ephemeral-storage" => asks.ephemeral,
                other => asks.scalar(other),
            }
        })
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreScore, Point::Score]
    }

    /// Pods that ask for nothing tip no balance.
    fn pre_score(&self, cx: &Cx<'_>, _: &[NodeIndex], _: &mut Carried) -> bool {
        self.asks(cx.pod)
    }

    /// By how much the pod mends (or spoils) the balance, around 75.
    fn score(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> i64 {
        let (asks, held, has) = (&cx.pod.requests, &node.requested, &node.allocatable);
        let (before, after) = if self.plain {
            (
                balance([(held.cpu, has.cpu), (held.memory, has.memory)].into_iter()),
                balance(
                    [(held.cpu + asks.cpu, has.cpu), (held.memory + asks.memory, has.memory)].into_iter(),
                ),
            )
        } else {
            let own = (asks, (asks.cpu, asks.memory));
            let uses = || self.resources.iter().map(|r| used(&r.name, node, own, (held.cpu, held.memory)));
            (balance(uses().map(|(b, _, h)| (b, h))), balance(uses().map(|(_, a, h)| (a, h))))
        };
        MAX_SCORE / 2 + (MAX_SCORE / 2 + after - before) / 2
    }
}
