//! Pods that wait: ready to be tried, backing off, or refused until something changes.

use crate::cluster::Cluster;
use crate::framework::{Change, Profile};
use crate::pod::PodInfo;
use jiff::{SignedDuration, Timestamp};
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// A pod refused is tried again after this long even where nothing seems to help it.
pub const UNSCHEDULABLE_LIMIT: SignedDuration = SignedDuration::from_mins(5);

/// One waiting pod.
#[derive(Clone, Debug)]
pub struct Entry {
    pub pod: Arc<PodInfo>,
    /// Tries so far.
    pub attempts: u32,
    /// When it first came, for metrics.
    pub first: Timestamp,
    /// When it came into the queue it is in.
    since: Timestamp,
    /// Bit per plugin that refused it last.
    refused_by: u64,
    seq: u64,
}

/// In the heap: higher priority first, then the longest waiting.
#[derive(Debug)]
struct Turn {
    priority: i32,
    since: Timestamp,
    seq: u64,
    uid: Box<str>,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.priority, Reverse(self.since), Reverse(self.seq)).cmp(&(
            other.priority,
            Reverse(other.since),
            Reverse(other.seq),
        ))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    BackingOff,
    Unschedulable,
    Gated,
}

/// How long a pod waits after failed tries.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub initial: SignedDuration,
    pub max: SignedDuration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: SignedDuration::from_secs(1), max: SignedDuration::from_secs(10) }
    }
}

/// The queues of one scheduler. Each pod is in exactly one place; heaps may hold turns that are no longer
/// true and skip them by their number.
#[derive(Default)]
pub struct Queue {
    entries: HashMap<Box<str>, (Place, Entry)>,
    active: BinaryHeap<Turn>,
    backing_off: BinaryHeap<Reverse<(Timestamp, u64, Box<str>)>>,
    backoff: Backoff,
    seq: u64,
}

impl Queue {
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Counts in the order active, backing off, unschedulable, gated.
    pub fn counts(&self) -> [usize; 4] {
        let mut out = [0; 4];
        for (place, _) in self.entries.values() {
            out[*place as usize] += 1;
        }
        out
    }

    fn put(&mut self, mut entry: Entry, place: Place, now: Timestamp) {
        self.seq += 1;
        (entry.seq, entry.since) = (self.seq, now);
        let uid = entry.pod.uid.clone();
        match place {
            Place::Active => self.active.push(Turn {
                priority: entry.pod.priority,
                since: entry.first,
                seq: entry.seq,
                uid: uid.clone(),
            }),
            Place::BackingOff => {
                let at = now.checked_add(self.pause(entry.attempts)).unwrap_or(now);
                self.backing_off.push(Reverse((at, entry.seq, uid.clone())));
            }
            Place::Unschedulable | Place::Gated => {}
        }
        self.entries.insert(uid, (place, entry));
    }

    fn pause(&self, attempts: u32) -> SignedDuration {
        let doublings = attempts.saturating_sub(1).min(16);
        (self.backoff.initial * (1 << doublings)).min(self.backoff.max)
    }

    /// A pod that waits to be scheduled, new or changed. A change of a refused pod may be what it needs.
    pub fn set(&mut self, pod: Arc<PodInfo>, now: Timestamp) {
        match self.entries.remove(&pod.uid) {
            None => {
                let place = if pod.gated { Place::Gated } else { Place::Active };
                let entry = Entry { pod, attempts: 0, first: now, since: now, refused_by: 0, seq: 0 };
                self.put(entry, place, now);
            }
            Some((place, entry)) => {
                let status_only = same_wish(&entry.pod, &pod);
                let place = match place {
                    _ if pod.gated => Place::Gated,
                    Place::Gated => Place::Active,
                    Place::Unschedulable if !status_only => Place::BackingOff,
                    Place::Unschedulable | Place::BackingOff if status_only => {
                        // Our own status patch comes back as a change: it helps nobody, and keeps its place.
                        let uid = pod.uid.clone();
                        self.entries.insert(uid, (place, Entry { pod, ..entry }));
                        return;
                    }
                    other => other,
                };
                self.put(Entry { pod, ..entry }, place, now);
            }
        }
    }

