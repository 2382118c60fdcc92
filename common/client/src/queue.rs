//! The work queue: each key once, never twice at a time, later on request, slower after failures.

use parking_lot::Mutex;
use prometheus::{
    HistogramVec, IntCounterVec, IntGaugeVec, exponential_buckets, register_histogram_vec,
    register_int_counter_vec, register_int_gauge_vec,
};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a key waits after its n-th failure in a row.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub base: Duration,
    pub max: Duration,
}

impl Default for Backoff {
    /// Upstream's controllers: 5 ms doubling up to 1,000 s.
    fn default() -> Self {
        Self { base: Duration::from_millis(5), max: Duration::from_secs(1000) }
    }
}

impl Backoff {
    /// The wait after `failures` failures (0: the first one now).
    pub fn after(&self, failures: u32) -> Duration {
        self.base
            .checked_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX))
            .unwrap_or(self.max)
            .min(self.max)
    }
}

struct Metrics {
    depth: IntGaugeVec,
    adds: IntCounterVec,
    retries: IntCounterVec,
    queued: HistogramVec,
    worked: HistogramVec,
}

/// A process has one set; `None` where the names are taken already by someone else.
static METRICS: LazyLock<Option<Metrics>> = LazyLock::new(|| {
    let buckets = exponential_buckets(1e-6, 10.0, 10).ok()?;
    Some(Metrics {
        depth: register_int_gauge_vec!("workqueue_depth", "Current depth of workqueue", &["name"]).ok()?,
        adds: register_int_counter_vec!(
            "workqueue_adds_total",
            "Total number of adds handled by workqueue",
            &["name"]
        )
        .ok()?,
        retries: register_int_counter_vec!(
            "workqueue_retries_total",
            "Total number of retries handled by workqueue",
            &["name"]
        )
        .ok()?,
        queued: register_histogram_vec!(
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested.",
            &["name"],
            buckets.clone()
        )
        .ok()?,
        worked: register_histogram_vec!(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            &["name"],
            buckets
        )
        .ok()?,
    })
});

struct State<T> {
    ready: VecDeque<T>,
    /// Everything in `ready`, and what was added again while being worked on; since when.
    dirty: HashMap<T, Instant>,
    working: HashMap<T, Instant>,
    /// Each key's earliest delayed add; the heap may hold outdated entries besides.
    delayed: HashMap<T, Instant>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    timed: HashMap<u64, T>,
    sequence: u64,
    failures: HashMap<T, u32>,
    closed: bool,
}

struct Inner<T> {
    name: &'static str,
    backoff: Backoff,
    state: Mutex<State<T>>,
    wake: Notify,
}

