//! The newest changes, for watchers that keep up; the others read from disk.

use gantry_storage::{Event, Revision};
use std::collections::VecDeque;

const MOST: usize = 1024;
const MOST_BYTES: usize = 2 << 20;

#[derive(Debug, Default)]
pub struct Recent {
    events: VecDeque<Event>,
    bytes: usize,
    /// Everything after this revision is here.
    floor: Revision,
}

fn size(event: &Event) -> usize {
    match event {
        Event::Put(kv) => kv.value.len(),
        Event::Delete { previous, .. } => previous.as_ref().map_or(0, |p| p.value.len()),
    }
}

impl Recent {
    pub fn starting_at(floor: Revision) -> Self {
        Self { floor, ..Self::default() }
    }

    pub fn push(&mut self, event: Event) {
        self.bytes += size(&event);
        self.events.push_back(event);
        while self.events.len() > MOST || (self.bytes > MOST_BYTES && self.events.len() > 1) {
            let Some(old) = self.events.pop_front() else { break };
            self.bytes -= size(&old);
            self.floor = old.revision();
        }
    }

    /// The changes after `after`, or `None` when some are no longer here.
    pub fn after(&self, after: Revision, prefix: &str, limit: usize) -> Option<(Vec<Event>, Revision)> {
        if after < self.floor {
            return None;
        }
        let from = self.events.partition_point(|e| e.revision() <= after);
        let mut last = after;
        let window = self.events.range(from..).take(limit);
        let events = window.inspect(|e| last = e.revision()).filter(|e| e.key().starts_with(prefix));
        let events = events.cloned().collect();
        Some((events, last))
    }
}
