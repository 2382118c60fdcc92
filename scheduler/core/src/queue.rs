//! Pods that wait: ready to be tried, backing off, refused until something changes, or gated.

use crate::cluster::Cluster;
use crate::event::Event;
use crate::framework::Profile;
use crate::pod::PodInfo;
use jiff::{SignedDuration, Timestamp};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

/// A pod refused is tried again after this long even where nothing seems to help it.
pub const UNSCHEDULABLE_LIMIT: SignedDuration = SignedDuration::from_mins(5);

/// One waiting pod.
#[derive(Clone, Debug)]
pub struct Entry {
    pub pod: Arc<PodInfo>,
    /// Which profile is to schedule it.
    pub profile: usize,
    /// Tries so far.
    pub attempts: u32,
    /// When it was first tried, for metrics.
    pub first: Option<Timestamp>,
    /// It was woken because it had waited long, not because something helped.
    pub flushed: bool,
    /// When it came into the queue it is in.
    since: Timestamp,
    /// When it came, or was refused last: its turn among equals.
    stamp: Timestamp,
    /// Bit per plugin that refused it last; none: every event may help.
    refused_by: u64,
    /// Its last try failed for reasons of ours.
    failed: bool,
    seq: u64,
}

/// In the heap: higher rank first, then the longest waiting.
#[derive(Debug)]
struct Turn {
    rank: i64,
    stamp: Timestamp,
    seq: u64,
    uid: Box<str>,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |t: &Self| (t.rank, Reverse(t.stamp), Reverse(t.seq));
        key(self).cmp(&key(other))
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
    /// Kept out by a plugin, by its place in the profile.
    Gated(usize),
}

impl Place {
    /// Upstream's word for it.
    fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::BackingOff => "backoff",
            Self::Unschedulable => "unschedulable",
            Self::Gated(_) => "gated",
        }
    }

    fn number(self) -> usize {
        match self {
            Self::Active => 0,
            Self::BackingOff => 1,
            Self::Unschedulable => 2,
            Self::Gated(_) => 3,
        }
    }
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

impl Backoff {
    fn after(&self, attempts: u32) -> SignedDuration {
        let doublings = attempts.saturating_sub(1).min(16);
        self.initial.checked_mul(1 << doublings).unwrap_or(self.max).min(self.max)
    }
}

/// A waiting pod as it is shown to those who ask.
#[derive(Clone, Copy)]
pub struct Waiting<'a> {
    pub entry: &'a Entry,
    /// `active`, `backoff`, `unschedulable` or `gated`.
    pub queue: &'static str,
    /// When it came there.
    pub since: Timestamp,
    /// When it has backed off, where it does.
    pub until: Option<Timestamp>,
    /// The plugins that refused it last, a bit each.
    pub refused_by: u64,
}

/// How many pods went into each queue, by upstream's word for why.
pub type Moves = HashMap<(&'static str, &'static str), u64>;

