//! How long to wait before the next failed pod on a node is replaced.

use jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(15 * 60);

#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Timestamp,
    long: Duration,
}

/// Waits by daemon set, its generation and node. They double with each failure and are forgotten after twice
/// the longest without one.
#[derive(Debug, Default)]
pub(super) struct Backoff(HashMap<String, Wait>);

impl Backoff {
    /// How long is left to wait; otherwise notes a replacement now.
    pub(super) fn admit(&mut self, key: String, now: Timestamp) -> Result<(), Duration> {
        self.0.retain(|_, wait| elapsed(wait, now) <= MOST * 2);
        let known = self.0.get(&key);
        if let Some(wait) = known
            && elapsed(wait, now) < wait.long
        {
            return Err(wait.long);
        }
        let long = known.map_or(FIRST, |wait| (wait.long * 2).min(MOST));
        self.0.insert(key, Wait { since: now, long });
        Ok(())
    }
}

fn elapsed(wait: &Wait, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(wait.since)).unwrap_or_default()
}
