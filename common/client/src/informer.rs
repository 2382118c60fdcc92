//! One shared list and watch per kind, its store, and those who want to hear of changes.

use crate::key::Key;
use crate::store::{Delta, Store};
use crate::watch::{self, Sink, Target};
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::any::{Any, TypeId};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::{mpsc, watch as tokio_watch};
use tokio_util::sync::CancellationToken;

/// A kind an informer can hold.
pub trait Kind: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static {}
impl<K: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static> Kind for K {}

type Handler<K> = Box<dyn Fn(&Delta<K>) + Send + Sync>;
type Transform<K> = Box<dyn Fn(&mut K) + Send + Sync>;

/// What an informer watches, beyond its kind.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Empty: all namespaces.
    pub namespace: String,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
}

struct Inner<K> {
    client: Client,
    target: Target,
    store: Store<K>,
    /// Held while a change is put into the store and told, so that a handler added meanwhile misses nothing
    /// and sees nothing twice.
    handlers: Mutex<Vec<Handler<K>>>,
    transforms: Mutex<Vec<Transform<K>>>,
    synced: tokio_watch::Sender<bool>,
    revision: tokio_watch::Sender<u64>,
    started: Mutex<bool>,
}

/// A shared informer. Clones share everything. Managed fields are stripped before objects are stored.
pub struct Informer<K>(Arc<Inner<K>>);

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Kind> Informer<K> {
    /// Watches nothing until [`Informer::start`].
    pub fn new(client: Client, scope: Scope) -> Self {
        let namespace = (!scope.namespace.is_empty()).then_some(scope.namespace.as_str());
        let target = Target {
            path: K::url_path(&(), namespace),
            label_selector: scope.label_selector,
            field_selector: scope.field_selector,
            metadata_only: K::metadata_api(),
        };
        Self(Arc::new(Inner {
            client,
            target,
            store: Store::default(),
            handlers: Mutex::default(),
            transforms: Mutex::default(),
            synced: tokio_watch::channel(false).0,
            revision: tokio_watch::channel(0).0,
            started: Mutex::new(false),
        }))
    }

    pub fn store(&self) -> &Store<K> {
        &self.0.store
    }

    /// Adds an index to the store; see [`Store::add_index`].
    pub fn index(&self, name: &'static str, of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> &Self {
        self.0.store.add_index(name, of);
        self
    }

    /// Cuts objects down before they are stored. Only before [`Informer::start`], and only what no holder of
    /// this informer reads.
    pub fn transform(&self, cut: impl Fn(&mut K) + Send + Sync + 'static) -> &Self {
        self.0.transforms.lock().push(Box::new(cut));
        self
    }

    /// Calls `handler` for every change, on the informer's task; it must be quick (put a key in a queue) and
    /// must not add handlers. What the store already holds comes first, as added.
    pub fn on(&self, handler: impl Fn(&Delta<K>) + Send + Sync + 'static) -> &Self {
        let mut handlers = self.0.handlers.lock();
        for object in self.0.store.list() {
            handler(&Delta::Added(object));
        }
        handlers.push(Box::new(handler));
        self
    }

    /// The changes as a channel, beginning with what is there. Unbounded: read it.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Delta<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.on(move |delta| {
            let copy = match delta {
                Delta::Added(o) => Delta::Added(o.clone()),
                Delta::Modified { old, new } => Delta::Modified { old: old.clone(), new: new.clone() },
                Delta::Deleted(o) => Delta::Deleted(o.clone()),
            };
            // An error says the reader has gone.
            let _ = sender.send(copy);
        });
        receiver
    }

    /// Begins watching, once; later calls do nothing.
    pub fn start(&self, stop: &CancellationToken) {
        if std::mem::replace(&mut *self.0.started.lock(), true) {
            return;
        }
        let informer = self.clone();
        let stop = stop.clone();
        tokio::spawn(async move {
            let (client, target) = (informer.0.client.clone(), informer.0.target.clone());
            let mut sink = Filling { informer, fresh: None };
            watch::run(client, target, &mut sink, stop).await;
        });
    }

    pub fn has_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Resolves once the first full state is stored and told.
    pub async fn synced(&self) {
        // The sender lives in self, so it cannot be gone.
        let _ = self.0.synced.subscribe().wait_for(|s| *s).await;
    }

    /// The newest revision of which everything up to it has been stored and told.
    pub fn revision(&self) -> u64 {
        *self.0.revision.borrow()
    }

    /// A receiver of [`Informer::revision`].
    pub fn revisions(&self) -> tokio_watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    /// Resolves once [`Informer::revision`] has reached `revision`.
    pub async fn caught_up(&self, revision: u64) {
        let _ = self.0.revision.subscribe().wait_for(|r| *r >= revision).await;
    }

    fn tell(&self, change: impl FnOnce(&Store<K>) -> Option<Delta<K>>) {
        let handlers = self.0.handlers.lock();
        if let Some(delta) = change(&self.0.store) {
            handlers.iter().for_each(|handler| handler(&delta));
        }
    }
}

/// The sink between the watch and the store.
struct Filling<K: Kind> {
    informer: Informer<K>,
    /// During a full state: the keys it has named so far.
    fresh: Option<BTreeSet<Key>>,
}

#[derive(Deserialize)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Deserialize)]
struct HeadMeta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

