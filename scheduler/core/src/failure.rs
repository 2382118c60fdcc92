//! Why a pod fits nowhere, and how that is told.

use crate::cluster::NodeIndex;
use crate::framework::Rejection;
use crate::preemption::Preemption;
use std::collections::BTreeMap;

/// In [`Failure::plugins`]: an extender refused nodes, so that any change may help.
pub const EXTENDER: u64 = 1 << 63;

/// Why no node would do.
#[derive(Debug, Default)]
pub struct Failure {
    /// Bit per plugin of the profile that refused something: who to ask whether a change helps.
    pub plugins: u64,
    /// A refusal of the pod as a whole, before any node.
    pub whole: Option<Rejection>,
    /// Every node refused, and the place of why in `kinds`.
    pub nodes: Vec<(NodeIndex, usize)>,
    /// Distinct refusals, and by which plugin.
    pub kinds: Vec<(usize, Rejection)>,
    /// Said of the nodes not looked at, as a plugin left them out.
    pub absent: Option<String>,
    pub total: usize,
    /// What came of making room.
    pub preemption: Option<Preemption>,
}

impl Failure {
    /// Upstream's `FailedScheduling` message.
    pub fn message(&self) -> String {
        if self.total == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut text = format!("0/{} nodes are available:", self.total);
        if let Some(whole) = &self.whole {
            let reasons: Vec<&str> = whole.reasons.iter().map(|r| &**r).collect();
            text.push_str(&format!(" {}.", reasons.join(", ")));
        } else {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            let mut by_kind = vec![0; self.kinds.len()];
            self.nodes.iter().for_each(|(_, kind)| by_kind[*kind] += 1);
            for ((_, kind), count) in self.kinds.iter().zip(by_kind).filter(|(_, n)| *n > 0) {
                kind.reasons.iter().for_each(|r| *counts.entry(r).or_default() += count);
            }
            if let Some(absent) = self.absent.as_deref().filter(|_| self.nodes.len() < self.total) {
                *counts.entry(absent).or_default() += self.total - self.nodes.len();
            }
            let reasons = histogram(counts);
            if !reasons.is_empty() {
                text.push_str(&format!(" {reasons}."));
            }
        }
        if let Some(Preemption::Nothing { message, .. }) = &self.preemption {
            text.push(' ');
            text.push_str(message);
        }
        text
    }

    /// The node's refusal, where it was looked at.
    pub fn of(&self, node: NodeIndex) -> Option<&Rejection> {
        let (_, kind) = self.nodes.iter().find(|(n, _)| *n == node)?;
        Some(&self.kinds[*kind].1)
    }
}

/// `2 Insufficient cpu, 1 node(s) were unschedulable`, sorted as text, as upstream prints it.
pub fn histogram(counts: BTreeMap<&str, usize>) -> String {
    let mut lines: Vec<String> = counts.into_iter().map(|(r, n)| format!("{n} {r}")).collect();
    lines.sort();
    lines.join(", ")
}
