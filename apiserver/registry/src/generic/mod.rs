//! The pipeline itself: one [`Endpoint`] per served resource, all alike.
//!
//! Writes: [`create`], [`update`] (also patches, applies and subresources), [`delete`]. Reads go to the cache of an
//! endpoint directly ([`Endpoint::cache`]), in the version [`convert`] makes. What differs between kinds is asked of their strategy.

pub mod addresses;
pub mod convert;
pub mod create;
pub mod delete;
mod duplicates;
mod eviction;
pub mod fields;
pub mod metadata;
pub mod namespace;
pub mod options;
pub mod patch;
pub mod pods;
pub mod scale;
mod services;
pub mod stored;
pub mod update;

use crate::admission::Chain;
use crate::alloc::Allocators;
use crate::strategy::{AnyStrategy, Context};
use gantry_storage::{Expect, KeyValue, Op, Store, StoreError, Txn, TxnOutcome};
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::object::{Object, Revision};
use gantry_types::scheme::{self, Kind, Storage};
use gantry_types::{Document, Status, StatusResult, UserInfo};
use gantry_watch_cache::{Cache, Caches, ResourceConfig};
use options::WriteOptions;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

/// What the pipeline needs to know of the request it serves.
pub struct Request<'a> {
    pub user: &'a UserInfo,
    /// Empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// Empty on create.
    pub name: &'a str,
    /// Empty on the main resource.
    pub subresource: &'a str,
    pub options: &'a WriteOptions,
    pub now: Timestamp,
    /// Texts for `Warning` headers, in order.
    pub warnings: Vec<String>,
}

impl Request<'_> {
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            user: self.user,
            now: self.now,
            dry_run: self.options.dry_run,
            subresource: self.subresource,
        }
    }
}

/// Seconds precision, as `metav1.Time` prints.
pub fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What every endpoint shares.
pub struct Shared {
    pub store: Arc<dyn Store>,
    pub caches: Arc<Caches>,
    admission: OnceLock<Chain>,
    allocators: OnceLock<Allocators>,
    /// The endpoint of `IPAddress`, for the endpoint of services.
    addresses: OnceLock<Weak<Endpoint>>,
}

impl Shared {
    fn admission(&self) -> &Chain {
        self.admission.get_or_init(Chain::default)
    }
}

/// One served resource: a row of the scheme with its strategy, its cache and its place in the store.
pub struct Endpoint {
    pub kind: &'static Kind,
    /// The row the objects are stored as; mostly `kind` itself.
    pub stored: &'static Kind,
    pub strategy: Arc<dyn AnyStrategy>,
    pub cache: Arc<Cache>,
    shared: Arc<Shared>,
    /// `{"apiVersion":…,"kind":…,` of the stored form.
    type_prefix: String,
    /// `/registry/pods/`.
    key_prefix: String,
}

/// Every served resource by group, version and plural name.
pub struct Registry {
    shared: Arc<Shared>,
    endpoints: HashMap<(&'static str, &'static str, &'static str), Arc<Endpoint>>,
}

/// How the registry finds the strategy of a kind.
pub type StrategyOf<'a> = &'a dyn Fn(&Kind) -> Option<Arc<dyn AnyStrategy>>;

/// Selectable fields worth an index.
fn indexed_fields(kind: &Kind) -> &'static [&'static str] {
    match (kind.group, kind.kind) {
        ("", "Pod") => &["spec.nodeName"],
        _ => &[],
    }
}

fn key_prefix(kind: &Kind) -> Option<String> {
    match kind.storage {
        Storage::Prefix(prefix) => Some(format!("/registry/{prefix}/")),
        _ => None,
    }
}

/// What the watch cache must know of every stored kind that has a strategy.
pub fn resource_configs(strategy_of: StrategyOf<'_>) -> Vec<ResourceConfig> {
    scheme::KINDS
        .iter()
        .filter_map(|kind| {
            let (prefix, strategy) = (key_prefix(kind)?, strategy_of(kind)?);
            Some(ResourceConfig {
                resource: kind.group_resource(),
                prefix,
                namespaced: kind.namespaced(),
                decode: stored::decoder(kind, strategy),
                indexed_fields: indexed_fields(kind),
                index_labels: false,
            })
        })
        .collect()
}

impl Registry {
    /// `caches` was made from [`resource_configs`].
    pub fn new(store: Arc<dyn Store>, caches: Arc<Caches>, strategy_of: StrategyOf<'_>) -> Self {
        let (admission, allocators, addresses) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let shared = Arc::new(Shared { store, caches, admission, allocators, addresses });
        let mut endpoints = HashMap::new();
        for kind in scheme::KINDS {
            let Some(stored) = kind.stored() else { continue };
            let (Some(strategy), Some(prefix)) = (strategy_of(kind), key_prefix(stored)) else { continue };
            let Some(cache) = shared.caches.cache(&stored.group_resource()) else { continue };
            let endpoint = Endpoint {
                kind,
                stored,
                strategy,
                cache,
                shared: shared.clone(),
                type_prefix: stored::type_prefix(stored),
                key_prefix: prefix,
            };
            endpoints.insert((kind.group, kind.version, kind.plural), Arc::new(endpoint));
        }
        let this = Self { shared, endpoints };
        if let Some(addresses) = this.addresses() {
            // The cell is new: nothing has been set.
            let _ = this.shared.addresses.set(Arc::downgrade(addresses));
        }
        this
    }

