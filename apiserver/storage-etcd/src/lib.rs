//! The store on etcd 3.4 and later.
//!
//! Owns: the connection, the translation of the [`Store`] contract, shared leases, and compaction in step with
//! other apiservers. Keys arrive complete: their layout is the registry's.
//!
//! Tasks: one, compacting every [`EtcdConfig::compaction_interval`]. A watch is one gRPC stream; it ends with
//! an error when the stream does, and the caller begins anew where it was.
//!
//! Refuses: caching, retries of writes (the outcome of one in flight is unknown), and etcd's progress
//! notifications, which cannot be trusted before 3.4.25.

mod compactor;
mod lease;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error, EventType, GetOptions, Identity,
    KvClient, PutOptions, TlsOptions, TxnOp, TxnOpResponse, WatchClient, WatchOptions, WatchStream,
};
use futures::stream::{self, BoxStream, StreamExt};
use gantry_storage::{
    Event, Expect, KeyValue, Op, RangeRequest, RangeResponse, Result, Revision, Store, StoreError, Txn,
    TxnOutcome, prefix_end,
};
use lease::Leases;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How to reach etcd.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `--etcd-servers`.
    pub servers: Vec<String>,
    /// PEM of `--etcd-cafile`.
    pub ca: Option<Vec<u8>>,
    /// PEM of `--etcd-certfile` and `--etcd-keyfile`.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// `--etcd-compaction-interval`; zero turns compaction off.
    pub compaction_interval: Duration,
    /// `--etcd-healthcheck-timeout`.
    pub healthcheck_timeout: Duration,
}

impl Default for EtcdConfig {
    /// Upstream's defaults, on one local server.
    fn default() -> Self {
        Self {
            servers: vec!["http://127.0.0.1:2379".into()],
            ca: None,
            identity: None,
            compaction_interval: Duration::from_secs(300),
            healthcheck_timeout: Duration::from_secs(2),
        }
    }
}

/// A [`Store`] on etcd.
pub struct EtcdStore {
    client: Client,
    leases: Leases,
    healthcheck_timeout: Duration,
    compactor: Option<JoinHandle<()>>,
}

impl EtcdStore {
    /// Connects, on the current tokio runtime. Servers that do not answer yet are tried again on each request.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the configuration is unusable or no server can be reached.
    pub async fn connect(config: EtcdConfig) -> Result<Self> {
        let mut options = ConnectOptions::new()
            .with_keep_alive(Duration::from_secs(30), Duration::from_secs(10))
            .with_keep_alive_while_idle(true)
            .with_connect_timeout(Duration::from_secs(20))
            .with_require_leader(true);
        let secure = config.servers.iter().any(|s| s.starts_with("https://"));
        if secure || config.ca.is_some() || config.identity.is_some() {
            let mut tls = TlsOptions::new();
            if let Some(ca) = &config.ca {
                tls = tls.ca_certificate(Certificate::from_pem(ca));
            }
            if let Some((certificate, key)) = &config.identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(tls);
        }
        let client = Client::connect(&config.servers, Some(options)).await.map_err(translate)?;
        let compactor = (!config.compaction_interval.is_zero())
            .then(|| tokio::spawn(compactor::run(client.kv_client(), config.compaction_interval)));
        Ok(Self {
            client,
            leases: Leases::default(),
            healthcheck_timeout: config.healthcheck_timeout,
            compactor,
        })
    }

    fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(usize::MAX)
    }

    /// An error of a read at `revision`.
    async fn at_revision(&self, error: Error, requested: Revision) -> StoreError {
        match translate(error) {
            StoreError::Compacted { oldest, .. } => StoreError::Compacted { requested, oldest },
            StoreError::FutureRevision { .. } => {
                let current = self.current_revision().await.unwrap_or(0);
                StoreError::FutureRevision { requested, current }
            }
            other => other,
        }
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        if let Some(task) = &self.compactor {
            task.abort();
        }
    }
}

