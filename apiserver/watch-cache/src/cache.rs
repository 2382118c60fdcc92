//! One stored resource in memory.

use crate::config::ResourceConfig;
use crate::dispatch::{Dispatch, Slot, Trigger};
use crate::refuse;
use crate::state::{State, decode_value};
use gantry_storage::{Event, KeyValue, RangeRequest, Revision, Store, StoreError, prefix_end};
use gantry_types::{Object, Status, StatusResult};
use parking_lot::{Mutex, RwLock};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a read waits for the cache to reach a revision, as upstream.
const FRESH_WITHIN: Duration = Duration::from_secs(3);
/// How long a consistent read waits for the feed before it asks the store whether anything changed at all.
const PROVE_AFTER: Duration = Duration::from_millis(100);
/// Values read from the store at once.
const PAGE: usize = 500;

/// A resource's objects, history and watchers. Lists and watches are in their own files.
pub struct Cache {
    pub(crate) config: ResourceConfig,
    pub(crate) store: Arc<dyn Store>,
    state: RwLock<State>,
    dispatch: Mutex<Dispatch>,
    /// The revision every cache of the feed has reached.
    pub(crate) position: Arc<watch::Sender<Revision>>,
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Loading,
    Ready,
    /// The resource is no longer served.
    Closed,
}

/// Sizes, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub objects: usize,
    /// Keys whose stored value cannot be read.
    pub malformed: usize,
    /// Changes in the ring.
    pub history: usize,
    pub watchers: usize,
}

impl Cache {
    pub(crate) fn new(
        config: ResourceConfig,
        store: Arc<dyn Store>,
        position: Arc<watch::Sender<Revision>>,
    ) -> Arc<Self> {
        let (phase, _) = watch::channel(Phase::Loading);
        Arc::new(Self {
            config,
            store,
            state: RwLock::default(),
            dispatch: Mutex::default(),
            position,
            phase,
        })
    }

    pub fn config(&self) -> &ResourceConfig {
        &self.config
    }