    /// Puts the admission plugins in; once, before the first request. Without it nothing is admitted upon.
    pub fn set_admission(&self, chain: Chain) -> bool {
        self.shared.admission.set(chain).is_ok()
    }

    /// Puts the allocators of services in; once, before the first service is written.
    pub fn set_allocators(&self, allocators: Allocators) -> bool {
        self.shared.allocators.set(allocators).is_ok()
    }

    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Endpoint>> {
        let kind = scheme::find(group, version, plural)?;
        self.endpoints.get(&(kind.group, kind.version, kind.plural))
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }
}

/// An object as it is now, on its way to being changed.
pub(crate) struct Current {
    pub document: Document,
    pub object: Object,
    /// Whether the store itself was asked; a cached state may be older.
    pub fresh: bool,
}

/// What came of trying to write.
pub(crate) enum Written {
    Done(Object),
    /// Somebody was faster: the key as it is now.
    Conflict(Option<KeyValue>),
}

/// A store's failure as the client sees it.
pub(crate) fn store_status(error: StoreError) -> Status {
    match error {
        StoreError::TooLarge => Status::too_large("limit is 1572864"),
        StoreError::Unavailable(why) | StoreError::Failed(why) => Status::internal(why),
        other => Status::internal(other),
    }
}

impl Endpoint {
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.stored.namespaced() {
            format!("{}{namespace}/{name}", self.key_prefix)
        } else {
            format!("{}{name}", self.key_prefix)
        }
    }

    pub fn admission(&self) -> &Chain {
        self.shared.admission()
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The state to start a change from: the cache's when there is one (it may be a little old), otherwise
    /// the store's.
    pub(crate) async fn current(
        &self,
        namespace: &str,
        name: &str,
        fresh: bool,
    ) -> StatusResult<Option<Current>> {
        if !fresh && let Some(object) = self.cache.peek(namespace, name) {
            let document = Document::from_json(object.body()).map_err(Status::internal)?;
            return Ok(Some(Current { document, object, fresh: false }));
        }
        let (found, _) = self.shared.store.get(&self.key(namespace, name)).await.map_err(store_status)?;
        found.map(|kv| self.read(&kv)).transpose()
    }

    pub(crate) fn read(&self, kv: &KeyValue) -> StatusResult<Current> {
        let object = stored::read(self.stored, &self.type_prefix, kv)?;
        let document = Document::from_json(object.body()).map_err(Status::internal)?;
        Ok(Current { document, object, fresh: true })
    }

    /// Writes what is given, as it stands, when `expect` holds.
    pub(crate) async fn put(
        &self,
        namespace: &str,
        name: &str,
        document: &Document,
        expect: Expect,
        dry_run: bool,
    ) -> StatusResult<Written> {
        let key = self.key(namespace, name);
        if dry_run {
            let (current, _) = self.shared.store.get(&key).await.map_err(store_status)?;
            let now = current.as_ref().map(|kv| kv.mod_revision);
            let holds = match expect {
                Expect::Absent => now.is_none(),
                Expect::Unchanged(revision) => now == Some(revision),
            };
            if !holds {
                return Ok(Written::Conflict(current));
            }
            let revision = now.map(Revision);
            return stored::unstored(document, &self.type_prefix, revision).map(Written::Done);
        }
        let value = bytes::Bytes::from(stored::encode(document, &self.type_prefix));
        let op = Op::Put { value: value.clone(), ttl: self.strategy.ttl() };
        match self.shared.store.txn(Txn { key, expect, op }).await.map_err(store_status)? {
            TxnOutcome::Committed { revision } => {
                stored::written(document, &value, Revision(revision)).map(Written::Done)
            }
            TxnOutcome::Conflict { current } => Ok(Written::Conflict(current)),
        }
    }

    /// Removes the key when it is still at `revision`. The revision of the removal, or what is there instead.
    pub(crate) async fn remove(
        &self,
        namespace: &str,
        name: &str,
        revision: Revision,
    ) -> StatusResult<Result<Revision, Option<KeyValue>>> {
        let txn =
            Txn { key: self.key(namespace, name), expect: Expect::Unchanged(revision.0), op: Op::Delete };
        match self.shared.store.txn(txn).await.map_err(store_status)? {
            TxnOutcome::Committed { revision } => Ok(Ok(Revision(revision))),
            TxnOutcome::Conflict { current } => Ok(Err(current)),
        }
    }

    pub(crate) fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.kind.group_resource(), name)
    }
}
