//! Exponential back-off per key, as upstream's crash loop and image pull use it.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::time::Duration;

#[derive(Clone, Debug)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

/// Delays that double from `initial` to `max`, and start over once a key has been quiet for twice `max`.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    entries: HashMap<String, Entry>,
}

impl Backoff {
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, entries: HashMap::new() }
    }

    /// 10 s to 5 min.
    pub fn standard() -> Self {
        Self::new(Duration::from_secs(10), Duration::from_secs(300))
    }

    fn expired(&self, entry: &Entry, now: Timestamp) -> bool {
        let quiet = now.duration_since(entry.updated);
        quiet > SignedDuration::try_from(self.max * 2).unwrap_or(SignedDuration::MAX)
    }

    pub fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map(|e| e.delay).unwrap_or_default()
    }

    /// Records another failure at `now`.
    pub fn next(&mut self, key: &str, now: Timestamp) {
        let delay = match self.entries.get(key) {
            Some(e) if !self.expired(e, now) => (e.delay * 2).min(self.max),
            _ => self.initial,
        };
        self.entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// Whether `now` is still within the delay counted from `since`; the end of it where so.
    pub fn waiting_since(&self, key: &str, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        if self.expired(entry, since) {
            return None;
        }
        let until = since + entry.delay;
        (now < until).then_some(until)
    }

    /// As [`Self::waiting_since`], counted from the last recorded failure.
    pub fn waiting(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        self.waiting_since(key, entry.updated, now)
    }

    pub fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_start_over() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let mut b = Backoff::standard();
        assert_eq!(b.waiting("k", at(0)), None);
        let mut now = 0;
        for want in [10, 20, 40, 80, 160, 300, 300] {
            b.next("k", at(now));
            assert_eq!(b.delay("k"), Duration::from_secs(want));
            assert!(b.waiting("k", at(now + want as i64 - 1)).is_some());
            now += want as i64;
            assert_eq!(b.waiting("k", at(now)), None);
        }
        b.next("k", at(now + 601));
        assert_eq!(b.delay("k"), Duration::from_secs(10));
    }
}
