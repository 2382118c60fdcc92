//! Topology: for each label key that matters, the value of every node as a small number.

use crate::labels::LabelSet;
use std::collections::HashMap;
use std::sync::Arc;

/// A node that lacks the label.
pub const NONE: u32 = u32::MAX;

/// One topology key. The key of [`Topology::NODE`] stands for the node itself, whatever its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyIndex(pub u32);

struct Column {
    key: Arc<str>,
    ids: HashMap<Arc<str>, u32>,
    /// How many nodes have each value; values nobody has are given out again.
    nodes: Vec<u32>,
    free: Vec<u32>,
    /// By node slot.
    of: Vec<u32>,
}

/// The columns of all keys asked for so far.
pub struct Topology {
    columns: Vec<Column>,
    by_key: HashMap<Arc<str>, KeyIndex>,
}

impl Default for Topology {
    fn default() -> Self {
        let node = Column {
            key: "".into(),
            ids: HashMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            of: Vec::new(),
        };
        Self { columns: vec![node], by_key: HashMap::new() }
    }
}

impl Topology {
    pub const NODE: KeyIndex = KeyIndex(0);

    /// The key's column; a new one is filled from `nodes`.
    pub fn key<'a>(&mut self, key: &str, nodes: impl Iterator<Item = Option<&'a LabelSet>>) -> KeyIndex {
        if let Some(known) = self.by_key.get(key) {
            return *known;
        }
        let index = KeyIndex(u32::try_from(self.columns.len()).unwrap_or(u32::MAX));
        let name: Arc<str> = key.into();
        self.by_key.insert(name.clone(), index);
        self.columns.push(Column {
            key: name,
            ids: HashMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            of: Vec::new(),
        });
        for (slot, labels) in nodes.enumerate() {
            self.columns[index.0 as usize].set(slot, labels);
        }
        index
    }

    /// Takes a node's labels as they are now; `None` where the node is gone.
    pub fn set(&mut self, slot: usize, labels: Option<&LabelSet>) {
        let node = &mut self.columns[0];
        if node.of.len() <= slot {
            node.of.resize(slot + 1, NONE);
        }
        node.of[slot] = if labels.is_some() { u32::try_from(slot).unwrap_or(NONE) } else { NONE };
        for column in &mut self.columns[1..] {
            column.set(slot, labels);
        }
    }

    /// A node's value, [`NONE`] where it has none.
    pub fn value(&self, key: KeyIndex, slot: usize) -> u32 {
        self.columns[key.0 as usize].of.get(slot).copied().unwrap_or(NONE)
    }

    /// The whole column, by node slot; slots past its end have no value.
    pub fn column(&self, key: KeyIndex) -> &[u32] {
        &self.columns[key.0 as usize].of
    }
}

impl Column {
    fn set(&mut self, slot: usize, labels: Option<&LabelSet>) {
        if self.of.len() <= slot {
            self.of.resize(slot + 1, NONE);
        }
        let new = labels.and_then(|l| l.shared(&self.key)).map(|value| self.id(value));
        let old = std::mem::replace(&mut self.of[slot], new.unwrap_or(NONE));
        if let Some(new) = new {
            self.nodes[new as usize] += 1;
        }
        if old != NONE {
            self.nodes[old as usize] -= 1;
            if self.nodes[old as usize] == 0 {
                self.ids.retain(|_, id| *id != old);
                self.free.push(old);
            }
        }
    }

    fn id(&mut self, value: &Arc<str>) -> u32 {
        if let Some(id) = self.ids.get(value) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(0);
            u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
        });
        self.ids.insert(value.clone(), id);
        id
    }
}