/// A queue of keys with any number of workers. Clones share it.
pub struct Queue<T>(Arc<Inner<T>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Queue<T> {
    /// `name` labels the `workqueue_*` metrics.
    pub fn new(name: &'static str) -> Self {
        Self::with_backoff(name, Backoff::default())
    }

    pub fn with_backoff(name: &'static str, backoff: Backoff) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            working: HashMap::new(),
            delayed: HashMap::new(),
            timers: BinaryHeap::new(),
            timed: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            closed: false,
        };
        Self(Arc::new(Inner { name, backoff, state: Mutex::new(state), wake: Notify::new() }))
    }

    /// Queues a key, unless it waits already. One being worked on is queued again once that is done.
    pub fn add(&self, key: T) {
        self.add_to(&mut self.0.state.lock(), key);
    }

    fn add_to(&self, state: &mut State<T>, key: T) {
        if state.closed || state.dirty.contains_key(&key) {
            return;
        }
        if let Some(m) = &*METRICS {
            m.adds.with_label_values(&[self.0.name]).inc();
        }
        state.dirty.insert(key.clone(), Instant::now());
        if !state.working.contains_key(&key) {
            state.ready.push_back(key);
            self.depth(state);
            self.0.wake.notify_one();
        }
    }

    fn depth(&self, state: &State<T>) {
        if let Some(m) = &*METRICS {
            m.depth.with_label_values(&[self.0.name]).set(state.ready.len() as i64);
        }
    }

    /// Queues a key once `delay` has passed. Of several delays the earliest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.0.state.lock();
        // A delay beyond the clock's range is as good as a day; the next change queues the key anyway.
        let at =
            Instant::now().checked_add(delay).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        if state.closed || state.delayed.get(&key).is_some_and(|known| *known <= at) {
            return;
        }
        state.delayed.insert(key.clone(), at);
        state.sequence += 1;
        let sequence = state.sequence;
        state.timers.push(Reverse((at, sequence)));
        state.timed.insert(sequence, key);
        drop(state);
        self.0.wake.notify_one();
    }

    /// Counts a failure of the key and queues it after the wait that follows from how many there were.
    pub fn add_rate_limited(&self, key: T) {
        let delay = {
            let mut state = self.0.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let delay = self.0.backoff.after(*failures);
            *failures = failures.saturating_add(1);
            delay
        };
        if let Some(m) = &*METRICS {
            m.retries.with_label_values(&[self.0.name]).inc();
        }
        self.add_after(key, delay);
    }

    /// Forgets the key's failures.
    pub fn forget(&self, key: &T) {
        self.0.state.lock().failures.remove(key);
    }

    /// Failures in a row so far.
    pub fn failures(&self, key: &T) -> u32 {
        self.0.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The next key, or `None` once the queue is closed. Must be followed by [`Queue::done`].
    pub async fn get(&self) -> Option<T> {
        loop {
            let wake = self.0.wake.notified();
            let until = {
                let mut state = self.0.state.lock();
                if state.closed {
                    self.0.wake.notify_one();
                    return None;
                }
                let next_timer = self.fire(&mut state);
                if let Some(key) = state.ready.pop_front() {
                    let since = state.dirty.remove(&key);
                    let now = Instant::now();
                    state.working.insert(key.clone(), now);
                    self.depth(&state);
                    if let (Some(m), Some(since)) = (&*METRICS, since) {
                        m.queued.with_label_values(&[self.0.name]).observe((now - since).as_secs_f64());
                    }
                    if !state.ready.is_empty() || next_timer.is_some() {
                        self.0.wake.notify_one();
                    }
                    return Some(key);
                }
                next_timer
            };
            match until {
                Some(at) => {
                    tokio::select! {
                        () = wake => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => wake.await,
            }
        }
    }

    /// Moves what is due to the ready list; when the next one is due.
    fn fire(&self, state: &mut State<T>) -> Option<Instant> {
        let now = Instant::now();
        while let Some(Reverse((at, sequence))) = state.timers.peek().copied() {
            if at > now {
                return Some(at);
            }
            state.timers.pop();
            if let Some(key) = state.timed.remove(&sequence)
                && state.delayed.get(&key) == Some(&at)
            {
                state.delayed.remove(&key);
                self.add_to(state, key);
            }
        }
        None
    }

    /// Ends the work on a key; it comes again where it was added meanwhile.
    pub fn done(&self, key: &T) {
        let mut state = self.0.state.lock();
        let Some(since) = state.working.remove(key) else { return };
        if let Some(m) = &*METRICS {
            m.worked.with_label_values(&[self.0.name]).observe(since.elapsed().as_secs_f64());
        }
        if state.dirty.contains_key(key) {
            state.ready.push_back(key.clone());
            self.depth(&state);
            drop(state);
            self.0.wake.notify_one();
        }
    }

    /// Every [`Queue::get`] returns `None` from now on.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.wake.notify_waiters();
        self.0.wake.notify_one();
    }

    pub fn len(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys being worked on; for tests and debugging.
    pub fn working(&self) -> HashSet<T> {
        self.0.state.lock().working.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_queued_once_and_worked_on_by_one() {
        let queue = Queue::new("t1");
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.get().await, Some("a"));
        queue.add("a");
        assert_eq!(queue.get().await, Some("b"));
        assert!(queue.is_empty());
        queue.done(&"a");
        assert_eq!(queue.get().await, Some("a"));
        queue.close();
        assert_eq!(queue.get().await, None);
    }

    #[tokio::test]
    async fn the_earliest_delay_counts_and_failures_slow_down() {
        let queue = Queue::new("t2");
        let start = Instant::now();
        queue.add_after("a", Duration::from_millis(1000));
        queue.add_after("a", Duration::from_millis(30));
        queue.add_after("a", Duration::from_millis(500));
        assert_eq!(queue.get().await, Some("a"));
        assert!((30..400).contains(&start.elapsed().as_millis()));
        queue.done(&"a");
        assert!(tokio::time::timeout(Duration::from_millis(50), queue.get()).await.is_err());
        for (n, expected) in [5u64, 10, 20, 40].into_iter().enumerate() {
            let before = Instant::now();
            queue.add_rate_limited("a");
            assert_eq!(queue.get().await, Some("a"));
            assert!(before.elapsed().as_millis() as u64 >= expected, "failure {n}");
            queue.done(&"a");
        }
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
        assert_eq!(Backoff::default().after(40), Duration::from_secs(1000));
    }
}
