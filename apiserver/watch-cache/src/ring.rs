//! The history of one resource that its watchers share.

use crate::event::Change;
use gantry_storage::Revision;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Changes younger than this are always kept, up to [`MOST`].
const FRESH: Duration = Duration::from_secs(75);
/// Changes older than this go, however few there are, as long as [`FEW`] stay.
const OLD: Duration = Duration::from_secs(300);
/// How many changes may stay beyond [`FRESH`].
const SOME: usize = 1024;
/// How many changes stay beyond [`OLD`].
const FEW: usize = 100;
/// The most changes kept.
const MOST: usize = 102_400;
/// How many of the newest changes keep their encoded frames.
const FRAMES: usize = 256;

/// Changes in revision order, each with a sequence number. The window adapts: everything of the last 75
/// seconds, more while it is little.
#[derive(Debug, Default)]
pub struct Ring {
    changes: VecDeque<Arc<Change>>,
    /// The sequence number of the first change kept.
    base: u64,
    /// State is known at every revision from here on.
    floor: Revision,
}

impl Ring {
    pub fn starting_at(floor: Revision, base: u64) -> Self {
        Self { changes: VecDeque::new(), base, floor }
    }

    /// Adds a change and answers its sequence number. Its revision is at least the last one's.
    pub fn push(&mut self, change: Arc<Change>) -> u64 {
        let now = change.at;
        self.changes.push_back(change);
        if let Some(i) = self.changes.len().checked_sub(FRAMES + 1) {
            self.changes[i].forget_frames();
        }
        self.trim(now);
        self.end() - 1
    }

    /// Drops what has left the window. Idle resources are trimmed by the feed now and then.
    pub fn trim(&mut self, now: Instant) {
        while let Some(first) = self.changes.front() {
            let age = now.saturating_duration_since(first.at);
            let n = self.changes.len();
            if n <= MOST && (age < FRESH || n <= FEW || (n <= SOME && age < OLD)) {
                break;
            }
            self.floor = first.revision;
            self.changes.pop_front();
            self.base += 1;
        }
        if self.changes.capacity() > 4 * self.changes.len() + FRAMES {
            self.changes.shrink_to(2 * self.changes.len());
        }
    }

    pub fn floor(&self) -> Revision {
        self.floor
    }

    pub fn base(&self) -> u64 {
        self.base
    }

    /// The sequence number the next change will get.
    pub fn end(&self) -> u64 {
        self.base + self.changes.len() as u64
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }

    pub fn get(&self, sequence: u64) -> Option<&Arc<Change>> {
        self.changes.get(usize::try_from(sequence.checked_sub(self.base)?).ok()?)
    }

    /// The sequence number of the first change after `revision`.
    pub fn after(&self, revision: Revision) -> u64 {
        self.base + self.changes.partition_point(|c| c.revision <= revision) as u64
    }

    /// Changes after `revision`, newest first.
    pub fn newest_down_to(&self, revision: Revision) -> impl Iterator<Item = &Arc<Change>> {
        self.changes.iter().rev().take_while(move |c| c.revision > revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(n: u64, spacing: Duration) -> (Ring, Instant) {
        let start = Instant::now();
        let mut ring = Ring::starting_at(1, 0);
        let mut now = start;
        for i in 0..n {
            now = start + spacing * u32::try_from(i).unwrap();
            ring.push(Arc::new(Change::new(i + 2, "k".into(), None, None, now)));
        }
        (ring, now)
    }

    #[test]
    fn the_window_follows_time_and_count() {
        // (changes, spacing in ms, kept)
        for (n, ms, kept) in [(50, 60_000, 50), (500, 1_000, 300), (5_000, 50, 1_500), (1_000, 100_000, 100)]
        {
            let (ring, _) = filled(n, Duration::from_millis(ms));
            assert!(ring.len().abs_diff(kept) <= 1, "{n} every {ms} ms kept {}", ring.len());
            assert_eq!(ring.floor(), 1 + n - ring.len() as u64);
            assert_eq!(ring.after(ring.floor()), ring.base());
            assert_eq!(ring.end(), n);
        }
    }

    #[test]
    fn idle_rings_shrink_to_a_few() {
        let (mut ring, last) = filled(5_000, Duration::from_millis(50));
        ring.trim(last + OLD + FRESH);
        assert_eq!(ring.len(), FEW);
    }
}
