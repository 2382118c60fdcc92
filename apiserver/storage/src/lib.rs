//! The store behind the apiserver: its contract ([`Store`]), its errors, and the suite every store must pass.
//!
//! A store is an ordered map of keys to bytes with one history. Every write has a [`Revision`] greater than
//! all before it, on disk before it is acknowledged. Only the watch cache and the registry call a store.
//!
//! Refuses: any knowledge of what the bytes mean, and consensus (etcd has it).

mod error;
pub mod suite;

use async_trait::async_trait;
use bytes::Bytes;
pub use error::StoreError;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;

/// A position in the store's history. 0 means "none" or "the newest".
pub type Revision = u64;

pub type Result<T> = std::result::Result<T, StoreError>;

/// One key as it is at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Arc<str>,
    pub value: Bytes,
    pub create_revision: Revision,
    pub mod_revision: Revision,
}

/// A consistent read of the keys in `[start, end)`.
#[derive(Clone, Debug, Default)]
pub struct RangeRequest {
    pub start: String,
    /// Exclusive. [`prefix_end`] makes one from a prefix.
    pub end: String,
    /// 0 means no limit.
    pub limit: usize,
    /// 0 means the newest.
    pub revision: Revision,
    /// Count only: no values, no keys.
    pub count_only: bool,
    /// Only keys whose `mod_revision` is greater; `count` still counts the whole range. Without a limit.
    pub newer_than: Revision,
}

#[derive(Clone, Debug, Default)]
pub struct RangeResponse {
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the answer.
    pub more: bool,
    /// Keys in the whole range at that revision, whatever the limit.
    pub count: usize,
    /// The revision of the read: the one asked for, or the newest.
    pub revision: Revision,
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key must not exist.
    Absent,
    /// The key must exist with exactly this `mod_revision`.
    Unchanged(Revision),
}

#[derive(Clone, Debug)]
pub enum Op {
    /// With a time to live the key expires by itself, not before `ttl` and within a minute after.
    Put {
        value: Bytes,
        ttl: Option<Duration>,
    },
    Delete,
}

/// One optimistic write of one key.
#[derive(Clone, Debug)]
pub struct Txn {
    pub key: String,
    pub expect: Expect,
    pub op: Op,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// Done, and on disk, at this revision.
    Committed { revision: Revision },
    /// Refused: the key as it is now, `None` when absent.
    Conflict { current: Option<KeyValue> },
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Put(KeyValue),
    /// The key went at this revision; `previous` is its last value.
    Delete {
        key: Arc<str>,
        revision: Revision,
        previous: Option<KeyValue>,
    },
}

impl Event {
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put(kv) => &kv.key,
            Self::Delete { key, .. } => key,
        }
    }

    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(kv) => kv.mod_revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

/// The contract. Implementations are cheap to clone behind an `Arc` and safe to call from many tasks.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest value of a key, and the store's revision at the read.
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)>;

    /// # Errors
    /// [`StoreError::Compacted`] for a revision no longer kept, [`StoreError::FutureRevision`] for one not
    /// reached yet.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse>;

    /// Returns once the outcome is decided and, when committed, durable.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome>;

    /// Every change under `prefix` after `after` (exclusive), in revision order, in batches that never split
    /// a revision. The stream ends with an error when the position is compacted or the store goes away.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<BoxStream<'static, Result<Vec<Event>>>>;

    /// The newest revision, linearizable: at least that of every write acknowledged before the call.
    async fn current_revision(&self) -> Result<Revision>;

    /// Forgets history up to and including `revision`; current values stay.
    async fn compact(&self, revision: Revision) -> Result<()>;

    /// Whether the store can take a write now, for `/readyz`.
    async fn healthy(&self) -> Result<()>;
}

/// The exclusive end of the range of all keys that begin with `prefix`.
pub fn prefix_end(prefix: &str) -> String {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        // Keys are ASCII, so the successor of the last byte stays valid UTF-8.
        if last < 0x7f {
            end.push(last + 1);
            break;
        }
    }
    String::from_utf8(end).unwrap_or_default()
}
