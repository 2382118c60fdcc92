//! The committer: the one thread that writes.

use crate::index::Version;
use crate::record::{Record, expiry, now};
use crate::shared::Shared;
use gantry_storage::{Event, Expect, KeyValue, Op, Result, Revision, StoreError, Txn, TxnOutcome};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The most one batch takes.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;
/// etcd's default limit of a request.
pub const REQUEST_BYTES: usize = 1_572_864;
/// Expired keys go together, this often at most.
const SWEEP_EVERY: u64 = 15;
/// Records removed in one transaction of a compaction, so that writes get in between.
const FORGET: usize = 2_000;
/// After a failed write, the next is tried no sooner.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub enum Request {
    Txn(Txn, oneshot::Sender<Result<TxnOutcome>>),
    Compact(Revision, oneshot::Sender<Result<()>>),
}

pub struct Committer {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    /// The last revision given out, whether or not its write succeeded.
    revision: Revision,
    /// (second, key, revision) of keys that expire.
    expiring: BTreeSet<(u64, String, Revision)>,
    swept: u64,
    /// History is kept between one and two of these.
    compact_every: Duration,
    compact_at: Instant,
    compact_to: Revision,
    /// When a write last failed, until one succeeds.
    failed: Option<Instant>,
}

/// What a batch writes, before it is on disk.
#[derive(Default)]
struct Batch {
    records: Vec<(Revision, Record)>,
    /// Keys changed in this batch: where in `records`.
    latest: HashMap<String, usize>,
    bytes: usize,
    replies: Vec<(oneshot::Sender<Result<TxnOutcome>>, Result<TxnOutcome>)>,
}

impl Committer {
    pub fn new(
        shared: Arc<Shared>,
        requests: Receiver<Request>,
        expiring: BTreeSet<(u64, String, Revision)>,
        compact_every: Duration,
    ) -> Self {
        let revision = *shared.published.borrow();
        Self {
            shared,
            requests,
            revision,
            expiring,
            swept: 0,
            compact_every,
            compact_at: Instant::now() + compact_every,
            compact_to: revision,
            failed: None,
        }
    }

