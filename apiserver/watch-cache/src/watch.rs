//! Watches: a cursor into the shared ring.

use crate::cache::{Cache, parse_revision};
use crate::dispatch::{Slot, Trigger};
use crate::event::{ChangeEvent, WatchEvent};
use crate::filter::Filter;
use crate::refuse;
use crate::state::Objects;
use futures::{FutureExt, Stream};
use gantry_storage::Revision;
use gantry_types::StatusResult;
use std::collections::VecDeque;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Between two bookmarks, when nothing else is sent.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A last bookmark goes out this long before the end.
const BEFORE_END: Duration = Duration::from_secs(2);
/// Changes looked at under one lock, and initial objects prepared at once.
const CHUNK: usize = 128;

/// A WATCH request. Which combinations are allowed is checked before.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    pub filter: Filter,
    /// As in the request. Empty or `0`: the state now as ADDED events, then changes.
    pub resource_version: String,
    /// `sendInitialEvents` (KEP-3157): `Some(true)` sends the state and then a marked bookmark, `Some(false)`
    /// never sends it.
    pub send_initial_events: Option<bool>,
    /// `allowWatchBookmarks`.
    pub bookmarks: bool,
    /// The watch ends by itself after this.
    pub timeout: Option<Duration>,
}

/// The stream of a watch. Ends after a [`WatchEvent::Error`], at its timeout, or when its cache starts over.
pub struct Watcher {
    cache: Arc<Cache>,
    filter: Filter,
    trigger: Trigger,
    slot: Arc<Slot>,
    initial: Option<Initial>,
    ready: VecDeque<WatchEvent>,
    /// The sequence number of the first change not looked at.
    next: u64,
    /// Changes up to here are not sent: they are in the state the watch began with.
    after: Revision,
    /// The newest revision sent.
    sent: Revision,
    bookmark: Option<Pin<Box<Sleep>>>,
    end: Option<Pin<Box<Sleep>>>,
    last_bookmark_at: Option<Instant>,
    done: bool,
}

/// The state a watch begins with, on its way out.
struct Initial {
    objects: Objects,
    from: Bound<Arc<str>>,
    revision: Revision,
    /// Whether a marked bookmark ends it.
    marked: bool,
}

impl Cache {
    /// Begins a WATCH. A version that is too old or not reached is told by the first item, as upstream does.
    ///
    /// # Errors
    /// 400 for a version that cannot be parsed, 429 before the first load.
    pub async fn watch(self: &Arc<Self>, options: WatchOptions) -> StatusResult<Watcher> {
        self.await_ready().await?;
        let wanted = parse_revision(&options.resource_version)?;
        let initial = options.send_initial_events.unwrap_or(wanted == 0);
        let outcome = if options.resource_version.is_empty() && options.send_initial_events.is_some() {
            self.catch_up().await.map(|_| ())
        } else if initial {
            self.reach(wanted).await
        } else {
            Ok(())
        };

        let trigger = Trigger::of(&options.filter, self.config.indexed_fields);
        let slot = Slot::new();
        let started = outcome.and_then(|()| {
            self.register(&trigger, &slot, |state, revision| {
                if initial || wanted == 0 {
                    let objects = initial.then(|| state.objects.clone());
                    return Ok((objects, state.ring.end(), revision, revision));
                }
                if wanted < state.ring.floor() {
                    return Err(refuse::too_old(wanted, state.ring.floor()));
                }
                let next = state.ring.after(wanted);
                if next < state.ring.end() {
                    slot.mark(next, state.ring.end() - 1);
                }
                Ok((None, next, wanted, wanted))
            })
        });
        let now = Instant::now();
        let end = options.timeout.map(|t| now + t);
        let first = now + BOOKMARK_EVERY + jitter(&slot);
        let last_bookmark_at = end.and_then(|e| e.checked_sub(BEFORE_END)).filter(|at| *at > now);
        let mut watcher = Watcher {
            cache: self.clone(),
            filter: options.filter,
            trigger,
            slot,
            initial: None,
            ready: VecDeque::new(),
            next: 0,
            after: 0,
            sent: 0,
            bookmark: options
                .bookmarks
                .then(|| Box::pin(sleep_until(last_bookmark_at.map_or(first, |last| last.min(first))))),
            end: end.map(|at| Box::pin(sleep_until(at))),
            last_bookmark_at,
            done: false,
        };
        match started {
            Ok((objects, next, after, revision)) => {
                let marked = options.send_initial_events == Some(true) && options.bookmarks;
                watcher.initial =
                    objects.map(|objects| Initial { objects, from: Bound::Unbounded, revision, marked });
                if let (Some(initial), Some(ns)) = (&mut watcher.initial, &watcher.filter.namespace)
                    && self.config.namespaced
                {
                    initial.from = Bound::Included(format!("{}{ns}/", self.config.prefix).into());
                }
                (watcher.next, watcher.after, watcher.sent) = (next, after, after);
            }
            Err(status) => {
                watcher.ready.push_back(WatchEvent::Error(status));
            }
        }
        Ok(watcher)
    }
}

