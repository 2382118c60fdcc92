//! The store of a simulation: a map and its history in memory, and whoever wants to look at every write.

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use gantry_storage::{
    Event, Expect, KeyValue, Op, RangeRequest, RangeResponse, Result, Revision, Store, StoreError, Txn,
    TxnOutcome,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;
use tokio::sync::watch;

/// Called with every committed write, before anybody else sees it.
pub type Witness = Box<dyn FnMut(&Event) + Send>;

#[derive(Default)]
struct Inner {
    objects: BTreeMap<Arc<str>, KeyValue>,
    /// The write at index i has revision i + 2: an empty store stands at 1.
    log: Vec<Event>,
    witness: Option<Witness>,
}

pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
    published: watch::Sender<Revision>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { inner: Arc::default(), published: watch::channel(1).0 }
    }
}

impl MemoryStore {
    pub fn witness(&self, witness: Witness) {
        self.inner.lock().witness = Some(witness);
    }

    pub fn revision(&self) -> Revision {
        *self.published.borrow()
    }

    pub fn peek(&self, key: &str) -> Option<KeyValue> {
        self.inner.lock().objects.get(key).cloned()
    }

    /// What a write means, now.
    pub fn commit(&self, txn: Txn) -> TxnOutcome {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let current = inner.objects.get(txn.key.as_str()).cloned();
        let holds = match (txn.expect, &current) {
            (Expect::Absent, None) => true,
            (Expect::Unchanged(revision), Some(kv)) => kv.mod_revision == revision,
            _ => false,
        };
        if !holds {
            return TxnOutcome::Conflict { current };
        }
        let revision = self.revision() + 1;
        let event = match txn.op {
            Op::Put { value, .. } => {
                let key: Arc<str> = current.as_ref().map_or_else(|| txn.key.into(), |kv| kv.key.clone());
                let create_revision = current.map_or(revision, |kv| kv.create_revision);
                let kv = KeyValue { key: key.clone(), value, create_revision, mod_revision: revision };
                inner.objects.insert(key, kv.clone());
                Event::Put(kv)
            }
            Op::Delete => {
                inner.objects.remove(txn.key.as_str());
                let key = current.as_ref().map_or_else(|| txn.key.into(), |kv| kv.key.clone());
                Event::Delete { key, revision, previous: current }
            }
        };
        if let Some(witness) = &mut inner.witness {
            witness(&event);
        }
        inner.log.push(event);
        self.published.send_replace(revision);
        TxnOutcome::Committed { revision }
    }
}

/// The index in the log of the first write after a revision.
fn index(after: Revision) -> usize {
    usize::try_from(after.saturating_sub(1)).unwrap_or(usize::MAX)
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        Ok((self.inner.lock().objects.get(key).cloned(), self.revision()))
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        let current = self.revision();
        if request.revision > current {
            return Err(StoreError::FutureRevision { requested: request.revision, current });
        }
        if request.revision != 0 && request.revision < current {
            // Nobody here reads the past: what is small needs no pages.
            return Err(StoreError::Compacted { requested: request.revision, oldest: current });
        }
        let mut answer = RangeResponse { revision: current, ..RangeResponse::default() };
        let inner = self.inner.lock();
        for (key, kv) in inner.objects.range::<str, _>((Included(request.start.as_str()), Unbounded)) {
            if **key >= *request.end {
                break;
            }
            answer.count += 1;
            if request.count_only || kv.mod_revision <= request.newer_than {
                continue;
            }
            if request.limit > 0 && answer.kvs.len() == request.limit {
                answer.more = true;
            } else {
                answer.kvs.push(kv.clone());
            }
        }
        Ok(answer)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        Ok(self.commit(txn))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<BoxStream<'static, Result<Vec<Event>>>> {
        let (inner, published, prefix) = (self.inner.clone(), self.published.subscribe(), prefix.to_owned());
        let cursor = (inner, published, prefix, index(after));
        let step = |(inner, mut published, prefix, mut at): (
            Arc<Mutex<Inner>>,
            watch::Receiver<Revision>,
            String,
            usize,
        )| async move {
            loop {
                published.borrow_and_update();
                let found: Vec<Event> = {
                    let inner = inner.lock();
                    let new = inner.log.get(at..).unwrap_or_default();
                    at = inner.log.len();
                    new.iter().filter(|e| e.key().starts_with(&prefix)).cloned().collect()
                };
                if !found.is_empty() {
                    return Some((Ok(found), (inner, published, prefix, at)));
                }
                if published.changed().await.is_err() {
                    return None;
                }
            }
        };
        Ok(stream::unfold(cursor, step).boxed())
    }

    async fn current_revision(&self) -> Result<Revision> {
        Ok(self.revision())
    }

    async fn compact(&self, _revision: Revision) -> Result<()> {
        Ok(())
    }

    async fn healthy(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put(key: &str, expect: Expect) -> Txn {
        let op = Op::Put { value: Bytes::from_static(b"x"), ttl: None };
        Txn { key: key.into(), expect, op }
    }

    #[tokio::test]
    async fn writes_hold_what_they_expect_and_watches_tell_them() {
        let store = MemoryStore::default();
        assert_eq!(store.commit(put("/a/1", Expect::Absent)), TxnOutcome::Committed { revision: 2 });
        assert!(matches!(store.commit(put("/a/1", Expect::Absent)), TxnOutcome::Conflict { .. }));
        assert_eq!(store.commit(put("/a/1", Expect::Unchanged(2))), TxnOutcome::Committed { revision: 3 });
        store.commit(put("/b/1", Expect::Absent));
        let delete = Txn { key: "/a/1".into(), expect: Expect::Unchanged(3), op: Op::Delete };
        store.commit(delete);
        let mut watch = store.watch("/a/", 2).await.unwrap();
        let revisions: Vec<_> = watch.next().await.unwrap().unwrap().iter().map(Event::revision).collect();
        assert_eq!(revisions, [3, 5]);
        let range = RangeRequest { start: "/a/".into(), end: "/c".into(), ..RangeRequest::default() };
        assert_eq!(store.range(range).await.unwrap().kvs.len(), 1);
    }
}
