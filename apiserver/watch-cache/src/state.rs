//! What one cache knows, as a pure state: apply changes, read at revisions.

use crate::config::{Decode, ResourceConfig};
use crate::event::Change;
use crate::filter::Filter;
use crate::ring::Ring;
use crate::splice::splice_revision;
use gantry_storage::{Event, KeyValue, Revision};
use gantry_types::Object;
use imbl::OrdMap;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

pub type Objects = OrdMap<Arc<str>, Object>;
type Keys = BTreeSet<Arc<str>>;

/// Reads a stored value into the object it is served as.
pub fn decode_value(decode: &Decode, kv: &KeyValue) -> Result<Object, String> {
    let decoded = decode(kv).map_err(|e| e.to_string())?;
    let body = splice_revision(&decoded.body, kv.mod_revision).ok_or("the object has no metadata")?;
    Ok(Object::new(decoded.meta, gantry_types::Revision(kv.mod_revision), body))
}

#[derive(Debug, Default)]
pub struct State {
    pub objects: Objects,
    /// Keys whose value cannot be read, with its revision.
    pub malformed: BTreeMap<Arc<str>, Revision>,
    pub ring: Ring,
    /// Every change of this resource up to here is in.
    pub revision: Revision,
    /// The state is known to stand for this revision too; 0 when nothing is known beyond `revision`.
    pub proven: Revision,
    fields: HashMap<&'static str, HashMap<Box<str>, Keys>>,
    labels: HashMap<Box<str>, HashMap<Box<str>, Keys>>,
}

impl State {
    /// Starts over from a full read at `revision`.
    pub fn load(
        &mut self,
        config: &ResourceConfig,
        objects: Vec<(Arc<str>, Result<Object, Revision>)>,
        revision: Revision,
    ) {
        let ring = Ring::starting_at(revision, self.ring.end());
        *self = Self { ring, revision, ..Self::default() };
        for (key, object) in objects {
            match object {
                Ok(object) => {
                    self.index(config, &key, None, Some(&object));
                    self.objects.insert(key, object);
                }
                Err(at) => {
                    self.malformed.insert(key, at);
                }
            }
        }
    }

    /// Takes one change in; answers it with its sequence number unless it is already in or says nothing.
    pub fn apply(
        &mut self,
        config: &ResourceConfig,
        event: Event,
        now: Instant,
    ) -> Option<(u64, Arc<Change>)> {
        let revision = event.revision();
        if revision <= self.revision {
            return None;
        }
        let (key, object) = match event {
            Event::Put(kv) => match decode_value(&config.decode, &kv) {
                Ok(object) => {
                    self.malformed.remove(&kv.key);
                    (kv.key, Some(object))
                }
                Err(why) => {
                    tracing::error!(key = %kv.key, revision, "Unreadable object in the store: {why}");
                    self.malformed.insert(kv.key.clone(), revision);
                    (kv.key, None)
                }
            },
            Event::Delete { key, .. } => {
                self.malformed.remove(&key);
                (key, None)
            }
        };
        let previous = match &object {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(&key),
        };
        self.index(config, &key, previous.as_ref(), object.as_ref());
        if previous.is_none() && object.is_none() {
            return None;
        }
        let change = Arc::new(Change::new(revision, key, object, previous, now));
        Some((self.ring.push(change.clone()), change))
    }

    fn index(
        &mut self,
        config: &ResourceConfig,
        key: &Arc<str>,
        before: Option<&Object>,
        now: Option<&Object>,
    ) {
        for field in config.indexed_fields {
            let (old, new) = (before.and_then(|o| o.field(field)), now.and_then(|o| o.field(field)));
            if old != new {
                let values = self.fields.entry(field).or_default();
                forget(values, old, key);
                remember(values, new, key);
            }
        }
        if !config.index_labels || before.map(|o| &o.meta().labels) == now.map(|o| &o.meta().labels) {
            return;
        }
        for (label, value) in before.iter().flat_map(|o| &o.meta().labels) {
            if let Some(values) = self.labels.get_mut(label) {
                forget(values, Some(value), key);
                if values.is_empty() {
                    self.labels.remove(label);
                }
            }
        }
        for (label, value) in now.iter().flat_map(|o| &o.meta().labels) {
            if !self.labels.contains_key(label) {
                self.labels.insert(label.clone(), HashMap::new());
            }
            if let Some(values) = self.labels.get_mut(label) {
                remember(values, Some(value), key);
            }
        }
    }

    /// The keys an index narrows `filter` to: `None` when no index helps, the smallest set otherwise.
    pub fn candidates(&self, config: &ResourceConfig, filter: &Filter) -> Option<Vec<Object>> {
        let fields = filter.fields.iter().filter_map(|(field, value)| {
            let field = config.indexed_fields.iter().find(|f| ***f == **field)?;
            Some(self.fields.get(field).and_then(|values| values.get(value)))
        });
        let labels = filter.labels.iter().filter(|_| config.index_labels);
        let labels = labels.map(|(label, value)| self.labels.get(label).and_then(|values| values.get(value)));
        let best = fields.chain(labels).min_by_key(|keys| keys.map_or(0, Keys::len));
        let keys = match best? {
            Some(keys) if keys.len() > 64 && keys.len() > self.objects.len() / 4 => return None,
            keys => keys,
        };
        Some(keys.into_iter().flatten().filter_map(|key| self.objects.get(key)).cloned().collect())
    }

    /// The objects as they were at `revision`; `None` when that is no longer known.
    ///
    /// Undoes the changes since, on a copy that shares all the rest.
    pub fn at(&self, revision: Revision) -> Option<Objects> {
        if revision < self.ring.floor() {
            return None;
        }
        let mut objects = self.objects.clone();
        for change in self.ring.newest_down_to(revision) {
            match &change.previous {
                Some(previous) => objects.insert(change.key.clone(), previous.clone()),
                None => objects.remove(&change.key),
            };
        }
        Some(objects)
    }
}

fn forget(values: &mut HashMap<Box<str>, Keys>, value: Option<&str>, key: &Arc<str>) {
    let Some(value) = value else { return };
    if let Some(keys) = values.get_mut(value) {
        keys.remove(key);
        if keys.is_empty() {
            values.remove(value);
        }
    }
}

fn remember(values: &mut HashMap<Box<str>, Keys>, value: Option<&str>, key: &Arc<str>) {
    let Some(value) = value else { return };
    match values.get_mut(value) {
        Some(keys) => keys.insert(key.clone()),
        None => values.entry(value.into()).or_default().insert(key.clone()),
    };
}
