//! From the number of nodes to seconds, with some slack so that a node more or less changes nothing.

/// A step of the scale: `(fewest nodes, most nodes, seconds)`.
const STEPS: &[(usize, usize, i64)] =
    &[(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// Where the cluster stands.
#[derive(Debug, Default)]
pub(super) struct Scale {
    nodes: usize,
    step: usize,
}

impl Scale {
    pub(super) fn grow(&mut self) {
        self.nodes += 1;
        if self.nodes > STEPS[self.step].1 {
            self.step += 1;
        }
    }

    pub(super) fn shrink(&mut self) {
        self.nodes = self.nodes.saturating_sub(1);
        if self.nodes < STEPS[self.step].0 {
            self.step -= 1;
        }
    }

    pub(super) fn seconds(&self) -> i64 {
        STEPS[self.step].2
    }
}
