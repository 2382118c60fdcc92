//! All caches of a store, and reading the cluster through them.

use crate::cache::Cache;
use crate::config::ResourceConfig;
use crate::event::{EventType, WatchEvent};
use crate::feed::{self, Command};
use crate::watch::{WatchOptions, Watcher};
use futures::stream::{self, BoxStream, StreamExt};
use gantry_storage::{Revision, Store};
use gantry_types::reader::{ObjectEvent, ObjectReader};
use gantry_types::{GroupResource, Object};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// What all caches share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The part of the store that is watched, `--etcd-prefix` with a slash at the end.
    pub prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { prefix: "/registry/".into() }
    }
}

#[derive(Default)]
pub(crate) struct Routes {
    by_resource: HashMap<GroupResource, Arc<Cache>>,
    by_prefix: BTreeMap<String, Arc<Cache>>,
}

impl Routes {
    /// The cache whose prefix `key` begins with.
    pub fn route(&self, key: &str) -> Option<&Arc<Cache>> {
        self.by_prefix
            .range::<str, _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key)))
            .rev()
            .take_while(|(prefix, _)| {
                // Prefixes that sort before and share nothing with the key's folder cannot be followed by one
                // that does.
                shared_folder(prefix, key) > 1
            })
            .find(|(prefix, _)| key.starts_with(prefix.as_str()))
            .map(|(_, cache)| cache)
    }

    pub fn all(&self) -> Vec<Arc<Cache>> {
        self.by_prefix.values().cloned().collect()
    }
}

/// How many slashes two keys have in common before they differ.
fn shared_folder(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).filter(|(x, _)| *x == b'/').count()
}

/// The caches of one store, fed by one watch. Resources come and go at any time (CRDs).
pub struct Caches {
    store: Arc<dyn Store>,
    position: Arc<watch::Sender<Revision>>,
    routes: Arc<RwLock<Routes>>,
    commands: mpsc::UnboundedSender<Command>,
    feed: JoinHandle<()>,
}

impl Caches {
    /// Starts the feed task, on the current tokio runtime. It ends when the value is dropped.
    pub fn start(store: Arc<dyn Store>, settings: Settings, resources: Vec<ResourceConfig>) -> Arc<Self> {
        let position = Arc::new(watch::channel(0).0);
        let mut routes = Routes::default();
        for config in resources {
            let cache = Cache::new(config, store.clone(), position.clone());
            routes.by_resource.insert(cache.config().resource.clone(), cache.clone());
            routes.by_prefix.insert(cache.config().prefix.clone(), cache);
        }
        let routes = Arc::new(RwLock::new(routes));
        let (commands, inbox) = mpsc::unbounded_channel();
        let feed =
            tokio::spawn(feed::run(store.clone(), settings.prefix, routes.clone(), position.clone(), inbox));
        Arc::new(Self { store, position, routes, commands, feed })
    }

    /// Adds a resource, or answers the cache that its prefix has already.
    pub fn add(&self, config: ResourceConfig) -> Arc<Cache> {
        let mut routes = self.routes.write();
        if let Some(cache) = routes.by_prefix.get(&config.prefix) {
            return cache.clone();
        }
        let cache = Cache::new(config, self.store.clone(), self.position.clone());
        routes.by_resource.insert(cache.config().resource.clone(), cache.clone());
        routes.by_prefix.insert(cache.config().prefix.clone(), cache.clone());
        // Without a feed nothing would answer anyway.
        let _ = self.commands.send(Command::Load(cache.clone()));
        cache
    }

    /// Ends a resource's cache and its watches.
    pub fn remove(&self, resource: &GroupResource) {
        let mut routes = self.routes.write();
        if let Some(cache) = routes.by_resource.remove(resource) {
            routes.by_prefix.remove(&cache.config().prefix);
            cache.close();
        }
    }

    pub fn cache(&self, resource: &GroupResource) -> Option<Arc<Cache>> {
        self.routes.read().by_resource.get(resource).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Cache>> {
        self.routes.read().all()
    }

    /// The revision every cache has reached.
    pub fn position(&self) -> Revision {
        *self.position.borrow()
    }

    /// Waits until every cache known now is loaded.
    pub async fn ready(&self) {
        for cache in self.all() {
            cache.ready().await;
        }
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

impl Drop for Caches {
    fn drop(&mut self) {
        self.feed.abort();
    }
}

impl ObjectReader for Caches {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Object> {
        self.cache(resource)?.peek(namespace, name)
    }

    fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Object> {
        self.cache(resource).map(|cache| cache.peek_all(namespace)).unwrap_or_default()
    }

    /// Ends at once when there is no such resource, and when the resource is removed.
    fn subscribe(&self, resource: &GroupResource) -> BoxStream<'static, ObjectEvent> {
        match self.cache(resource) {
            Some(cache) => stream::unfold(Subscription::Start { cache, again: false }, step).boxed(),
            None => stream::empty().boxed(),
        }
    }
}

/// Where a subscription stands.
enum Subscription {
    Start { cache: Arc<Cache>, again: bool },
    Running { cache: Arc<Cache>, watcher: Box<Watcher> },
}

async fn step(mut at: Subscription) -> Option<(ObjectEvent, Subscription)> {
    loop {
        at = match at {
            Subscription::Start { cache, again } => {
                cache.ready().await;
                if cache.is_closed() {
                    return None;
                }
                let options = WatchOptions {
                    resource_version: "0".into(),
                    send_initial_events: Some(true),
                    bookmarks: true,
                    ..WatchOptions::default()
                };
                let Ok(watcher) = cache.watch(options).await else {
                    at = Subscription::Start { cache, again };
                    continue;
                };
                let running = Subscription::Running { cache, watcher: Box::new(watcher) };
                if again {
                    return Some((ObjectEvent::Reset, running));
                }
                running
            }
            Subscription::Running { cache, mut watcher } => {
                let event = match watcher.next().await {
                    Some(WatchEvent::Change(change)) if change.kind == EventType::Deleted => {
                        ObjectEvent::Deleted(change.object)
                    }
                    Some(WatchEvent::Change(change)) => ObjectEvent::Applied(change.object),
                    Some(WatchEvent::Bookmark { initial_events_end: true, .. }) => ObjectEvent::Synced,
                    Some(WatchEvent::Bookmark { .. }) => {
                        at = Subscription::Running { cache, watcher };
                        continue;
                    }
                    Some(WatchEvent::Error(_)) | None => {
                        at = Subscription::Start { cache, again: true };
                        continue;
                    }
                };
                return Some((event, Subscription::Running { cache, watcher }));
            }
        }
    }
}