/// The queues of one scheduler. Each pod is in exactly one place; heaps may hold turns that are no longer
/// true and skip them by their number.
#[derive(Default)]
pub struct Queue {
    entries: HashMap<Box<str>, (Place, Entry)>,
    active: BinaryHeap<Turn>,
    backing_off: BinaryHeap<Reverse<(Timestamp, u64, Box<str>)>>,
    /// Refused ones, by when they came there.
    waiting: BTreeSet<(Timestamp, u64, Box<str>)>,
    counts: [usize; 4],
    backoff: Backoff,
    seq: u64,
    moves: Moves,
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
        self.counts
    }

    /// What went where since last asked, by `(queue, event)`.
    pub fn moves(&mut self) -> Moves {
        std::mem::take(&mut self.moves)
    }

    /// The waiting pod.
    pub fn get(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.entries.get(uid).map(|(_, e)| &e.pod)
    }

    /// Everyone who waits, in no order.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting<'_>> {
        self.entries.values().map(|(place, entry)| Waiting {
            entry,
            queue: place.word(),
            since: entry.since,
            until: (*place == Place::BackingOff)
                .then(|| entry.stamp.checked_add(self.backoff.after(entry.attempts)).ok())
                .flatten(),
            refused_by: entry.refused_by,
        })
    }

    fn take(&mut self, uid: &str) -> Option<(Place, Entry)> {
        let (place, entry) = self.entries.remove(uid)?;
        self.counts[place.number()] -= 1;
        if place == Place::Unschedulable {
            self.waiting.remove(&(entry.since, entry.seq, uid.into()));
        }
        Some((place, entry))
    }

    fn put(&mut self, mut entry: Entry, place: Place, profile: &Profile, why: &'static str, now: Timestamp) {
        self.seq += 1;
        (entry.seq, entry.since) = (self.seq, now);
        let uid = entry.pod.uid.clone();
        match place {
            Place::Active => self.active.push(Turn {
                rank: profile.rank(&entry.pod),
                stamp: entry.stamp,
                seq: entry.seq,
                uid: uid.clone(),
            }),
            Place::BackingOff => {
                let pause = self.backoff.after(entry.attempts);
                let at = entry.stamp.checked_add(pause).unwrap_or(now);
                self.backing_off.push(Reverse((at, entry.seq, uid.clone())));
            }
            Place::Unschedulable => {
                self.waiting.insert((now, entry.seq, uid.clone()));
            }
            Place::Gated(_) => {}
        }
        *self.moves.entry((place.word(), why)).or_default() += 1;
        self.counts[place.number()] += 1;
        self.entries.insert(uid, (place, entry));
    }

    /// Where a pod may go now that it wishes to `place`.
    fn admitted(place: Place, pod: &PodInfo, profile: &Profile, cluster: &Cluster) -> Place {
        profile.admit(pod, cluster).map_or_else(|(plugin, _)| Place::Gated(plugin), |()| place)
    }

    /// A pod that waits to be scheduled, new or changed. A change of a refused pod may be what it needs.
    pub fn set(
        &mut self,
        pod: Arc<PodInfo>,
        at: usize,
        profile: &Profile,
        cluster: &Cluster,
        now: Timestamp,
    ) {
        let Some((place, entry)) = self.take(&pod.uid) else {
            let place = Self::admitted(Place::Active, &pod, profile, cluster);
            let entry = Entry {
                pod,
                profile: at,
                attempts: 0,
                first: None,
                flushed: false,
                since: now,
                stamp: now,
                refused_by: 0,
                failed: false,
                seq: 0,
            };
            return self.put(entry, place, profile, "UnscheduledPodAdd", now);
        };
        let event = Event::Changed { old: &entry.pod, new: &pod };
        let moved = match place {
            Place::Gated(_) => {
                Some(Self::admitted(Place::Active, &pod, profile, cluster)).filter(|p| *p != place)
            }
            Place::Unschedulable if helped(&entry, &pod, &event, profile, cluster) => {
                let waited = now.duration_since(entry.stamp) >= self.backoff.after(entry.attempts);
                let to = if waited { Place::Active } else { Place::BackingOff };
                Some(Self::admitted(to, &pod, profile, cluster))
            }
            _ => None,
        };
        match moved {
            Some(to) => self.put(Entry { pod, ..entry }, to, profile, "UnscheduledPodUpdate", now),
            None => {
                // Our own status patch comes back as a change: it helps nobody, and keeps its place.
                let uid = pod.uid.clone();
                self.counts[place.number()] += 1;
                if place == Place::Unschedulable {
                    self.waiting.insert((entry.since, entry.seq, uid.clone()));
                }
                let ranked = place == Place::Active && profile.rank(&entry.pod) != profile.rank(&pod);
                self.entries.insert(uid.clone(), (place, Entry { pod, ..entry }));
                if ranked && let Some((_, entry)) = self.take(&uid) {
                    self.put(entry, place, profile, "UnscheduledPodUpdate", now);
                }
            }
        }
    }

    /// The pod was bound, deleted, or is no longer ours.
    pub fn remove(&mut self, uid: &str) {
        self.take(uid);
    }

    /// The next pod to try; its entry leaves the queue. With nobody ready, those that back off after a
    /// refusal need not wait longer.
    pub fn pop(&mut self, profiles: &[Profile], now: Timestamp) -> Option<Entry> {
        self.end_backoffs(profiles, now);
        while let Some(turn) = self.active.pop() {
            if self.is_current(&turn.uid, Place::Active, turn.seq)
                && let Some((_, mut entry)) = self.take(&turn.uid)
            {
                entry.attempts += 1;
                entry.first.get_or_insert(now);
                return Some(entry);
            }
        }
        self.early(now)
    }

    fn early(&mut self, now: Timestamp) -> Option<Entry> {
        let mut kept = Vec::new();
        let mut found = None;
        while let Some(Reverse((at, seq, uid))) = self.backing_off.pop() {
            if !self.is_current(&uid, Place::BackingOff, seq) {
                continue;
            }
            if self.entries.get(&uid).is_some_and(|(_, e)| e.failed) {
                kept.push(Reverse((at, seq, uid)));
                continue;
            }
            found = self.take(&uid);
            break;
        }
        self.backing_off.extend(kept);
        let (_, mut entry) = found?;
        entry.attempts += 1;
        entry.first.get_or_insert(now);
        Some(entry)
    }

    fn is_current(&self, uid: &str, place: Place, seq: u64) -> bool {
        self.entries.get(uid).is_some_and(|(p, e)| *p == place && e.seq == seq)
    }

    fn end_backoffs(&mut self, profiles: &[Profile], now: Timestamp) {
        while let Some(Reverse((at, ..))) = self.backing_off.peek()
            && *at <= now
            && let Some(Reverse((_, seq, uid))) = self.backing_off.pop()
        {
            if self.is_current(&uid, Place::BackingOff, seq)
                && let Some((_, entry)) = self.take(&uid)
                && let Some(profile) = profiles.get(entry.profile)
            {
                self.put(entry, Place::Active, profile, "BackoffComplete", now);
            }
        }
    }

    /// No node would do: the pod waits until a change helps one of the plugins that refused it.
    pub fn refuse(&mut self, mut entry: Entry, plugins: u64, profile: &Profile, now: Timestamp) {
        (entry.refused_by, entry.failed, entry.stamp) = (plugins, false, now);
        self.put(entry, Place::Unschedulable, profile, "ScheduleAttemptFailure", now);
    }

    /// Something failed that trying again may mend.
    pub fn retry(&mut self, mut entry: Entry, profile: &Profile, now: Timestamp) {
        (entry.refused_by, entry.failed, entry.stamp) = (0, true, now);
        self.put(entry, Place::BackingOff, profile, "ScheduleAttemptFailure", now);
    }

    /// Wakes the pods an event may help. Equal pods get the same answer.
    pub fn changed(&mut self, event: &Event<'_>, profiles: &[Profile], cluster: &Cluster, now: Timestamp) {
        let mut answers: HashMap<(u128, u64, usize), bool> = HashMap::new();
        let mut woken: Vec<Box<str>> = Vec::new();
        for (_, _, uid) in &self.waiting {
            let Some((Place::Unschedulable, entry)) = self.entries.get(uid) else { continue };
            let Some(profile) = profiles.get(entry.profile) else { continue };
            let key = (entry.pod.id, entry.refused_by, entry.profile);
            let answer = || helped(entry, &entry.pod, event, profile, cluster);
            if *answers.entry(key).or_insert_with(answer) {
                woken.push(uid.clone());
            }
        }
        for uid in woken {
            self.wake(&uid, event.label(), profiles, cluster, now);
        }
    }

    /// A pod's own preemption is done, or failed: it may be tried again.
    pub fn activate(&mut self, uid: &str, profiles: &[Profile], cluster: &Cluster, now: Timestamp) {
        if self.entries.get(uid).is_some_and(|(p, _)| *p != Place::Active) {
            let Some((_, entry)) = self.take(uid) else { return };
            let Some(profile) = profiles.get(entry.profile) else { return };
            let place = Self::admitted(Place::Active, &entry.pod, profile, cluster);
            self.put(entry, place, profile, "ForceActivate", now);
        }
    }

    fn wake(
        &mut self,
        uid: &str,
        why: &'static str,
        profiles: &[Profile],
        cluster: &Cluster,
        now: Timestamp,
    ) {
        let Some((_, entry)) = self.take(uid) else { return };
        let Some(profile) = profiles.get(entry.profile) else { return };
        let waited = now.duration_since(entry.stamp) >= self.backoff.after(entry.attempts);
        let place = if waited { Place::Active } else { Place::BackingOff };
        let place = Self::admitted(place, &entry.pod, profile, cluster);
        self.put(entry, place, profile, why, now);
    }

    /// Asks the gates again, after something they depend on has changed.
    pub fn recheck(&mut self, profiles: &[Profile], cluster: &Cluster, now: Timestamp) {
        if self.counts[3] == 0 {
            return;
        }
        let gated = self.entries.iter().filter(|(_, (place, _))| matches!(place, Place::Gated(_)));
        let open = gated
            .filter(|(_, (_, e))| profiles.get(e.profile).is_some_and(|p| p.admit(&e.pod, cluster).is_ok()));
        let open: Vec<Box<str>> = open.map(|(uid, _)| uid.clone()).collect();
        for uid in open {
            self.wake(&uid, "AssignedPodDelete", profiles, cluster, now);
        }
    }

    /// Wakes pods that were refused long ago.
    pub fn flush(&mut self, profiles: &[Profile], cluster: &Cluster, now: Timestamp) {
        let limit = |since: Timestamp| now.duration_since(since) >= UNSCHEDULABLE_LIMIT;
        let old: Vec<Box<str>> =
            self.waiting.iter().take_while(|(s, ..)| limit(*s)).map(|(.., uid)| uid.clone()).collect();
        for uid in old {
            if let Some((Place::Unschedulable, entry)) = self.entries.get_mut(&uid) {
                entry.flushed = true;
                self.wake(&uid, "UnschedulableTimeout", profiles, cluster, now);
            }
        }
    }

    /// When there is something to do by itself; `None`: not before a change.
    pub fn next(&self) -> Option<Timestamp> {
        let backoff = self.backing_off.peek().map(|Reverse((at, ..))| *at);
        let oldest = self.waiting.first().map(|(since, ..)| *since);
        let limit = oldest.and_then(|s| s.checked_add(UNSCHEDULABLE_LIMIT).ok());
        [backoff, limit].into_iter().flatten().min()
    }
}

/// Whether an event helps a pod, in the eyes of those who refused it.
fn helped(entry: &Entry, pod: &PodInfo, event: &Event<'_>, profile: &Profile, cluster: &Cluster) -> bool {
    if entry.refused_by == 0 || entry.refused_by & crate::failure::EXTENDER != 0 {
        return true;
    }
    let asked = profile.plugins.iter().enumerate().filter(|(i, _)| entry.refused_by & (1 << i) != 0);
    asked.into_iter().any(|(_, plugin)| plugin.helps(pod, event, cluster))
}
