//! Behaviours of single writes.

use super::{Factory, Outcome, Trial, fault, put, same};
use crate::{Expect, Op, StoreError, TxnOutcome};
use bytes::Bytes;
use std::time::{Duration, Instant};

pub async fn revisions_grow(t: Trial) -> Outcome {
    let mut last = t.store.current_revision().await?;
    let created = t.create("a", "0").await?;
    let mut at = created;
    for i in 1..20 {
        if at <= last {
            return fault(format!("revision {at} after {last}"));
        }
        last = at;
        at = t.update("a", at, &i.to_string()).await?;
    }
    let (kv, read) = t.store.get(&t.key("a")).await?;
    let Some(kv) = kv else { return fault("the key is gone") };
    same((kv.create_revision, kv.mod_revision, &*kv.value), (created, at, b"19".as_slice()), "the key")?;
    same(read >= at, true, "a read's revision covers the last write")?;
    same(t.store.current_revision().await? >= at, true, "the current revision covers the last write")
}

pub async fn expectations_hold(t: Trial) -> Outcome {
    let conflict = |current| Ok(TxnOutcome::Conflict { current });
    let outcome = |name: &'static str, expect, op| {
        let t = t.clone();
        async move { t.write(name, expect, op).await.map_err(|e| e.to_string()) }
    };
    same(outcome("a", Expect::Unchanged(1), put("x")).await, conflict(None), "update of an absent key")?;
    same(outcome("a", Expect::Unchanged(1), Op::Delete).await, conflict(None), "delete of an absent key")?;
    let first = t.create("a", "1").await?;
    let kv = t.get("a").await?;
    same(outcome("a", Expect::Absent, put("x")).await, conflict(kv.clone()), "create of a key that exists")?;
    same(
        outcome("a", Expect::Unchanged(first + 1), put("x")).await,
        conflict(kv),
        "update at another revision",
    )?;
    let second = t.update("a", first, "2").await?;
    let kv = t.get("a").await?;
    same(outcome("a", Expect::Unchanged(first), put("x")).await, conflict(kv.clone()), "stale update")?;
    same(outcome("a", Expect::Unchanged(first), Op::Delete).await, conflict(kv), "stale delete")?;
    t.delete("a", second).await?;
    same(t.get("a").await?, None, "a deleted key")?;
    let third = t.create("a", "3").await?;
    let created = t.get("a").await?.map(|kv| kv.create_revision);
    same(created, Some(third), "a key created again has a new create revision")
}

/// Clients that add one to a counter, each by read and conditional write, lose no increment.
pub async fn counters_are_linearizable(t: Trial) -> Outcome {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 25;
    t.create("n", "0").await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let t = t.clone();
        tasks.spawn(async move {
            let mut seen = 0;
            for _ in 0..EACH {
                let mut known = t.get("n").await?;
                loop {
                    let Some(kv) = known else { return fault("the counter is gone") };
                    let n: u64 = String::from_utf8_lossy(&kv.value).parse().unwrap_or(0);
                    if n < seen {
                        return fault(format!("the counter went from {seen} back to {n}"));
                    }
                    match t.write("n", Expect::Unchanged(kv.mod_revision), put(&(n + 1).to_string())).await? {
                        TxnOutcome::Committed { .. } => {
                            seen = n + 1;
                            break;
                        }
                        TxnOutcome::Conflict { current } => known = current,
                    }
                }
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap_or_else(|e| fault(e.to_string()))?;
    }
    let value = t.get("n").await?.map(|kv| kv.value);
    same(value, Some(Bytes::from((CLIENTS * EACH).to_string())), "the counter")
}

pub async fn one_creator_wins(t: Trial) -> Outcome {
    for round in 0..10 {
        let name = format!("k{round}");
        let tries = (0..16).map(|i| {
            let (t, name) = (t.clone(), name.clone());
            async move { t.write(&name, Expect::Absent, put(&i.to_string())).await }
        });
        let mut winners = 0;
        for outcome in futures::future::join_all(tries).await {
            match outcome? {
                TxnOutcome::Committed { .. } => winners += 1,
                TxnOutcome::Conflict { current: None } => return fault("a loser saw no winner"),
                TxnOutcome::Conflict { .. } => {}
            }
        }
        same(winners, 1, "creators that won")?;
    }
    Ok(())
}

pub async fn large_values(t: Trial) -> Outcome {
    let value = Bytes::from(vec![b'v'; 1_500_000]);
    t.committed("big", Expect::Absent, Op::Put { value: value.clone(), ttl: None }).await?;
    same(t.get("big").await?.map(|kv| kv.value == value), Some(true), "a value of 1.5 MB")?;
    let value = Bytes::from(vec![b'v'; 1_600_000]);
    match t
        .store
        .txn(crate::Txn { key: t.key("huge"), expect: Expect::Absent, op: Op::Put { value, ttl: None } })
        .await
    {
        Err(StoreError::TooLarge) => {}
        other => return fault(format!("a value of 1.6 MB: {other:?}")),
    }
    same(t.get("huge").await?, None, "a refused value")?;
    t.create("small", "still works").await.map(|_| ())
}

pub async fn keys_expire(t: Trial) -> Outcome {
    let ttl = |seconds| Some(Duration::from_secs(seconds));
    let start = Instant::now();
    t.committed("short", Expect::Absent, Op::Put { value: "x".into(), ttl: ttl(1) }).await?;
    let long = t.committed("long", Expect::Absent, Op::Put { value: "x".into(), ttl: ttl(3600) }).await?;
    let kept = t.committed("kept", Expect::Absent, Op::Put { value: "x".into(), ttl: ttl(1) }).await?;
    t.update("kept", kept, "for good").await?;
    let revision = t.store.current_revision().await?;
    let mut changes = t.store.watch(&t.prefix, revision).await?;
    let gone = tokio::time::timeout(Duration::from_secs(70), futures::StreamExt::next(&mut changes)).await;
    let Ok(Some(Ok(events))) = gone else { return fault(format!("no expiry within 70 s: {gone:?}")) };
    same(start.elapsed() >= Duration::from_secs(1), true, "expiry is not early")?;
    let keys: Vec<_> = events.iter().map(|e| e.key().to_string()).collect();
    same(keys, vec![t.key("short")], "what expired")?;
    same(t.get("short").await?, None, "an expired key")?;
    same(t.get("long").await?.map(|kv| kv.mod_revision), Some(long), "a key with time left")?;
    same(t.get("kept").await?.is_some(), true, "a key written again without a time to live")
}

pub async fn writes_survive_a_restart(t: Trial, factory: &dyn Factory) -> Outcome {
    let a = t.create("a", "1").await?;
    let b = t.create("b", "1").await?;
    let a2 = t.update("a", a, "2").await?;
    let last = t.delete("b", b).await?;
    let before = t.get("a").await?;
    let Trial { store, prefix } = t;
    let t = Trial { store: factory.reopen(store).await, prefix };
    same(t.get("a").await?, before, "a key after a restart")?;
    same(t.get("b").await?, None, "a deleted key after a restart")?;
    same(t.text(a2).await?, "a=2 b=1".into(), "history after a restart")?;
    let next = t.update("a", a2, "3").await?;
    same(next > last, true, "revisions grow across a restart")
}
