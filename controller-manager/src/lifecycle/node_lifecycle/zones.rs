//! How fast nodes may be tainted for eviction, by the health of their zone.

use super::plan::{self, Permit};
use k8s_openapi::api::core::v1::Node;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Nodes per second in a healthy zone.
    pub rate: f64,
    /// Nodes per second in a large zone that is partly broken.
    pub secondary_rate: f64,
    /// From this share of broken nodes on a zone counts as partly broken.
    pub unhealthy_threshold: f64,
    pub large_cluster: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Normal,
    Partial,
    Full,
}

pub(super) struct Zones {
    limits: Limits,
    /// When each zone's next node may be tainted.
    next: HashMap<String, Instant>,
}

/// Region and zone; both may be empty.
fn zone(node: &Node) -> String {
    let label =
        |name: &str| node.metadata.labels.as_ref().and_then(|l| l.get(name)).cloned().unwrap_or_default();
    format!("{}:\0:{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

/// A zone's state from how many of its nodes are ready.
pub(super) fn state(limits: &Limits, ready: usize, broken: usize) -> State {
    if ready == 0 && broken > 0 {
        State::Full
    } else if broken > 2 && broken as f64 / (ready + broken) as f64 >= limits.unhealthy_threshold {
        State::Partial
    } else {
        State::Normal
    }
}

impl Zones {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, next: HashMap::new() }
    }

    /// Whether this node may be tainted now, and otherwise when to ask again.
    pub(super) fn permit(
        &mut self,
        node: &Node,
        all: &[Arc<Node>],
        now: Instant,
    ) -> (Permit, Option<Duration>) {
        if plan::ready(node) == "True" {
            return (Permit::Yes, None);
        }
        let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
        let excluded = |n: &Node| {
            n.metadata
                .labels
                .as_ref()
                .is_some_and(|l| l.contains_key("node.kubernetes.io/exclude-disruption"))
        };
        for other in all.iter().filter(|n| !excluded(n)) {
            let count = counts.entry(zone(other)).or_default();
            if plan::ready(other) == "True" { count.0 += 1 } else { count.1 += 1 }
        }
        let states: HashMap<&String, State> =
            counts.iter().map(|(z, (r, b))| (z, state(&self.limits, *r, *b))).collect();
        // A cluster of one node is no evidence against ourselves, in upstream's eyes it is: follow it.
        if !states.is_empty() && states.values().all(|s| *s == State::Full) {
            return (Permit::Never, None);
        }
        let zone = zone(node);
        let size = counts.get(&zone).map_or(1, |(r, b)| r + b);
        let rate = match states.get(&zone).copied().unwrap_or(State::Normal) {
            State::Normal | State::Full => self.limits.rate,
            State::Partial if size > self.limits.large_cluster => self.limits.secondary_rate,
            State::Partial => 0.0,
        };
        if rate <= 0.0 {
            return (Permit::Later, None);
        }
        match self.next.get(&zone) {
            Some(at) if *at > now => (Permit::Later, Some(*at - now)),
            _ => {
                self.next.insert(zone, now);
                (Permit::Yes, None)
            }
        }
    }

    /// A node of this zone was tainted: the next one waits.
    pub(super) fn spend(&mut self, node: &Node, now: Instant) {
        self.next.insert(zone(node), now + Duration::from_secs_f64(1.0 / self.limits.rate.max(0.001)));
    }
}
