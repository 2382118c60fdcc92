//! A cache of pods over an embedded store.
#![allow(dead_code)]

use bytes::Bytes;
use futures::StreamExt;
use gantry_storage::{Expect, Op, Revision, Store, Txn, TxnOutcome};
use gantry_storage_embedded::EmbeddedStore;
use gantry_types::{Document, GroupResource, Object};
use gantry_watch_cache::{
    Cache, Caches, Filter, ListOptions, ListPage, ResourceConfig, Settings, WatchEvent, WatchOptions,
    Watcher, json_decoder,
};
use std::sync::Arc;
use std::time::Duration;

pub const PODS: GroupResource = GroupResource::new("", "pods");
pub const NODES: GroupResource = GroupResource::new("", "nodes");

pub fn pods() -> ResourceConfig {
    let fields = |body: &[u8]| {
        let pod = Document::from_json(body).unwrap_or_default();
        vec![("spec.nodeName", pod.str_at(&["spec", "nodeName"]).unwrap_or("").to_owned())]
    };
    ResourceConfig {
        resource: PODS,
        prefix: "/registry/pods/".into(),
        namespaced: true,
        decode: json_decoder(fields, None),
        indexed_fields: &["spec.nodeName"],
        index_labels: true,
    }
}

pub fn nodes() -> ResourceConfig {
    ResourceConfig {
        resource: NODES,
        prefix: "/registry/minions/".into(),
        namespaced: false,
        decode: json_decoder(|_| Vec::new(), None),
        indexed_fields: &[],
        index_labels: false,
    }
}

/// A store with its caches.
pub struct World {
    pub store: Arc<dyn Store>,
    pub caches: Arc<Caches>,
    pub pods: Arc<Cache>,
    _dir: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::over(|store| store).await
    }

    pub async fn over(wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = wrap(Arc::new(EmbeddedStore::open(dir.path().join("db")).unwrap()));
        let caches = Caches::start(store.clone(), Settings::default(), vec![pods(), nodes()]);
        caches.ready().await;
        let pods = caches.cache(&PODS).unwrap();
        Self { store, caches, pods, _dir: dir }
    }

    pub async fn txn(&self, key: &str, expect: Expect, op: Op) -> Revision {
        match self.store.txn(Txn { key: key.into(), expect, op }).await.unwrap() {
            TxnOutcome::Committed { revision } => revision,
            other => panic!("{key}: {other:?}"),
        }
    }

    /// Writes a pod named `ns/name`, whatever is there; `app` is a label, `node` its node.
    pub async fn put(&self, path: &str, app: &str, node: &str) -> Revision {
        let (namespace, name) = path.split_once('/').unwrap();
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"{namespace}","labels":{{"app":"{app}"}}}},"spec":{{"nodeName":"{node}"}}}}"#
        );
        self.raw(&format!("/registry/pods/{path}"), &body).await
    }

    pub async fn raw(&self, key: &str, body: &str) -> Revision {
        let expect = match self.store.get(key).await.unwrap().0 {
            Some(kv) => Expect::Unchanged(kv.mod_revision),
            None => Expect::Absent,
        };
        self.txn(key, expect, Op::Put { value: Bytes::copy_from_slice(body.as_bytes()), ttl: None }).await
    }

    pub async fn delete(&self, path: &str) -> Revision {
        let key = format!("/registry/pods/{path}");
        let kv = self.store.get(&key).await.unwrap().0.unwrap();
        self.txn(&key, Expect::Unchanged(kv.mod_revision), Op::Delete).await
    }

    pub async fn list(&self, options: ListOptions) -> ListPage {
        self.pods.list(&options).await.unwrap()
    }

    pub async fn names(&self, filter: Filter) -> String {
        names(&self.list(ListOptions { filter, ..ListOptions::default() }).await.items)
    }

    pub async fn watch(&self, options: WatchOptions) -> Watcher {
        self.pods.watch(options).await.unwrap()
    }
}

pub fn path(o: &Object) -> String {
    format!("{}/{}", o.namespace(), o.name())
}

pub fn names(items: &[Object]) -> String {
    items.iter().map(path).collect::<Vec<_>>().join(" ")
}

pub fn label(key: &str, value: &str) -> Filter {
    Filter { labels: vec![(key.into(), value.into())], ..Filter::default() }
}

pub fn node(name: &str) -> Filter {
    Filter { fields: vec![("spec.nodeName".into(), name.into())], ..Filter::default() }
}

pub fn from(revision: Revision, filter: Filter) -> WatchOptions {
    WatchOptions { filter, resource_version: revision.to_string(), ..WatchOptions::default() }
}

/// An event in words: `ADDED a/b@5`, `BOOKMARK@7`, `BOOKMARK! @7` at the end of the initial state.
pub fn word(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Change(change) => {
            let body = Document::from_json(change.object.body()).unwrap();
            let revision = change.object.revision().0.to_string();
            assert_eq!(body.resource_version(), revision);
            format!("{} {}@{revision}", change.kind.as_str(), path(&change.object))
        }
        WatchEvent::Bookmark { revision, initial_events_end: false } => format!("BOOKMARK@{revision}"),
        WatchEvent::Bookmark { revision, initial_events_end: true } => format!("BOOKMARK!@{revision}"),
        WatchEvent::Error(status) => format!("ERROR {} {}", status.code(), status.message()),
    }
}

pub async fn next(watcher: &mut Watcher) -> String {
    match tokio::time::timeout(Duration::from_secs(5), watcher.next()).await {
        Ok(Some(event)) => word(&event),
        Ok(None) => "end".into(),
        Err(_) => "nothing".into(),
    }
}

pub async fn take(watcher: &mut Watcher, n: usize) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..n {
        words.push(next(watcher).await);
    }
    words
}