    /// Runs until every sender is gone.
    pub fn run(mut self) {
        loop {
            match self.next() {
                Ok(request) => self.serve(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.sweep();
            if Instant::now() >= self.compact_at {
                self.compact_some();
            }
        }
    }

    /// Forgets what was history already at the last call.
    fn compact_some(&mut self) {
        let to = std::mem::replace(&mut self.compact_to, *self.shared.published.borrow());
        self.compact_at = Instant::now() + self.compact_every;
        if to > self.shared.index.read().compacted
            && let Err(error) = self.compact(to)
        {
            tracing::warn!("Compaction failed: {error}");
        }
    }

    /// Waits for a request, or for the next key to expire, or for history that is due to be forgotten. With
    /// none of them it sleeps for good.
    fn next(&self) -> std::result::Result<Request, RecvTimeoutError> {
        let compacted = self.shared.index.read().compacted;
        let compact = (compacted < *self.shared.published.borrow())
            .then(|| self.compact_at.saturating_duration_since(Instant::now()));
        let sweep = self.expiring.first().map(|(at, ..)| {
            Duration::from_secs((*at).max(self.swept + SWEEP_EVERY).saturating_sub(now()).max(1))
        });
        match compact.into_iter().chain(sweep).min() {
            Some(wait) => self.requests.recv_timeout(wait),
            None => self.requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Gathers what has arrived with `first` and writes it with one sync.
    fn serve(&mut self, first: Request) {
        let mut batch = Batch::default();
        let mut compact = None;
        let mut next = Some(first);
        while let Some(request) = next.take() {
            match request {
                Request::Txn(txn, reply) => {
                    let outcome = self.decide(&mut batch, txn);
                    batch.replies.push((reply, outcome));
                }
                Request::Compact(revision, reply) => {
                    compact = Some((revision, reply));
                    break;
                }
            }
            if batch.replies.len() < BATCH && batch.bytes < BATCH_BYTES {
                next = self.requests.try_recv().ok();
            }
        }
        self.write(batch);
        if let Some((revision, reply)) = compact {
            // The caller may have gone.
            let _ = reply.send(self.compact(revision));
        }
    }

    /// Checks the precondition against everything before it, this batch included.
    fn decide(&mut self, batch: &mut Batch, txn: Txn) -> Result<TxnOutcome> {
        let (value, ttl) = match txn.op {
            Op::Put { value, ttl } => (Some(value), ttl),
            Op::Delete => (None, None),
        };
        let size = txn.key.len() + value.as_ref().map_or(0, bytes::Bytes::len);
        if size > REQUEST_BYTES {
            return Err(StoreError::TooLarge);
        }
        let current = match batch.latest.get(&txn.key) {
            Some(i) => {
                let (modified, record) = &batch.records[*i];
                Version { modified: *modified, created: record.create_revision }
            }
            None => {
                let index = self.shared.index.read();
                index.newest(&txn.key).map_or(Version { modified: 0, created: 0 }, |(_, v)| v)
            }
        };
        let exists = current.created != 0;
        let holds = match txn.expect {
            Expect::Absent => !exists,
            Expect::Unchanged(revision) => exists && current.modified == revision,
        };
        if !holds {
            let current = if exists { self.current(batch, &txn.key, current)? } else { None };
            return Ok(TxnOutcome::Conflict { current });
        }
        let put = value.is_some();
        if !put && !exists {
            return Ok(TxnOutcome::Conflict { current: None });
        }
        self.revision += 1;
        let record = Record {
            key: txn.key.clone(),
            create_revision: match (put, exists) {
                (false, _) => 0,
                (true, true) => current.created,
                (true, false) => self.revision,
            },
            expires: ttl.map_or(0, expiry),
            value: value.unwrap_or_default(),
        };
        batch.bytes += size;
        batch.latest.insert(txn.key, batch.records.len());
        batch.records.push((self.revision, record));
        Ok(TxnOutcome::Committed { revision: self.revision })
    }

    fn current(&self, batch: &Batch, key: &str, version: Version) -> Result<Option<KeyValue>> {
        let value = match batch.latest.get(key) {
            Some(i) => batch.records[*i].1.value.clone(),
            None => self.shared.disk()?.value(version.modified)?.unwrap_or_default(),
        };
        Ok(Some(KeyValue {
            key: key.into(),
            value,
            create_revision: version.created,
            mod_revision: version.modified,
        }))
    }

    /// Writes, publishes, answers: in this order.
    fn write(&mut self, batch: Batch) {
        let written = if batch.records.is_empty() {
            Ok(())
        } else {
            self.disk_for_writing().and_then(|disk| self.noted(disk.append(&batch.records)))
        };
        match written {
            Ok(()) => {
                if !batch.records.is_empty() && self.failed.take().is_some() {
                    *self.shared.failure.lock() = None;
                    tracing::info!("The store takes writes again");
                }
                self.publish(batch.records);
                for (reply, outcome) in batch.replies {
                    // The caller may have gone; the write stands.
                    let _ = reply.send(outcome);
                }
            }
            Err(error) => {
                for (reply, outcome) in batch.replies {
                    let outcome = match outcome {
                        // A conflict may rest on a write of this batch, so nothing of it is certain.
                        Ok(_) => Err(StoreError::Failed(reason(&error))),
                        refused => refused,
                    };
                    let _ = reply.send(outcome);
                }
            }
        }
    }

    /// The file, unless a write failed just now.
    fn disk_for_writing(&self) -> Result<Arc<crate::disk::Disk>> {
        if self.failed.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
            return Err(StoreError::Failed(self.shared.failure.lock().clone().unwrap_or_default()));
        }
        self.shared.disk()
    }

    /// Notes a failed write. It was rolled back, and reads go on.
    fn noted(&mut self, outcome: Result<()>) -> Result<()> {
        if let Err(error) = &outcome {
            tracing::error!("A write to the store failed: {}", reason(error));
            *self.shared.failure.lock() = Some(reason(error));
            self.failed = Some(Instant::now());
        }
        outcome
    }

    /// Makes changes that are on disk visible.
    fn publish(&mut self, records: Vec<(Revision, Record)>) {
        let Some((newest, _)) = records.last() else { return };
        let newest = *newest;
        let deletes = records.iter().any(|(_, r)| r.create_revision == 0);
        let reader = if deletes { self.shared.disk().and_then(|disk| disk.reader()).ok() } else { None };
        {
            let mut index = self.shared.index.write();
            let mut recent = self.shared.recent.lock();
            for (revision, record) in records {
                let version = Version { modified: revision, created: record.create_revision };
                let before = index.newest(&record.key).map(|(_, v)| v);
                let key = index.apply(&record.key, version);
                if record.expires != 0 {
                    self.expiring.insert((record.expires, record.key, revision));
                }
                recent.push(if record.create_revision == 0 {
                    let previous = before.and_then(|v| {
                        let value = reader.as_ref()?.value(v.modified).ok()??;
                        let (create_revision, mod_revision) = (v.created, v.modified);
                        Some(KeyValue { key: key.clone(), value, create_revision, mod_revision })
                    });
                    Event::Delete { key, revision, previous }
                } else {
                    Event::Put(KeyValue {
                        key,
                        value: record.value,
                        create_revision: record.create_revision,
                        mod_revision: revision,
                    })
                });
            }
        }
        self.shared.published.send_replace(newest);
    }

    /// Deletes the keys whose time has come, together.
    fn sweep(&mut self) {
        let second = now();
        if self.expiring.first().is_none_or(|(at, ..)| *at > second) || second < self.swept + SWEEP_EVERY {
            return;
        }
        self.swept = second;
        let later = self.expiring.split_off(&(second + 1, String::new(), 0));
        let due = std::mem::replace(&mut self.expiring, later);
        let mut batch = Batch::default();
        for (_, key, revision) in &due {
            let txn = Txn { key: key.clone(), expect: Expect::Unchanged(*revision), op: Op::Delete };
            // Keys that were changed or deleted since stay as they are.
            if let Err(error) = self.decide(&mut batch, txn) {
                tracing::warn!(key, "Cannot expire a key: {error}");
            }
        }
        let records = batch.records.len();
        self.write(batch);
        if records > 0 && self.shared.failure.lock().is_some() {
            self.expiring.extend(due);
        }
    }

    fn compact(&mut self, revision: Revision) -> Result<()> {
        let current = *self.shared.published.borrow();
        if revision > current {
            return Err(StoreError::FutureRevision { requested: revision, current });
        }
        {
            let index = self.shared.index.read();
            if revision <= index.compacted {
                let oldest = index.compacted;
                return Err(StoreError::Compacted { requested: revision, oldest });
            }
        }
        self.disk_for_writing()?;
        let gone = self.shared.index.write().compact(revision);
        let mut pieces: Vec<&[Revision]> = gone.chunks(FORGET).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        for piece in pieces {
            let outcome = self.disk_for_writing()?.forget(piece, revision);
            self.noted(outcome)?;
            // Writers that came meanwhile go first.
            let waiting: Vec<_> = std::iter::from_fn(|| self.requests.try_recv().ok()).take(BATCH).collect();
            let mut batch = Batch::default();
            for request in waiting {
                match request {
                    Request::Txn(txn, reply) => {
                        let outcome = self.decide(&mut batch, txn);
                        batch.replies.push((reply, outcome));
                    }
                    Request::Compact(revision, reply) => {
                        let oldest = self.shared.index.read().compacted;
                        let _ = reply.send(Err(StoreError::Compacted { requested: revision, oldest }));
                    }
                }
            }
            self.write(batch);
        }
        Ok(())
    }
}

/// What failed, without the words every failure begins with.
fn reason(error: &StoreError) -> String {
    match error {
        StoreError::Failed(why) => why.clone(),
        other => other.to_string(),
    }
}

/// The keys that expire, of those a scan found newest.
pub fn expiring_of(records: BTreeMap<String, (Revision, u64)>) -> BTreeSet<(u64, String, Revision)> {
    records
        .into_iter()
        .filter(|(_, (_, at))| *at != 0)
        .map(|(key, (revision, at))| (at, key, revision))
        .collect()
}