    /// The store key of an object. `namespace` is empty for cluster-scoped resources.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        let slash = if namespace.is_empty() { "" } else { "/" };
        format!("{}{namespace}{slash}{name}", self.config.prefix)
    }

    /// Reads a stored value as this resource, its revision spliced in: for answers to writes, which the cache
    /// has not seen yet.
    ///
    /// # Errors
    /// 500 where the value cannot be read.
    pub fn decode(&self, kv: &KeyValue) -> StatusResult<Object> {
        decode_value(&self.config.decode, kv)
            .map_err(|why| Status::internal(format!("unable to decode {}: {why}", kv.key)))
    }

    /// Waits until the first load is done, or the resource is removed.
    pub async fn ready(&self) {
        // The sender lives as long as `self`.
        let _ = self.phase.subscribe().wait_for(|phase| *phase != Phase::Loading).await;
    }

    pub fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Ready
    }

    /// Whether the resource was removed.
    pub fn is_closed(&self) -> bool {
        *self.phase.borrow() == Phase::Closed
    }

    /// The object as the cache has it now, which may be older than the store. For optimistic writes and for
    /// readers that follow.
    pub fn peek(&self, namespace: &str, name: &str) -> Option<Object> {
        self.state.read().objects.get(self.key(namespace, name).as_str()).cloned()
    }

    /// Everything as the cache has it now, in key order.
    pub fn peek_all(&self, namespace: Option<&str>) -> Vec<Object> {
        let objects = self.state.read().objects.clone();
        match namespace {
            Some(ns) if self.config.namespaced => {
                let start = format!("{}{ns}/", self.config.prefix);
                let from = objects.range::<_, str>((Bound::Included(start.as_str()), Bound::Unbounded));
                from.take_while(|(k, _)| k.starts_with(&start)).map(|(_, o)| o.clone()).collect()
            }
            _ => objects.values().cloned().collect(),
        }
    }

    /// A GET. `resource_version` as in the request: empty for the newest, `0` for any, otherwise not older.
    ///
    /// # Errors
    /// 504 when the revision is not reached in time, 500 for an unreadable object, 429 before the first load.
    pub async fn get(
        &self,
        namespace: &str,
        name: &str,
        resource_version: &str,
    ) -> StatusResult<Option<Object>> {
        self.await_ready().await?;
        match parse_revision(resource_version)? {
            _ if resource_version.is_empty() => self.catch_up().await.map(|_| ())?,
            0 => {}
            revision => self.reach(revision).await?,
        }
        let key = self.key(namespace, name);
        let state = self.state.read();
        match state.objects.get(key.as_str()) {
            None if state.malformed.contains_key(key.as_str()) => {
                Err(Status::internal(format!("unable to decode the stored value of {key}")))
            }
            found => Ok(found.cloned()),
        }
    }

    pub fn stats(&self) -> Stats {
        let watchers = self.dispatch.lock().len();
        let state = self.state.read();
        Stats {
            objects: state.objects.len(),
            malformed: state.malformed.len(),
            history: state.ring.len(),
            watchers,
        }
    }

    /// Keys whose value cannot be read, with the revision to delete them at.
    pub fn malformed(&self) -> Vec<(Arc<str>, Revision)> {
        self.state.read().malformed.iter().map(|(k, r)| (k.clone(), *r)).collect()
    }

    pub(crate) async fn await_ready(&self) -> StatusResult<()> {
        if self.is_ready() {
            return Ok(());
        }
        tokio::time::timeout(FRESH_WITHIN, self.ready()).await.map_err(|_| refuse::initializing())?;
        if self.is_closed() { Err(Status::no_such_path()) } else { Ok(()) }
    }

    /// The newest revision of the store, reached by this cache.
    pub(crate) async fn catch_up(&self) -> StatusResult<Revision> {
        let target = self.store.current_revision().await.map_err(refuse::store)?;
        self.reach(target).await?;
        Ok(target)
    }

    fn reached(&self) -> Revision {
        let position = *self.position.borrow();
        let state = self.state.read();
        position.max(state.revision).max(state.proven)
    }

    /// Waits until everything up to `target` is in.
    ///
    /// The feed publishes a position with each change of any watched key, which is all there is to wait for
    /// on a store of our own. On a shared etcd, revisions also grow by keys outside of the watch: then nothing
    /// comes, and the cache proves from the store that it has missed nothing.
    pub(crate) async fn reach(&self, target: Revision) -> StatusResult<()> {
        if self.reached() >= target {
            return Ok(());
        }
        let deadline = Instant::now() + FRESH_WITHIN;
        let mut position = self.position.subscribe();
        loop {
            let step = deadline.min(Instant::now() + PROVE_AFTER);
            let moved = tokio::time::timeout_at(step, position.changed()).await;
            if self.reached() >= target {
                return Ok(());
            }
            match moved {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(refuse::initializing()),
                Err(_) if Instant::now() >= deadline => {
                    return Err(refuse::too_large(target, self.reached()));
                }
                Err(_) => match self.prove(target).await {
                    Ok(true) => return Ok(()),
                    // Changes are on their way, or the revision is in the future.
                    Ok(false) | Err(StoreError::FutureRevision { .. }) => {}
                    Err(error) => return Err(refuse::store(error)),
                },
            }
        }
    }

    /// Asks the store whether the resource at `target` is as the cache has it at its position P.
    ///
    /// If no key at `target` was modified after P, each key there is one the cache has unchanged; if there are
    /// also as many of them, none went. So the two states are equal, whatever came and went in between.
    async fn prove(&self, target: Revision) -> Result<bool, StoreError> {
        let (at, known) = {
            let position = *self.position.borrow();
            let state = self.state.read();
            (position.max(state.revision), state.objects.len() + state.malformed.len())
        };
        let request = RangeRequest {
            start: self.config.prefix.clone(),
            end: prefix_end(&self.config.prefix),
            revision: target,
            newer_than: at,
            ..RangeRequest::default()
        };
        let answer = self.store.range(request).await?;
        let mut state = self.state.write();
        let still = state.objects.len() + state.malformed.len() == known && state.revision <= at;
        if !answer.kvs.is_empty() || answer.count != known || !still {
            return Ok(false);
        }
        state.proven = state.proven.max(target);
        Ok(true)
    }

    /// Runs `f` on the state and the revision it stands for. The position is read first: what it promises is in
    /// the state read after.
    pub(crate) fn with_state<T>(&self, f: impl FnOnce(&State, Revision) -> T) -> T {
        let position = *self.position.borrow();
        let state = self.state.read();
        let revision = position.max(state.revision).max(state.proven);
        f(&state, revision)
    }

    /// Registers a watcher; `f` runs on the state that the first change marked on the slot follows.
    pub(crate) fn register<T>(
        &self,
        trigger: &Trigger,
        slot: &Arc<Slot>,
        f: impl FnOnce(&State, Revision) -> T,
    ) -> T {
        self.with_state(|state, revision| {
            // Under the state's lock: a reset either comes before, or closes this slot too.
            self.dispatch.lock().add(trigger, slot.clone());
            f(state, revision)
        })
    }

    pub(crate) fn unregister(&self, trigger: &Trigger, slot: &Arc<Slot>) {
        self.dispatch.lock().remove(trigger, slot);
    }

    /// Takes in changes of this resource, in order. Only the feed calls this.
    pub(crate) fn apply(&self, events: Vec<Event>) {
        let now = std::time::Instant::now();
        let mut changes = Vec::with_capacity(events.len());
        {
            let mut state = self.state.write();
            let mut newest = state.revision;
            for event in events {
                newest = newest.max(event.revision());
                if event.revision() <= state.proven {
                    // The proof holds at its revision, but the state now passes through what lies before.
                    state.proven = 0;
                }
                changes.extend(state.apply(&self.config, event, now));
            }
            state.revision = newest;
        }
        if !changes.is_empty() {
            let dispatch = self.dispatch.lock();
            for (sequence, change) in &changes {
                dispatch.wake(*sequence, [change.object.as_ref(), change.previous.as_ref()]);
            }
        }
    }

    /// Reads everything anew and ends all watchers. Only the feed calls this.
    pub(crate) async fn load(&self) -> Result<(), StoreError> {
        let mut objects = Vec::new();
        let mut request = RangeRequest {
            start: self.config.prefix.clone(),
            end: prefix_end(&self.config.prefix),
            limit: PAGE,
            ..RangeRequest::default()
        };
        loop {
            let page = self.store.range(request.clone()).await?;
            request.revision = page.revision;
            if page.more
                && let Some(last) = page.kvs.last()
            {
                request.start = format!("{}\0", last.key);
            }
            for kv in page.kvs {
                let object = decode_value(&self.config.decode, &kv).map_err(|why| {
                    tracing::error!(key = %kv.key, "Unreadable object in the store: {why}");
                    kv.mod_revision
                });
                objects.push((kv.key, object));
            }
            if !page.more {
                break;
            }
        }
        {
            let mut state = self.state.write();
            state.load(&self.config, objects, request.revision);
            self.dispatch.lock().close_all();
        }
        self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Loading;
            if first {
                *phase = Phase::Ready;
            }
            first
        });
        Ok(())
    }

    pub(crate) fn trim(&self) {
        self.state.write().ring.trim(std::time::Instant::now());
    }

    /// Ends all watchers for good.
    pub(crate) fn close(&self) {
        self.phase.send_replace(Phase::Closed);
        self.dispatch.lock().close_all();
    }
}

/// Parses a `resourceVersion` of a request; empty is 0.
///
/// # Errors
/// 400 in upstream's words.
pub(crate) fn parse_revision(text: &str) -> StatusResult<Revision> {
    gantry_types::Revision::parse(text).map(|r| r.0).ok_or_else(|| {
        let quoted = gantry_types::field::go_quote(text);
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing \
             {quoted}: invalid syntax"
        ))
    })
}
