//! What readers, watchers and the committer share.

use crate::disk::Disk;
use crate::index::{Index, Version};
use crate::recent::Recent;
use gantry_storage::{Event, KeyValue, RangeRequest, RangeResponse, Result, Revision, StoreError};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Changes a watcher takes at once.
const CHUNK: usize = 512;
/// Reads under way when the store is closed end within this, or hold the file for longer.
const PATIENCE: Duration = Duration::from_millis(500);

pub struct Shared {
    /// `None` once the store is closed.
    disk: RwLock<Option<Arc<Disk>>>,
    pub index: RwLock<Index>,
    pub recent: Mutex<Recent>,
    /// The newest revision on disk and in the index.
    pub published: watch::Sender<Revision>,
    /// Why writes fail at present.
    pub failure: Mutex<Option<String>>,
}

/// The newest record of each key that has one: its revision and expiry.
pub type Newest = BTreeMap<String, (Revision, u64)>;

impl Shared {
    /// Opens the file and reads which keys there are. Also answers the keys that expire.
    pub fn open(path: &Path) -> Result<(Arc<Self>, Newest)> {
        let disk = Arc::new(Disk::open(path)?);
        let mut index = Index::default();
        index.compacted = disk.compacted()?;
        index.revision = index.compacted;
        let mut expiring = Newest::new();
        disk.reader()?.scan(0, false, |revision, record| {
            index.apply(&record.key, Version { modified: revision, created: record.create_revision });
            if record.expires != 0 {
                expiring.insert(record.key, (revision, record.expires));
            } else if !expiring.is_empty() {
                expiring.remove(&record.key);
            }
            true
        })?;
        // An empty etcd stands at revision 1, and clients take 0 for "any".
        index.revision = index.revision.max(1);
        let revision = index.revision;
        let shared = Self {
            disk: RwLock::new(Some(disk)),
            index: RwLock::new(index),
            recent: Mutex::new(Recent::starting_at(revision)),
            published: watch::channel(revision).0,
            failure: Mutex::new(None),
        };
        Ok((Arc::new(shared), expiring))
    }

    pub fn disk(&self) -> Result<Arc<Disk>> {
        self.disk.read().clone().ok_or_else(|| StoreError::Unavailable("the store is closed".into()))
    }

    /// Lets go of the file, and waits a little for those who read at this moment.
    pub fn close(&self) {
        let disk = self.disk.write().take();
        // Wakes watchers, which find the store closed.
        self.published.send_modify(|_| {});
        let Some(disk) = disk else { return };
        let patience = Instant::now() + PATIENCE;
        while Arc::strong_count(&disk) > 1 && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        let disk = self.disk()?;
        loop {
            let (found, revision) = {
                let index = self.index.read();
                (index.newest(key).map(|(k, v)| (k.clone(), v)), index.revision)
            };
            let Some((key, v)) = found else { return Ok((None, revision)) };
            // Replaced and compacted meanwhile: the index knows what replaced it.
            let Some(value) = disk.value(v.modified)? else { continue };
            let kv = KeyValue { key, value, create_revision: v.created, mod_revision: v.modified };
            return Ok((Some(kv), revision));
        }
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse> {
        let disk = self.disk()?;
        'again: loop {
            // Begun before the index is read: what is compacted meanwhile stays readable.
            let reader = disk.reader()?;
            let mut answer = RangeResponse::default();
            let mut keys = Vec::new();
            {
                let index = self.index.read();
                let current = index.revision;
                let revision = if request.revision == 0 { current } else { request.revision };
                if revision > current {
                    return Err(StoreError::FutureRevision { requested: revision, current });
                }
                if revision < index.compacted {
                    return Err(StoreError::Compacted { requested: revision, oldest: index.compacted });
                }
                answer.revision = revision;
                for (key, version) in index.range(&request.start, &request.end, revision) {
                    answer.count += 1;
                    if request.count_only || version.modified <= request.newer_than {
                        continue;
                    }
                    if request.limit > 0 && keys.len() == request.limit {
                        answer.more = true;
                    } else {
                        keys.push((key.clone(), version));
                    }
                }
            }
            answer.kvs.reserve_exact(keys.len());
            for (key, v) in keys {
                let Some(value) = reader.value(v.modified)? else { continue 'again };
                answer.kvs.push(KeyValue {
                    key,
                    value,
                    create_revision: v.created,
                    mod_revision: v.modified,
                });
            }
            return Ok(answer);
        }
    }

    /// The changes under `prefix` after `after`, and the revision they reach. Some at a time.
    pub fn changes(&self, prefix: &str, after: Revision) -> Result<(Vec<Event>, Revision)> {
        let disk = self.disk()?;
        if let Some(found) = self.recent.lock().after(after, prefix, CHUNK) {
            return Ok(found);
        }
        let reader = disk.reader()?;
        let oldest = self.index.read().compacted;
        if after < oldest {
            return Err(StoreError::Compacted { requested: after, oldest });
        }
        // Nothing that is not yet published may be told.
        let published = *self.published.borrow();
        let mut events = Vec::new();
        let mut last = after;
        let mut looked = 0;
        let mut found = Vec::new();
        reader.scan(after, true, |revision, record| {
            if revision > published {
                return false;
            }
            last = revision;
            looked += 1;
            if record.key.starts_with(prefix) {
                found.push((revision, record));
            }
            looked < CHUNK
        })?;
        if looked < CHUNK {
            last = last.max(published);
        }
        for (revision, record) in found {
            let before = {
                let index = self.index.read();
                index.before(&record.key, revision).map(|(k, v)| (k.clone(), v))
            };
            let (key, before) = before.unwrap_or_else(|| (record.key.as_str().into(), None));
            events.push(if record.create_revision != 0 {
                let (value, create_revision) = (record.value, record.create_revision);
                Event::Put(KeyValue { key, value, create_revision, mod_revision: revision })
            } else {
                let previous = match before.filter(|v| v.created != 0) {
                    Some(v) => reader.value(v.modified)?.map(|value| KeyValue {
                        key: key.clone(),
                        value,
                        create_revision: v.created,
                        mod_revision: v.modified,
                    }),
                    None => None,
                };
                Event::Delete { key, revision, previous }
            });
        }
        Ok((events, last))
    }
}
