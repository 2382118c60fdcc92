//! Behaviours of watches.

use super::{Outcome, Trial, fault, put, same};
use crate::{Event, Expect, Result, Revision, StoreError, TxnOutcome};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// At least the next `n` events, checking that they are in order and that no batch splits a revision.
async fn take(changes: &mut BoxStream<'static, Result<Vec<Event>>>, n: usize) -> Outcome<Vec<Event>> {
    let mut events: Vec<Event> = Vec::new();
    while events.len() < n {
        let Ok(Some(batch)) = tokio::time::timeout(SOON, changes.next()).await else {
            return fault(format!("only {} events of {n}", events.len()));
        };
        let batch = batch?;
        if let (Some(before), Some(after)) = (events.last(), batch.first())
            && before.revision() >= after.revision()
        {
            return fault(format!("a batch begins at {} after {}", after.revision(), before.revision()));
        }
        same(batch.is_sorted_by_key(Event::revision), true, "a batch is in order")?;
        events.extend(batch);
    }
    Ok(events)
}

fn text(t: &Trial, events: &[Event]) -> String {
    let words = events.iter().map(|event| match event {
        Event::Put(kv) => t.word(kv),
        Event::Delete { key, .. } => format!("-{}", key.strip_prefix(t.prefix.as_str()).unwrap_or(key)),
    });
    words.collect::<Vec<_>>().join(" ")
}

pub async fn watch_from_the_past(t: Trial) -> Outcome {
    let a = t.create("a", "1").await?;
    let b = t.create("b", "1").await?;
    let a2 = t.update("a", a, "2").await?;
    let gone = t.delete("b", b).await?;
    let mut changes = t.store.watch(&t.prefix, a).await?;
    let past = take(&mut changes, 3).await?;
    same(text(&t, &past), "b=1 a=2 -b".into(), "the past")?;
    same(past.iter().map(Event::revision).collect(), vec![b, a2, gone], "revisions")?;
    if let Some(Event::Delete { previous: Some(previous), .. }) = past.last() {
        same((&*previous.value, previous.mod_revision), (b"1".as_slice(), b), "the value before a deletion")?;
    } else {
        return fault("a deletion without the value before it");
    }
    t.create("c", "4").await?;
    same(text(&t, &take(&mut changes, 1).await?), "c=4".into(), "the present")?;
    let mut changes = t.store.watch(&t.prefix, gone).await?;
    same(text(&t, &take(&mut changes, 1).await?), "c=4".into(), "the start is exclusive")
}

pub async fn watch_sees_only_its_prefix(t: Trial) -> Outcome {
    let start = t.store.current_revision().await?;
    let mut changes = t.store.watch(&t.key("in/"), start).await?;
    for i in 0..20 {
        t.create(&format!("out/{i}"), "x").await?;
        t.create(&format!("in{i}"), "x").await?;
        if i % 5 == 0 {
            t.create(&format!("in/{i}"), "x").await?;
        }
    }
    same(text(&t, &take(&mut changes, 4).await?), "in/0=x in/5=x in/10=x in/15=x".into(), "events")
}

/// Watches begun at any time during a storm of writes see every change after their start, once.
pub async fn watch_is_ordered_under_load(t: Trial) -> Outcome {
    const WRITERS: usize = 6;
    const EACH: usize = 60;
    let start = t.store.current_revision().await?;
    let mut first = t.store.watch(&t.prefix, start).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for w in 0..WRITERS {
        let t = t.clone();
        tasks.spawn(async move {
            let name = format!("w{w}");
            let mut revisions: Vec<Revision> = vec![t.create(&name, "0").await?];
            for i in 1..EACH {
                let at = revisions[i - 1];
                match t.write(&name, Expect::Unchanged(at), put(&i.to_string())).await? {
                    TxnOutcome::Committed { revision } => revisions.push(revision),
                    TxnOutcome::Conflict { current } => return fault(format!("a conflict with {current:?}")),
                }
            }
            Ok(revisions)
        });
    }
    let early = take(&mut first, WRITERS * EACH / 2).await?;
    let middle = early[early.len() / 2].revision();
    let mut second = t.store.watch(&t.prefix, middle).await?;
    let mut written = Vec::new();
    while let Some(done) = tasks.join_next().await {
        written.extend(done.unwrap_or_else(|e| fault(e.to_string()))?);
    }
    written.sort_unstable();
    let rest = take(&mut first, WRITERS * EACH - early.len()).await?;
    let seen: Vec<Revision> = early.iter().chain(&rest).map(Event::revision).collect();
    same(&seen, &written, "what the first watch saw")?;
    let expected: Vec<Revision> = written.iter().copied().filter(|r| *r > middle).collect();
    let seen: Vec<Revision> = take(&mut second, expected.len()).await?.iter().map(Event::revision).collect();
    same(seen, expected, "what the second watch saw")
}

pub async fn watch_of_compacted_history(t: Trial) -> Outcome {
    let a = t.create("a", "1").await?;
    let a2 = t.update("a", a, "2").await?;
    let a3 = t.update("a", a2, "3").await?;
    t.store.compact(a2).await?;
    let outcome = match t.store.watch(&t.prefix, a - 1).await {
        Ok(mut changes) => tokio::time::timeout(SOON, changes.next()).await.ok().flatten(),
        Err(error) => Some(Err(error)),
    };
    match outcome {
        Some(Err(StoreError::Compacted { .. })) => {}
        other => return fault(format!("a watch from compacted history: {other:?}")),
    }
    let mut changes = t.store.watch(&t.prefix, a2).await?;
    let events = take(&mut changes, 1).await?;
    same(events.first().map(Event::revision), Some(a3), "a watch from the compacted revision itself")
}
