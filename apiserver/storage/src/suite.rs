//! The behaviour every [`Store`] must show, as one suite each implementation runs.
//!
//! A behaviour is a function of a store and a prefix of its own; it answers what it found wrong. Behaviours
//! may run one after another on the same store. [`run`] runs them all.

mod history;
mod watching;
mod writing;

use crate::{Expect, KeyValue, Op, RangeRequest, Revision, Store, StoreError, Txn, TxnOutcome, prefix_end};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::fmt::Debug;
use std::sync::Arc;

/// Makes stores to try.
#[async_trait]
pub trait Factory: Send + Sync {
    /// A store to run a behaviour on.
    async fn open(&self) -> Arc<dyn Store>;

    /// The same store after a restart; `old` is its last handle.
    async fn reopen(&self, old: Arc<dyn Store>) -> Arc<dyn Store>;
}

/// What a behaviour found wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Behaviour(String),
    #[error("unexpected error: {0}")]
    Store(#[from] StoreError),
}

type Outcome<T = ()> = Result<T, Fault>;

/// Runs every behaviour; the answer lists what failed, by name.
pub async fn run(factory: &dyn Factory) -> Vec<String> {
    let behaviours: &[(&str, fn(Trial) -> BoxFuture<'static, Outcome>)] = &[
        ("revisions_grow", |t| Box::pin(writing::revisions_grow(t))),
        ("expectations_hold", |t| Box::pin(writing::expectations_hold(t))),
        ("counters_are_linearizable", |t| Box::pin(writing::counters_are_linearizable(t))),
        ("one_creator_wins", |t| Box::pin(writing::one_creator_wins(t))),
        ("large_values", |t| Box::pin(writing::large_values(t))),
        ("keys_expire", |t| Box::pin(writing::keys_expire(t))),
        ("pages_add_up", |t| Box::pin(history::pages_add_up(t))),
        ("ranges_at_old_revisions", |t| Box::pin(history::ranges_at_old_revisions(t))),
        ("newer_than", |t| Box::pin(history::newer_than(t))),
        ("future_revisions", |t| Box::pin(history::future_revisions(t))),
        ("compaction_forgets", |t| Box::pin(history::compaction_forgets(t))),
        ("many_keys", |t| Box::pin(history::many_keys(t))),
        ("watch_from_the_past", |t| Box::pin(watching::watch_from_the_past(t))),
        ("watch_sees_only_its_prefix", |t| Box::pin(watching::watch_sees_only_its_prefix(t))),
        ("watch_is_ordered_under_load", |t| Box::pin(watching::watch_is_ordered_under_load(t))),
        ("watch_of_compacted_history", |t| Box::pin(watching::watch_of_compacted_history(t))),
    ];
    let mut failed = Vec::new();
    for (name, behaviour) in behaviours {
        let store = factory.open().await;
        let trial = Trial { store, prefix: format!("/registry/{name}/") };
        if let Err(fault) = behaviour(trial).await {
            failed.push(format!("{name}: {fault}"));
        }
    }
    let store = factory.open().await;
    let trial = Trial { store, prefix: "/registry/durable/".into() };
    if let Err(fault) = writing::writes_survive_a_restart(trial, factory).await {
        failed.push(format!("writes_survive_a_restart: {fault}"));
    }
    failed
}

/// A store and the part of it a behaviour uses.
#[derive(Clone)]
struct Trial {
    store: Arc<dyn Store>,
    prefix: String,
}

fn same<T: PartialEq + Debug>(got: T, expected: T, what: impl std::fmt::Display) -> Outcome {
    if got == expected {
        return Ok(());
    }
    Err(Fault::Behaviour(format!("{what}: got {got:?}, expected {expected:?}")))
}

fn fault<T>(what: impl Into<String>) -> Outcome<T> {
    Err(Fault::Behaviour(what.into()))
}

impl Trial {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn write(&self, name: &str, expect: Expect, op: Op) -> Outcome<TxnOutcome> {
        Ok(self.store.txn(Txn { key: self.key(name), expect, op }).await?)
    }

    async fn committed(&self, name: &str, expect: Expect, op: Op) -> Outcome<Revision> {
        match self.write(name, expect, op).await? {
            TxnOutcome::Committed { revision } => Ok(revision),
            TxnOutcome::Conflict { current } => fault(format!("conflict on {name}: {current:?}")),
        }
    }

    async fn create(&self, name: &str, value: &str) -> Outcome<Revision> {
        self.committed(name, Expect::Absent, put(value)).await
    }

    async fn update(&self, name: &str, at: Revision, value: &str) -> Outcome<Revision> {
        self.committed(name, Expect::Unchanged(at), put(value)).await
    }

    async fn delete(&self, name: &str, at: Revision) -> Outcome<Revision> {
        self.committed(name, Expect::Unchanged(at), Op::Delete).await
    }

    async fn get(&self, name: &str) -> Outcome<Option<KeyValue>> {
        Ok(self.store.get(&self.key(name)).await?.0)
    }

    fn all(&self) -> RangeRequest {
        RangeRequest { start: self.prefix.clone(), end: prefix_end(&self.prefix), ..RangeRequest::default() }
    }

    /// The prefix at a revision, as `name=value` words.
    async fn text(&self, revision: Revision) -> Outcome<String> {
        let answer = self.store.range(RangeRequest { revision, ..self.all() }).await?;
        let words: Vec<_> = answer.kvs.iter().map(|kv| self.word(kv)).collect();
        Ok(words.join(" "))
    }

    fn word(&self, kv: &KeyValue) -> String {
        let name = kv.key.strip_prefix(self.prefix.as_str()).unwrap_or(&kv.key);
        format!("{name}={}", String::from_utf8_lossy(&kv.value))
    }
}

fn put(value: &str) -> Op {
    Op::Put { value: Bytes::copy_from_slice(value.as_bytes()), ttl: None }
}
