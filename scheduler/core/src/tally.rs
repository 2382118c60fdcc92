//! Tallies: how many pods of some kind there are in each topology domain, kept event by event.
//!
//! A tally weighs every pod shape once ([`Tally::weigh`]); after that an event of a pod costs one addition for
//! each tally its shape counts in. Affinity, anti-affinity (both ways), preferences and spreading are all
//! tallies.

use crate::node::NodeInfo;
use crate::shape::Shape;
use crate::topology::{KeyIndex, NONE};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TallyIndex(pub u32);

/// What to count.
pub struct TallySpec {
    pub key: KeyIndex,
    /// What a pod of this shape counts for.
    pub weigh: Box<dyn Fn(&Shape) -> i64 + Send + Sync>,
    /// Which nodes count at all; `None` for all that have the key. Depends on labels and taints only.
    pub eligible: Option<Box<dyn Fn(&NodeInfo) -> bool + Send + Sync>>,
    /// Leaves out pods that are being deleted.
    pub living: bool,
}

/// One running count.
pub struct Tally {
    pub(crate) spec: TallySpec,
    counts: Vec<i64>,
    /// By value, the nodes that count; kept where not all do.
    members: Vec<u32>,
    /// By node slot.
    eligible: Vec<bool>,
    domains: usize,
    /// Counts that are not zero.
    nonzero: usize,
}

impl Tally {
    pub(crate) fn new(spec: TallySpec) -> Self {
        Self { spec, counts: Vec::new(), members: Vec::new(), eligible: Vec::new(), domains: 0, nonzero: 0 }
    }

    pub fn key(&self) -> KeyIndex {
        self.spec.key
    }

    /// By value; values past the end count nothing.
    pub fn count(&self, value: u32) -> i64 {
        self.counts.get(value as usize).copied().unwrap_or(0)
    }

    pub fn counts(&self) -> &[i64] {
        &self.counts
    }

    /// Whether nothing is counted anywhere.
    pub fn is_zero(&self) -> bool {
        self.nonzero == 0
    }

    /// Domains with at least one node that counts.
    pub fn domains(&self) -> usize {
        self.domains
    }

    /// The least count among [`Tally::domains`].
    pub fn least(&self) -> Option<i64> {
        let counts = self.counts.iter().copied().chain(std::iter::repeat(0));
        self.members.iter().zip(counts).filter(|(m, _)| **m > 0).map(|(_, c)| c).min()
    }

    /// A node came, went or changed; its pods are counted separately, see [`Tally::add`].
    pub(crate) fn set_node(&mut self, slot: usize, value: u32, node: Option<&NodeInfo>) {
        let Some(rule) = &self.spec.eligible else { return };
        let now = value != NONE && node.is_some_and(rule);
        if self.eligible.len() <= slot {
            self.eligible.resize(slot + 1, false);
        }
        self.eligible[slot] = now;
        if now {
            if self.members.len() <= value as usize {
                self.members.resize(value as usize + 1, 0);
            }
            self.members[value as usize] += 1;
            self.domains += usize::from(self.members[value as usize] == 1);
        }
    }

    /// The opposite of [`Tally::set_node`], with the value it had.
    pub(crate) fn unset_node(&mut self, slot: usize, value: u32) {
        if self.eligible.get(slot) == Some(&true) && value != NONE {
            self.eligible[slot] = false;
            self.members[value as usize] -= 1;
            self.domains -= usize::from(self.members[value as usize] == 0);
        }
    }

    pub(crate) fn add(&mut self, slot: usize, value: u32, weight: i64) {
        if value == NONE || (self.spec.eligible.is_some() && self.eligible.get(slot) != Some(&true)) {
            return;
        }
        let at = value as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        let before = self.counts[at];
        self.counts[at] += weight;
        match (before == 0, self.counts[at] == 0) {
            (true, false) => self.nonzero += 1,
            (false, true) => self.nonzero -= 1,
            _ => {}
        }
    }
}