impl<K: Kind> Filling<K> {
    fn decode(&self, raw: &RawValue) -> Option<K> {
        let mut deserializer = serde_json::Deserializer::from_str(raw.get());
        match K::deserialize(&mut deserializer) {
            Ok(mut object) => {
                object.meta_mut().managed_fields = None;
                for cut in self.informer.0.transforms.lock().iter() {
                    cut(&mut object);
                }
                Some(object)
            }
            Err(error) => {
                let key = self.key(raw);
                tracing::error!(kind = %K::kind(&()), ?key, %error, "cannot decode an object, leaving it out");
                None
            }
        }
    }

    fn key(&self, raw: &RawValue) -> Option<Key> {
        let head: Head = serde_json::from_str(raw.get()).ok()?;
        Some(Key::new(&head.metadata.namespace, &head.metadata.name))
    }
}

impl<K: Kind> Sink for Filling<K> {
    fn begin(&mut self) {
        self.fresh = Some(BTreeSet::new());
    }

    fn upsert(&mut self, raw: &RawValue) {
        let Some(object) = self.decode(raw) else {
            // An object we cannot read is still there: what we knew of it stays.
            if let (Some(key), Some(fresh)) = (self.key(raw), &mut self.fresh) {
                fresh.insert(key);
            }
            return;
        };
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(Key::of(&object));
        }
        // Seen under this name with another identity: the old one was deleted unseen.
        let key = Key::of(&object);
        let replaced = self.informer.0.store.get(&key).is_some_and(|old| old.meta().uid != object.meta().uid);
        if replaced {
            self.informer.tell(|store| store.remove(&key, None));
        }
        self.informer.tell(|store| store.insert(object));
    }

    fn remove(&mut self, raw: &RawValue) {
        if let Some(key) = self.key(raw) {
            if let Some(fresh) = &mut self.fresh {
                fresh.remove(&key);
            }
            let last = self.decode(raw);
            self.informer.tell(|store| store.remove(&key, last));
        }
    }

    fn complete(&mut self) {
        let fresh = self.fresh.take().unwrap_or_default();
        for key in self.informer.0.store.keys() {
            if !fresh.contains(&key) {
                self.informer.tell(|store| store.remove(&key, None));
            }
        }
        self.informer.0.synced.send_replace(true);
    }

    fn progress(&mut self, revision: u64) {
        self.informer.0.revision.send_if_modified(|newest| {
            let grows = revision > *newest;
            if grows {
                *newest = revision;
            }
            grows
        });
    }
}

type Starter = Box<dyn Fn(&CancellationToken) + Send + Sync>;
type Waiter = Arc<dyn Fn() -> futures::future::BoxFuture<'static, ()> + Send + Sync>;

/// The informers of one process: one per kind, shared by all who ask. A handle also remembers what was asked for
/// through it and its clones, so that a part of the process waits for its own kinds alone ([`Informers::part`]).
#[derive(Clone)]
pub struct Informers {
    shared: Arc<Shared>,
    asked: Arc<Mutex<Vec<(TypeId, Waiter)>>>,
}

struct Shared {
    client: Client,
    kinds: Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>,
    starters: Mutex<Vec<Starter>>,
    begun: tokio_watch::Sender<bool>,
}

impl Informers {
    pub fn new(client: Client) -> Self {
        let shared = Shared {
            client,
            kinds: Mutex::default(),
            starters: Mutex::default(),
            begun: tokio_watch::channel(false).0,
        };
        Self { shared: Arc::new(shared), asked: Arc::default() }
    }

    /// The same informers, through a handle to which nothing was asked for yet.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { shared: self.shared.clone(), asked: Arc::default() }
    }

    /// The informer of all objects of a kind. Not started: see [`Informers::start`].
    pub fn of<K: Kind>(&self) -> Informer<K> {
        let informer = self.shared.of::<K>();
        let mut asked = self.asked.lock();
        if asked.iter().all(|(kind, _)| *kind != TypeId::of::<K>()) {
            let waiting = informer.clone();
            let wait: Waiter = Arc::new(move || {
                let waiting = waiting.clone();
                Box::pin(async move { waiting.synced().await })
            });
            asked.push((TypeId::of::<K>(), wait));
        }
        informer
    }

    /// Starts every informer asked for so far, through whichever handle. Call again after asking for more.
    pub fn start(&self, stop: &CancellationToken) {
        for start in self.shared.starters.lock().iter() {
            start(stop);
        }
        self.shared.begun.send_replace(true);
    }

    /// Resolves once the informers have been started and every one asked for through this handle has synced.
    /// A kind the server does not serve holds up only those who ask for it.
    pub async fn synced(&self) {
        // The sender lives in self, so it cannot be gone.
        let _ = self.shared.begun.subscribe().wait_for(|b| *b).await;
        let waits: Vec<Waiter> = self.asked.lock().iter().map(|(_, wait)| wait.clone()).collect();
        futures::future::join_all(waits.iter().map(|wait| wait())).await;
    }
}

impl Shared {
    fn of<K: Kind>(&self) -> Informer<K> {
        let mut kinds = self.kinds.lock();
        if let Some(found) = kinds.get(&TypeId::of::<K>()).and_then(|i| i.downcast_ref::<Informer<K>>()) {
            return found.clone();
        }
        let informer = Informer::<K>::new(self.client.clone(), Scope::default());
        kinds.insert(TypeId::of::<K>(), Box::new(informer.clone()));
        let starting = informer.clone();
        self.starters.lock().push(Box::new(move |stop| starting.start(stop)));
        informer
    }
}