/// Spreads the bookmarks of watchers that began together over a few seconds.
fn jitter(slot: &Arc<Slot>) -> Duration {
    Duration::from_millis((Arc::as_ptr(slot) as usize as u64 >> 5) % 5_000)
}

impl Watcher {
    /// Prepares the next objects of the initial state; the end of it when there are none.
    fn advance_initial(&mut self) {
        let Some(initial) = &mut self.initial else { return };
        let stop = match &self.filter.namespace {
            Some(ns) if self.cache.config.namespaced => format!("{}{ns}/", self.cache.config.prefix),
            _ => self.cache.config.prefix.clone(),
        };
        let from = std::mem::replace(&mut initial.from, Bound::Unbounded);
        let mut seen = 0;
        let mut last = None;
        for (key, object) in initial.objects.range((from, Bound::Unbounded)) {
            if !key.starts_with(&stop) {
                last = None;
                break;
            }
            if self.filter.matches(object) {
                self.ready.push_back(WatchEvent::Change(ChangeEvent::initial(object.clone())));
            }
            seen += 1;
            last = Some(key);
            // Objects that do not match cost little; look at more of them at once.
            if self.ready.len() >= CHUNK || seen >= 32 * CHUNK {
                break;
            }
        }
        match last {
            Some(key) if self.ready.len() >= CHUNK || seen >= 32 * CHUNK => {
                initial.from = Bound::Excluded(key.clone());
            }
            _ => {
                if initial.marked {
                    let revision = initial.revision;
                    self.ready.push_back(WatchEvent::Bookmark { revision, initial_events_end: true });
                }
                self.initial = None;
            }
        }
    }

    /// Looks at changes noted on the slot. False when there were none.
    fn advance_ring(&mut self) -> bool {
        let Some((first, last)) = self.slot.take() else { return false };
        let start = first.max(self.next);
        if start > last {
            return true;
        }
        let (filter, after, ready) = (&self.filter, self.after, &mut self.ready);
        let looked = self.cache.with_state(|state, _| {
            if start < state.ring.base() {
                return Err(refuse::too_old(self.sent, state.ring.floor()));
            }
            let stop = last.min(start + CHUNK as u64 - 1);
            let mut sent = self.sent;
            for change in (start..=stop).filter_map(|sequence| state.ring.get(sequence)) {
                if change.revision <= after {
                    continue;
                }
                if let Some(event) = change.seen_by(|o| filter.matches(o)) {
                    sent = change.revision;
                    ready.push_back(WatchEvent::Change(event));
                }
            }
            Ok((stop + 1, sent))
        });
        match looked {
            Ok((next, sent)) => {
                (self.next, self.sent) = (next, sent);
                if next <= last {
                    self.slot.mark(next, last);
                }
            }
            Err(status) => self.ready.push_back(WatchEvent::Error(status)),
        }
        true
    }

    /// A bookmark, when one is due. `position` was read before the slot was found empty, so everything up to
    /// it has been sent.
    fn poll_bookmark(&mut self, position: Revision, cx: &mut Context<'_>) -> Option<WatchEvent> {
        let timer = self.bookmark.as_mut()?;
        if timer.poll_unpin(cx).is_pending() {
            return None;
        }
        let now = Instant::now();
        let next = match self.last_bookmark_at {
            Some(last) if last > now => last.min(now + BOOKMARK_EVERY),
            _ => now + BOOKMARK_EVERY,
        };
        timer.as_mut().reset(next);
        // Registers the timer again.
        let _ = timer.poll_unpin(cx);
        self.sent = self.sent.max(position);
        Some(WatchEvent::Bookmark { revision: self.sent, initial_events_end: false })
    }
}

impl Stream for Watcher {
    type Item = WatchEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        let this = &mut *self;
        loop {
            if this.done {
                return Poll::Ready(None);
            }
            if let Some(event) = this.ready.pop_front() {
                this.done = matches!(event, WatchEvent::Error(_));
                return Poll::Ready(Some(event));
            }
            if this.initial.is_some() {
                this.advance_initial();
                continue;
            }
            this.slot.waker.register(cx.waker());
            let closed = this.slot.closed();
            let position = *this.cache.position.borrow();
            if this.advance_ring() {
                continue;
            }
            let ended = this.end.as_mut().is_some_and(|end| end.poll_unpin(cx).is_ready());
            if closed || ended {
                this.done = true;
                continue;
            }
            return match this.poll_bookmark(position, cx) {
                Some(event) => Poll::Ready(Some(event)),
                None => Poll::Pending,
            };
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.cache.unregister(&self.trigger, &self.slot);
    }
}