    /// The pod was bound, deleted, or is no longer ours.
    pub fn remove(&mut self, uid: &str) {
        self.entries.remove(uid);
    }

    /// The next pod to try; its entry leaves the queue.
    pub fn pop(&mut self, now: Timestamp) -> Option<Entry> {
        self.end_backoffs(now);
        while let Some(turn) = self.active.pop() {
            let current = self
                .entries
                .get(&turn.uid)
                .is_some_and(|(place, e)| *place == Place::Active && e.seq == turn.seq);
            if current && let Some((_, mut entry)) = self.entries.remove(&turn.uid) {
                entry.attempts += 1;
                return Some(entry);
            }
        }
        None
    }

    fn end_backoffs(&mut self, now: Timestamp) {
        while let Some(Reverse((at, ..))) = self.backing_off.peek()
            && *at <= now
            && let Some(Reverse((_, seq, uid))) = self.backing_off.pop()
        {
            let current =
                self.entries.get(&uid).is_some_and(|(place, e)| *place == Place::BackingOff && e.seq == seq);
            if current && let Some((_, entry)) = self.entries.remove(&uid) {
                self.put(entry, Place::Active, now);
            }
        }
    }

    /// No node would do: the pod waits until a change helps one of the plugins that refused it.
    pub fn refuse(&mut self, mut entry: Entry, plugins: u64, now: Timestamp) {
        entry.refused_by = plugins;
        self.put(entry, Place::Unschedulable, now);
    }

    /// Something failed that trying again may mend.
    pub fn retry(&mut self, entry: Entry, now: Timestamp) {
        self.put(entry, Place::BackingOff, now);
    }

    /// Wakes the pods a change may help.
    pub fn changed(&mut self, change: Change, profile: &Profile, cluster: &Cluster, now: Timestamp) {
        let helped: Vec<Box<str>> = self
            .entries
            .iter()
            .filter(|(_, (place, e))| {
                *place == Place::Unschedulable
                    && profile.plugins.iter().enumerate().any(|(i, (plugin, _))| {
                        (e.refused_by == 0 || e.refused_by & (1 << i) != 0)
                            && plugin.helps(&e.pod, change, cluster)
                    })
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in helped {
            self.wake(&uid, now);
        }
    }

    fn wake(&mut self, uid: &str, now: Timestamp) {
        let Some((_, entry)) = self.entries.remove(uid) else { return };
        let waited = now.duration_since(entry.since) >= self.pause(entry.attempts);
        self.put(entry, if waited { Place::Active } else { Place::BackingOff }, now);
    }

    /// Wakes pods that were refused long ago.
    pub fn flush(&mut self, now: Timestamp) {
        let old: Vec<Box<str>> = self
            .entries
            .iter()
            .filter(|(_, (place, e))| {
                *place == Place::Unschedulable && now.duration_since(e.since) >= UNSCHEDULABLE_LIMIT
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in old {
            self.wake(&uid, now);
        }
    }

    /// When there is something to do by itself; `None`: not before a change.
    pub fn next(&self) -> Option<Timestamp> {
        let backoff = self.backing_off.peek().map(|Reverse((at, ..))| *at);
        let waiting = self.entries.values().filter(|(place, _)| *place == Place::Unschedulable);
        let oldest =
            waiting.map(|(_, e)| e.since).min().and_then(|s| s.checked_add(UNSCHEDULABLE_LIMIT).ok());
        [backoff, oldest].into_iter().flatten().min()
    }
}

/// Whether two states of a pod ask for the same.
fn same_wish(a: &PodInfo, b: &PodInfo) -> bool {
    a.requests == b.requests
        && a.labels == b.labels
        && a.tolerations == b.tolerations
        && a.node_selector == b.node_selector
        && a.gated == b.gated
        && a.deleting == b.deleting
}
