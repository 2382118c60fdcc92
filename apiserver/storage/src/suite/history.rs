//! Behaviours of reads, now and in the past.

use super::{Outcome, Trial, fault, same};
use crate::{RangeRequest, StoreError};

pub async fn pages_add_up(t: Trial) -> Outcome {
    for i in 0..25 {
        t.create(&format!("k{i:02}"), "v").await?;
    }
    let mut request = RangeRequest { limit: 10, ..t.all() };
    let mut pages = Vec::new();
    let mut names = Vec::new();
    loop {
        let page = t.store.range(request.clone()).await?;
        pages.push((page.kvs.len(), page.more, page.count));
        names.extend(page.kvs.iter().map(|kv| kv.key.to_string()));
        let Some(last) = page.kvs.last() else { return fault("an empty page") };
        request.start = format!("{}\0", last.key);
        request.revision = page.revision;
        if !page.more {
            break;
        }
        // What comes later is not part of the list.
        t.create(&format!("k00-{}", names.len()), "late").await?;
        t.create(&format!("z{}", names.len()), "late").await?;
    }
    same(pages, vec![(10, true, 25), (10, true, 15), (5, false, 5)], "pages")?;
    same(names, (0..25).map(|i| t.key(&format!("k{i:02}"))).collect(), "names")?;
    let count = t.store.range(RangeRequest { count_only: true, ..t.all() }).await?;
    same((count.kvs.len(), count.count), (0, 29), "a count")?;
    let empty = RangeRequest { start: t.key("x"), end: t.key("x"), ..RangeRequest::default() };
    same(t.store.range(empty).await?.count, 0, "an empty range")
}

pub async fn ranges_at_old_revisions(t: Trial) -> Outcome {
    let a = t.create("a", "1").await?;
    let b = t.create("b", "1").await?;
    let a2 = t.update("a", a, "2").await?;
    let gone = t.delete("b", b).await?;
    let again = t.create("b", "3").await?;
    for (revision, expected) in
        [(a, "a=1"), (b, "a=1 b=1"), (a2, "a=2 b=1"), (gone, "a=2"), (again, "a=2 b=3"), (0, "a=2 b=3")]
    {
        same(t.text(revision).await?, expected.into(), format!("the range at {revision}"))?;
    }
    let answer = t.store.range(RangeRequest { revision: b, ..t.all() }).await?;
    same(answer.revision, b, "the revision of a read in the past")
}

pub async fn newer_than(t: Trial) -> Outcome {
    let a = t.create("a", "1").await?;
    let b = t.create("b", "1").await?;
    t.create("c", "1").await?;
    t.update("a", a, "2").await?;
    let answer = t.store.range(RangeRequest { newer_than: b, ..t.all() }).await?;
    let words: Vec<_> = answer.kvs.iter().map(|kv| t.word(kv)).collect();
    same((words.join(" ").as_str(), answer.count), ("a=2 c=1", 3), "keys newer than b")
}

pub async fn future_revisions(t: Trial) -> Outcome {
    let last = t.create("a", "1").await?;
    match t.store.range(RangeRequest { revision: last + 1000, ..t.all() }).await {
        Err(StoreError::FutureRevision { .. }) => Ok(()),
        other => fault(format!("a range in the future: {other:?}")),
    }
}

pub async fn compaction_forgets(t: Trial) -> Outcome {
    let a = t.create("a", "1").await?;
    let b = t.create("b", "1").await?;
    let a2 = t.update("a", a, "2").await?;
    let gone = t.delete("b", b).await?;
    let last = t.update("a", a2, "3").await?;
    t.store.compact(gone).await?;
    for revision in [a, b, a2] {
        match t.store.range(RangeRequest { revision, ..t.all() }).await {
            Err(StoreError::Compacted { .. }) => {}
            other => return fault(format!("a range at compacted revision {revision}: {other:?}")),
        }
    }
    same(t.text(gone).await?, "a=2".into(), "the range at the compacted revision itself")?;
    same(t.text(last).await?, "a=3".into(), "the range after it")?;
    match t.store.compact(a).await {
        Err(StoreError::Compacted { .. }) => {}
        other => return fault(format!("compaction to a forgotten revision: {other:?}")),
    }
    match t.store.compact(last + 1000).await {
        Err(StoreError::FutureRevision { .. }) => Ok(()),
        other => fault(format!("compaction of the future: {other:?}")),
    }
}

pub async fn many_keys(t: Trial) -> Outcome {
    const KEYS: usize = 2_000;
    let writes = (0..KEYS).map(|i| {
        let t = t.clone();
        async move { t.create(&format!("{:04}", i * 7919 % KEYS), &i.to_string()).await }
    });
    let mut revisions = Vec::new();
    for outcome in futures::future::join_all(writes).await {
        revisions.push(outcome?);
    }
    revisions.sort_unstable();
    revisions.dedup();
    same(revisions.len(), KEYS, "distinct revisions")?;
    let answer = t.store.range(t.all()).await?;
    same((answer.kvs.len(), answer.count, answer.more), (KEYS, KEYS, false), "keys")?;
    same(answer.kvs.is_sorted_by(|a, b| a.key < b.key), true, "keys are in order")
}