/// etcd's revisions are positive 63-bit numbers on the wire.
fn to_wire(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn from_wire(revision: i64) -> Revision {
    u64::try_from(revision).unwrap_or(0)
}

fn translate(error: Error) -> StoreError {
    let Error::GRpcStatus(status) = &error else { return StoreError::Unavailable(error.to_string()) };
    let message = status.message();
    if message.contains("required revision has been compacted") {
        StoreError::Compacted { requested: 0, oldest: 0 }
    } else if message.contains("required revision is a future revision") {
        StoreError::FutureRevision { requested: 0, current: 0 }
    } else if message.contains("request is too large") || message.contains("larger than max") {
        StoreError::TooLarge
    } else if message.contains("space exceeded") {
        StoreError::Failed(message.to_owned())
    } else {
        StoreError::Unavailable(message.to_owned())
    }
}

/// `None` for keys that are not text, which no apiserver wrote.
fn key_value(kv: &etcd_client::KeyValue) -> Option<KeyValue> {
    Some(KeyValue {
        key: kv.key_str().ok()?.into(),
        value: Bytes::copy_from_slice(kv.value()),
        create_revision: from_wire(kv.create_revision()),
        mod_revision: from_wire(kv.mod_revision()),
    })
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        let answer = self.kv().get(key, None).await.map_err(translate)?;
        let revision = answer.header().map_or(0, |h| from_wire(h.revision()));
        Ok((answer.kvs().first().and_then(key_value), revision))
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        if request.end <= request.start {
            let revision = self.current_revision().await?;
            return Ok(RangeResponse { revision, ..RangeResponse::default() });
        }
        let mut options = GetOptions::new()
            .with_range(request.end)
            .with_limit(i64::try_from(request.limit).unwrap_or(0))
            .with_revision(to_wire(request.revision));
        if request.count_only {
            options = options.with_count_only();
        }
        if request.newer_than > 0 {
            options = options.with_min_mod_revision(to_wire(request.newer_than) + 1);
        }
        let answer = match self.kv().get(request.start, Some(options)).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.at_revision(error, request.revision).await),
        };
        let newest = answer.header().map_or(0, |h| from_wire(h.revision()));
        Ok(RangeResponse {
            kvs: answer.kvs().iter().filter_map(key_value).collect(),
            more: answer.more(),
            count: usize::try_from(answer.count()).unwrap_or(0),
            revision: if request.revision == 0 { newest } else { request.revision },
        })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        let key = txn.key.as_str();
        let deletes_nothing = matches!((&txn.expect, &txn.op), (Expect::Absent, Op::Delete));
        let compare = match txn.expect {
            Expect::Absent => Compare::mod_revision(key, CompareOp::Equal, 0),
            // 0 would mean "absent" to etcd.
            Expect::Unchanged(0) => {
                let (current, _) = self.get(key).await?;
                return Ok(TxnOutcome::Conflict { current });
            }
            Expect::Unchanged(revision) => Compare::mod_revision(key, CompareOp::Equal, to_wire(revision)),
        };
        let op = match txn.op {
            Op::Put { value, ttl: None } => TxnOp::put(key, value, None),
            Op::Put { value, ttl: Some(ttl) } => {
                let mut client = self.client.lease_client();
                let lease = self.leases.take(&mut client, ttl).await.map_err(translate)?;
                TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)))
            }
            Op::Delete if txn.expect == Expect::Absent => TxnOp::get(key, None),
            Op::Delete => TxnOp::delete(key, None),
        };
        let request = etcd_client::Txn::new().when([compare]).and_then([op]).or_else([TxnOp::get(key, None)]);
        let answer = self.kv().txn(request).await.map_err(translate)?;
        if answer.succeeded() && !deletes_nothing {
            let revision = answer.header().map_or(0, |h| from_wire(h.revision()));
            return Ok(TxnOutcome::Committed { revision });
        }
        let current = answer.op_responses().into_iter().find_map(|r| match r {
            TxnOpResponse::Get(got) => got.kvs().first().and_then(key_value),
            _ => None,
        });
        Ok(TxnOutcome::Conflict { current })
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<BoxStream<'static, Result<Vec<Event>>>> {
        let current = self.current_revision().await?;
        if after > current {
            return Err(StoreError::FutureRevision { requested: after, current });
        }
        let options = WatchOptions::new()
            .with_range(prefix_end(prefix))
            .with_start_revision(to_wire(after) + 1)
            .with_prev_key();
        let mut client: WatchClient = self.client.watch_client().max_decoding_message_size(usize::MAX);
        let changes = client.watch(prefix, Some(options)).await.map_err(translate)?;
        Ok(stream::unfold(Some((changes, after)), follow).boxed())
    }

    async fn current_revision(&self) -> Result<Revision> {
        // A linearizable read of a key that is never there: nothing but the header comes back.
        let answer =
            self.kv().get("\0", Some(GetOptions::new().with_count_only())).await.map_err(translate)?;
        Ok(answer.header().map_or(0, |h| from_wire(h.revision())))
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        match self.kv().compact(to_wire(revision), None).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.at_revision(error, revision).await),
        }
    }

    async fn healthy(&self) -> Result<()> {
        match tokio::time::timeout(self.healthcheck_timeout, self.current_revision()).await {
            Ok(outcome) => outcome.map(|_| ()),
            Err(_) => Err(StoreError::Unavailable("etcd does not answer".into())),
        }
    }
}

type Following = (WatchStream, Revision);

async fn follow(at: Option<Following>) -> Option<(Result<Vec<Event>>, Option<Following>)> {
    let (mut changes, after) = at?;
    loop {
        let message = match changes.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Some((Err(StoreError::Unavailable("the watch ended".into())), None)),
            Err(error) => return Some((Err(translate(error)), None)),
        };
        if message.compact_revision() > 0 {
            let oldest = from_wire(message.compact_revision());
            return Some((Err(StoreError::Compacted { requested: after, oldest }), None));
        }
        if message.canceled() {
            return Some((Err(StoreError::Unavailable(message.cancel_reason().to_owned())), None));
        }
        let events: Vec<Event> = message.events().iter().filter_map(event).collect();
        if let Some(last) = events.last().map(Event::revision) {
            return Some((Ok(events), Some((changes, last))));
        }
    }
}

fn event(event: &etcd_client::Event) -> Option<Event> {
    let kv = event.kv()?;
    if event.event_type() == EventType::Put {
        return key_value(kv).map(Event::Put);
    }
    let previous = event.prev_kv().and_then(key_value);
    // The previous value names the key already.
    let key: Arc<str> = match &previous {
        Some(previous) => previous.key.clone(),
        None => kv.key_str().ok()?.into(),
    };
    Some(Event::Delete { key, revision: from_wire(kv.mod_revision()), previous })
}
