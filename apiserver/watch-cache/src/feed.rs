//! The one task that feeds all caches.

use crate::cache::Cache;
use crate::caches::Routes;
use futures::stream::{self, StreamExt, TryStreamExt};
use gantry_storage::{Event, Revision, Store, StoreError};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Caches read at once when all start over.
const LOADS: usize = 8;
const TRIM_EVERY: Duration = Duration::from_secs(75);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(5);

pub enum Command {
    Load(Arc<Cache>),
}

/// What a feed does next, after its stream ended.
enum Next {
    /// Watch on from the position: nothing was missed.
    Resume,
    /// The store forgot the position: read everything anew.
    Restart,
    Stop,
}

struct Feed {
    store: Arc<dyn Store>,
    prefix: String,
    routes: Arc<RwLock<Routes>>,
    position: Arc<watch::Sender<Revision>>,
    commands: mpsc::UnboundedReceiver<Command>,
}

/// Runs until the commands end.
///
/// The watch begins before the caches are read, at a revision no newer than theirs; each cache then skips what
/// it has. So nothing is missed however long the reading takes, and starting over always makes progress:
/// changes wait in the store's stream meanwhile, which is read on from where it began.
pub async fn run(
    store: Arc<dyn Store>,
    prefix: String,
    routes: Arc<RwLock<Routes>>,
    position: Arc<watch::Sender<Revision>>,
    commands: mpsc::UnboundedReceiver<Command>,
) {
    let mut feed = Feed { store, prefix, routes, position, commands };
    let mut next = Next::Restart;
    let mut pause = RETRY_FIRST;
    loop {
        let before = *feed.position.borrow();
        match feed.once(&next).await {
            Ok(Next::Stop) => return,
            Ok(then) => next = then,
            Err(StoreError::Compacted { .. } | StoreError::FutureRevision { .. }) => next = Next::Restart,
            Err(error) => tracing::warn!("The store's watch ended, trying again: {error}"),
        }
        pause = if *feed.position.borrow() > before { RETRY_FIRST } else { (pause * 2).min(RETRY_MOST) };
        tokio::time::sleep(pause).await;
    }
}

impl Feed {
    async fn once(&mut self, how: &Next) -> Result<Next, StoreError> {
        let restart = matches!(how, Next::Restart);
        let after = if restart { self.store.current_revision().await? } else { *self.position.borrow() };
        let mut changes = self.store.watch(&self.prefix, after).await?;
        if restart {
            let caches = self.routes.read().all();
            stream::iter(caches.into_iter().map(Ok))
                .try_for_each_concurrent(LOADS, |cache| async move { cache.load().await })
                .await?;
            self.position.send_replace(after);
        }
        let mut trim = tokio::time::interval(TRIM_EVERY);
        trim.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = changes.next() => match batch {
                    Some(Ok(events)) => self.apply(events),
                    Some(Err(error)) => {
                        if matches!(error, StoreError::Compacted { .. } | StoreError::FutureRevision { .. }) {
                            return Ok(Next::Restart);
                        }
                        tracing::warn!("The store's watch ended, trying again: {error}");
                        return Ok(Next::Resume);
                    }
                    None => return Ok(Next::Resume),
                },
                command = self.commands.recv() => match command {
                    Some(Command::Load(cache)) => self.add(&cache).await,
                    None => return Ok(Next::Stop),
                },
                _ = trim.tick() => {
                    for cache in self.routes.read().all() {
                        cache.trim();
                    }
                }
            }
        }
    }

    async fn add(&self, cache: &Arc<Cache>) {
        let mut pause = RETRY_FIRST;
        while !cache.is_ready() && !cache.is_closed() {
            match cache.load().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(prefix = cache.config().prefix, "Cannot read from the store: {error}")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MOST);
        }
    }

    /// Hands changes to their caches, then publishes the position.
    fn apply(&self, events: Vec<Event>) {
        let Some(position) = events.last().map(Event::revision) else { return };
        let mut batches: Vec<(Arc<Cache>, Vec<Event>)> = Vec::new();
        {
            let routes = self.routes.read();
            for event in events {
                let Some(cache) = routes.route(event.key()) else { continue };
                match batches.iter_mut().find(|(c, _)| Arc::ptr_eq(c, cache)) {
                    Some((_, events)) => events.push(event),
                    None => batches.push((cache.clone(), vec![event])),
                }
            }
        }
        for (cache, events) in batches {
            if cache.is_ready() {
                cache.apply(events);
            }
        }
        self.position.send_replace(position);
    }
}
