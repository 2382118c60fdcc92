//! The store in a single file, for one machine.
//!
//! Owns: one SQLite database with the history keyed by revision; an index of keys and versions in memory,
//! without the values; group commit; expiry; compaction every five minutes. Beside the file lie its log
//! (`-wal`) and its shared index (`-shm`) while the store is open: a copy of a running store takes the log too.
//!
//! Tasks and channels: one thread (the committer) takes requests from a channel, decides a batch in arrival
//! order, writes it with one sync, publishes it in revision order, then answers. Reads go to the index and to
//! a snapshot of the file, beside the committer. A watch follows the published revision: from memory while it
//! keeps up, from the file otherwise; there is no queue per watch.
//!
//! Refuses: more than one process on the file, and requests beyond 1.5 MiB (etcd's limit).
//!
//! # Why SQLite
//!
//! Measured with 10,000 objects of 4.5 KB on ext4, two cores, release builds; medians of quiet runs.
//!
//! | this store on | SQLite | redb 4 |
//! | --- | --- | --- |
//! | one client, 400 B | 170 µs | 283 µs |
//! | one client, 4.5 KB | 190 µs | 444 µs |
//! | 64 clients, 400 B | 110,000/s | 65,000/s |
//! | written for a lone commit of 400 B | 7 to 12 KB | 37 KB |
//! | one lease renewed every second, and compaction | 0.5 MB/min | 2.2 MB/min |
//! | files after all objects were updated twice | 100 MB | 169 MB |
//! | resident, the process whole | 15 MiB | 20 MiB |
//! | opened | 20 ms | 60 to 80 ms |
//!
//! | the engine alone | SQLite | redb 4 | fjall 3.1, 4 MiB memtables |
//! | --- | --- | --- | --- |
//! | one client, 400 B, fastest tenth | 85 µs | 172 µs | 85 µs |
//! | written for a lone commit of 400 B | 7.7 KB | 37 KB | 4.6 to 7.6 KB |
//! | written to update all objects and compact | 93 to 100 MB | 84 MB | 130 to 226 MB |
//! | files after it | 93 MB | 161 MB | 102 to 180 MB |
//! | resident, the process whole | 6 MiB | 9 MiB | 20 to 29 MiB |
//! | after a failed write | rolled back, goes on | opened anew | opened anew |
//! | a last write torn by a power cut | left out | not tried | **does not open** |
//!
//! fjall syncs before it returns and writes the least for a lone commit, but takes a torn end of its journal (a
//! write nobody was told of) for corruption. SQLite's log grows to 4 MiB after a start; until then each commit
//! costs the file system's own journal some 8 KB more. Built outside this workspace, whose cargo
//! configuration asks for fdatasync, SQLite uses fsync: as safe, and those 8 KB stay.

mod commit;
mod disk;
mod index;
mod recent;
mod record;
mod shared;

use async_trait::async_trait;
use commit::{Committer, Request};
use futures::stream::{self, BoxStream, StreamExt};
use gantry_storage::{
    Event, KeyValue, RangeRequest, RangeResponse, Result, Revision, Store, StoreError, Txn, TxnOutcome,
};
use shared::Shared;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// As upstream's `--etcd-compaction-interval`.
const COMPACT_EVERY: Duration = Duration::from_secs(300);
/// Ranges of more values than this are read off the async threads.
const INLINE: usize = 64;

/// The embedded store. Dropping it waits for the committer and lets go of the file.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    requests: Option<mpsc::Sender<Request>>,
    committer: Option<JoinHandle<()>>,
}

fn gone() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

impl EmbeddedStore {
    /// Opens the file at `path`, or makes it. Blocks while the index is read.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the file is damaged or cannot be written, [`StoreError::Unavailable`] when
    /// another process uses it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, COMPACT_EVERY)
    }

    /// [`EmbeddedStore::open`] with another compaction interval: history is kept between one and two of these.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn open_with(path: impl AsRef<Path>, compact_every: Duration) -> Result<Self> {
        let (shared, newest) = Shared::open(path.as_ref())?;
        let (requests, inbox) = mpsc::channel();
        let committer = Committer::new(shared.clone(), inbox, commit::expiring_of(newest), compact_every);
        let committer = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer.run())
            .map_err(|e| StoreError::Failed(e.to_string()))?;
        Ok(Self { shared, requests: Some(requests), committer: Some(committer) })
    }

    fn send(&self, request: Request) -> Result<()> {
        self.requests.as_ref().ok_or_else(gone)?.send(request).map_err(|_| gone())
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(committer) = self.committer.take() {
            // It only ends by itself; a panic there has been reported.
            let _ = committer.join();
        }
        self.shared.close();
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        self.shared.get(key)
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        if request.count_only || (request.limit > 0 && request.limit <= INLINE) {
            return self.shared.range(&request);
        }
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || shared.range(&request)).await.map_err(|_| gone())?
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Txn(txn, reply))?;
        answer.await.map_err(|_| gone())?
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<BoxStream<'static, Result<Vec<Event>>>> {
        let published = self.shared.published.subscribe();
        let current = *published.borrow();
        if after > current {
            return Err(StoreError::FutureRevision { requested: after, current });
        }
        let oldest = self.shared.index.read().compacted;
        if after < oldest {
            return Err(StoreError::Compacted { requested: after, oldest });
        }
        let cursor = Cursor { shared: self.shared.clone(), published, prefix: prefix.into(), after };
        Ok(stream::unfold(Some(cursor), follow).boxed())
    }

    async fn current_revision(&self) -> Result<Revision> {
        Ok(*self.shared.published.borrow())
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Compact(revision, reply))?;
        answer.await.map_err(|_| gone())?
    }

    async fn healthy(&self) -> Result<()> {
        match &*self.shared.failure.lock() {
            Some(why) => Err(StoreError::Failed(why.clone())),
            None => Ok(()),
        }
    }
}

/// Where a watch stands.
struct Cursor {
    shared: Arc<Shared>,
    published: watch::Receiver<Revision>,
    prefix: Box<str>,
    after: Revision,
}

async fn follow(cursor: Option<Cursor>) -> Option<(Result<Vec<Event>>, Option<Cursor>)> {
    let mut cursor = cursor?;
    loop {
        if *cursor.published.borrow_and_update() <= cursor.after {
            if cursor.published.changed().await.is_err() {
                return Some((Err(gone()), None));
            }
            if let Err(error) = cursor.shared.disk() {
                return Some((Err(error), None));
            }
            continue;
        }
        match cursor.shared.changes(&cursor.prefix, cursor.after) {
            Ok((events, reached)) => {
                cursor.after = reached;
                if !events.is_empty() {
                    return Some((Ok(events), Some(cursor)));
                }
                if reached < *cursor.published.borrow() {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => return Some((Err(error), None)),
        }
    }
}
