//! How many objects of a resource each namespace has: a metadata-only watch per resource some quota counts, from
//! the first time it is asked about.

use super::ledger::Ledger;
use super::plan::label;
use crate::context::{Context, now};
use crate::discovery::{ApiResource, discover};
use gantry_client::Key;
use gantry_client::watch::{self, Sink, Target};
use gantry_machinery::quota::{Item, Measure};
use gantry_types::GroupResource;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

#[derive(Default)]
struct Tally {
    known: HashSet<Key>,
    by_namespace: HashMap<Box<str>, i64>,
    complete: bool,
}

impl Tally {
    fn add(&mut self, key: Key) -> bool {
        let namespace: Box<str> = key.namespace().into();
        let new = self.known.insert(key);
        if new {
            *self.by_namespace.entry(namespace).or_default() += 1;
        }
        new
    }

    fn remove(&mut self, key: &Key) -> bool {
        let was = self.known.remove(key);
        if was && let Some(n) = self.by_namespace.get_mut(key.namespace()) {
            *n -= 1;
        }
        was
    }
}

pub(super) struct Counts {
    context: Context,
    ledger: Arc<Ledger>,
    tallies: Mutex<HashMap<GroupResource, Arc<Mutex<Tally>>>>,
}

impl Counts {
    pub(super) fn new(context: &Context, ledger: Arc<Ledger>) -> Self {
        Self { context: context.clone(), ledger, tallies: Mutex::default() }
    }

    /// The number of objects in a namespace; `None` while it is not known, the end of which is told. A resource
    /// the server does not have stays unknown.
    pub(super) async fn of(
        &self,
        resource: &GroupResource,
        namespace: &str,
    ) -> Result<Option<i64>, kube::Error> {
        let watched = self.tallies.lock().get(resource).cloned();
        if let Some(tally) = watched {
            let tally = tally.lock();
            return Ok(tally.complete.then(|| tally.by_namespace.get(namespace).copied().unwrap_or(0)));
        }
        let found = discover(&self.context.client).await?;
        let usable = |r: &&ApiResource| {
            r.group == *resource.group && r.resource == *resource.resource && r.namespaced && r.can("watch")
        };
        if let Some(api) = found.resources.iter().find(usable) {
            self.watch(resource, api);
        }
        Ok(None)
    }

    fn watch(&self, resource: &GroupResource, api: &ApiResource) {
        // Several workers may have asked at once: the first one's tally is the one that is fed.
        let tally = match self.tallies.lock().entry(resource.clone()) {
            Entry::Occupied(_) => return,
            Entry::Vacant(free) => free.insert(Arc::default()).clone(),
        };
        let (client, stop) = (self.context.watch_client.clone(), self.context.stop.clone());
        let target =
            Target { path: api.path(""), label_selector: None, field_selector: None, metadata_only: true };
        let mut sink = Counting {
            label: label(resource),
            measure: Measure::of(resource),
            tally,
            ledger: self.ledger.clone(),
            fresh: None,
        };
        self.context.tasks.spawn(async move { watch::run(client, target, &mut sink, stop).await });
    }
}

struct Counting {
    label: String,
    measure: Measure,
    tally: Arc<Mutex<Tally>>,
    ledger: Arc<Ledger>,
    fresh: Option<HashSet<Key>>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
}

#[derive(Deserialize)]
struct Meta {
    name: String,
    #[serde(default)]
    namespace: String,
}

fn key(object: &RawValue) -> Option<Key> {
    let meta = serde_json::from_str::<Object>(object.get()).ok()?.metadata;
    Some(Key::new(&meta.namespace, &meta.name))
}

impl Sink for Counting {
    fn begin(&mut self) {
        self.fresh = Some(HashSet::new());
    }

    fn upsert(&mut self, object: &RawValue) {
        let Some(key) = key(object) else {
            tracing::error!(resource = self.label, "cannot read an object's metadata");
            return;
        };
        let new = self.tally.lock().add(key.clone());
        match &mut self.fresh {
            // During a list nobody is told of each object: at its end all are.
            Some(fresh) => _ = fresh.insert(key),
            None if new => self.ledger.arrived(key.namespace(), &self.measure, Item::Other, now()),
            None => {}
        }
    }

    fn remove(&mut self, object: &RawValue) {
        if let Some(key) = key(object) {
            let was = self.tally.lock().remove(&key);
            match &mut self.fresh {
                Some(fresh) => _ = fresh.remove(&key),
                None if was => self.ledger.changed(key.namespace()),
                None => {}
            }
        }
    }

    fn complete(&mut self) {
        let fresh = self.fresh.take().unwrap_or_default();
        {
            let mut tally = self.tally.lock();
            let gone: Vec<Key> = tally.known.iter().filter(|k| !fresh.contains(*k)).cloned().collect();
            gone.iter().for_each(|key| _ = tally.remove(key));
            tally.complete = true;
        }
        self.ledger.changed("");
    }

    fn progress(&mut self, _revision: u64) {}
}
