//! An informer's memory: objects by key, and secondary indexes.

use crate::key::Key;
use kube::Resource;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// What changed, as handlers see it. After a relist the same deltas come, from comparing old and new.
#[derive(Clone, Debug)]
pub enum Delta<K> {
    Added(Arc<K>),
    Modified {
        old: Arc<K>,
        new: Arc<K>,
    },
    /// The last state we know of; where the deletion was missed, the state before it.
    Deleted(Arc<K>),
}

impl<K> Delta<K> {
    /// The newest state known.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Modified { new: object, .. } | Self::Deleted(object) => object,
        }
    }

    /// The state before, where there was one and it still counts.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Modified { old, .. } => Some(old),
            _ => None,
        }
    }

    pub fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }
}

type IndexFn<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct Index<K> {
    name: &'static str,
    of: IndexFn<K>,
    keys: HashMap<String, BTreeSet<Key>>,
}

impl<K> Index<K> {
    fn insert(&mut self, key: &Key, object: &K) {
        for value in (self.of)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &Key, object: &K) {
        for value in (self.of)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

struct Inner<K> {
    objects: BTreeMap<Key, Arc<K>>,
    indexes: Vec<Index<K>>,
}

/// Shared, indexed objects of one kind. Reads take a short lock and hand out `Arc`s.
pub struct Store<K>(Arc<RwLock<Inner<K>>>);

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Inner { objects: BTreeMap::new(), indexes: Vec::new() })))
    }
}

impl<K: Resource> Store<K> {
    /// Adds an index under a name; objects already here are indexed at once. The same name twice keeps the
    /// first.
    pub fn add_index(&self, name: &'static str, of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        let mut inner = self.0.write();
        if inner.indexes.iter().any(|i| i.name == name) {
            return;
        }
        let mut index = Index { name, of: Box::new(of), keys: HashMap::new() };
        for (key, object) in &inner.objects {
            index.insert(key, object);
        }
        inner.indexes.push(index);
    }

    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.0.read().objects.get(key).cloned()
    }

    /// Every object, in key order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.read().objects.values().cloned().collect()
    }

    /// The objects of one namespace, in key order.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let (from, to) = (format!("{namespace}/"), format!("{namespace}0"));
        let inner = self.0.read();
        inner
            .objects
            .range::<str, _>((Bound::Included(from.as_str()), Bound::Excluded(to.as_str())))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The objects an index puts under `value`; none where there is no such index.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let inner = self.0.read();
        let Some(keys) = inner.indexes.iter().find(|i| i.name == index).and_then(|i| i.keys.get(value))
        else {
            return Vec::new();
        };
        keys.iter().filter_map(|key| inner.objects.get(key).cloned()).collect()
    }

    pub fn len(&self) -> usize {
        self.0.read().objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn keys(&self) -> Vec<Key> {
        self.0.read().objects.keys().cloned().collect()
    }

    /// Puts an object in and says what changed; `None` where it was there already in this very revision.
    /// Informers call this; so do tests that need a filled store.
    pub fn insert(&self, object: K) -> Option<Delta<K>> {
        let key = Key::of(&object);
        let new = Arc::new(object);
        let mut inner = self.0.write();
        let inner = &mut *inner;
        match inner.objects.insert(key.clone(), new.clone()) {
            None => {
                inner.indexes.iter_mut().for_each(|i| i.insert(&key, &new));
                Some(Delta::Added(new))
            }
            Some(old) => {
                for index in &mut inner.indexes {
                    index.remove(&key, &old);
                    index.insert(&key, &new);
                }
                let same = new.meta().resource_version.is_some()
                    && old.meta().resource_version == new.meta().resource_version
                    && old.meta().uid == new.meta().uid;
                if same { None } else { Some(Delta::Modified { old, new }) }
            }
        }
    }

    /// Takes an object out. `last` is its final state, where the server sent one.
    pub fn remove(&self, key: &Key, last: Option<K>) -> Option<Delta<K>> {
        let mut inner = self.0.write();
        let old = inner.objects.remove(key)?;
        inner.indexes.iter_mut().for_each(|i| i.remove(key, &old));
        Some(Delta::Deleted(last.map_or(old, Arc::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(namespace: &str, name: &str, label: &str, version: &str) -> ConfigMap {
        let mut found = ConfigMap::default();
        found.metadata.namespace = Some(namespace.into());
        found.metadata.name = Some(name.into());
        found.metadata.resource_version = Some(version.into());
        found.metadata.labels = Some([("app".to_owned(), label.to_owned())].into());
        found
    }

    #[test]
    fn indexes_follow_changes_and_namespaces_stay_apart() {
        let store = Store::<ConfigMap>::default();
        store.insert(object("a", "x", "one", "1"));
        store.add_index("app", |o| o.metadata.labels.iter().flat_map(|l| l.values().cloned()).collect());
        store.insert(object("a-b", "y", "one", "2"));
        store.insert(object("a", "z", "two", "3"));
        assert_eq!(store.by_index("app", "one").len(), 2);
        assert_eq!(store.list_namespace("a").len(), 2);
        assert!(matches!(store.insert(object("a", "x", "two", "4")), Some(Delta::Modified { .. })));
        assert!(store.insert(object("a", "x", "two", "4")).is_none());
        assert_eq!(store.by_index("app", "one").len(), 1);
        assert_eq!(store.by_index("app", "two").len(), 2);
        assert!(store.remove(&Key::new("a", "x"), None).is_some_and(|d| d.is_deleted()));
        assert_eq!(store.by_index("app", "two").len(), 1);
        assert!(store.by_index("none", "two").is_empty());
    }
}
