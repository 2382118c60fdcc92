//! Lists: versions, pages, selections, unreadable objects.

mod common;

use common::*;
use futures::StreamExt;
use gantry_storage::{Expect, Op};
use gantry_types::reader::{ObjectEvent, ObjectReader};
use gantry_watch_cache::{Filter, ListOptions, VersionMatch};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_consistent_after_every_write() {
    let w = World::new().await;
    for i in 0..200 {
        let revision = w.put(&format!("ns/p{:03}", i % 50), "a", "n").await;
        let page = w.list(ListOptions::default()).await;
        assert!(page.revision >= revision);
        assert_eq!(page.items.iter().map(|o| o.revision().0).max(), Some(revision));
        let got = w.pods.get("ns", &format!("p{:03}", i % 50), "").await.unwrap().unwrap();
        assert_eq!(got.revision().0, revision);
    }
    w.delete("ns/p000").await;
    assert!(w.pods.get("ns", "p000", "").await.unwrap().is_none());
}

#[tokio::test]
async fn selections_use_indexes_and_agree_with_scans() {
    let w = World::new().await;
    for i in 0..300 {
        w.put(&format!("ns{}/p{i}", i % 3), &format!("app{}", i % 10), &format!("node{}", i % 100)).await;
    }
    w.put("ns0/p0", "other", "node99").await;
    w.delete("ns1/p1").await;
    let all = w.list(ListOptions::default()).await.items;
    assert_eq!(all.len(), 299);
    let filters = [
        node("node99"),
        node("node1"),
        node("nowhere"),
        label("app", "app0"),
        label("app", "none"),
        Filter { namespace: Some("ns1".into()), ..label("app", "app1") },
        Filter { namespace: Some("ns1".into()), ..node("node1") },
        Filter { predicate: Some(Arc::new(|o| o.name().ends_with('7'))), ..label("app", "app7") },
        Filter { name: Some("p5".into()), ..Filter::default() },
        Filter::all(Some("ns2")),
        Filter::all(Some("ns")),
    ];
    for filter in filters {
        let expected: Vec<_> = all.iter().filter(|o| filter.matches(o)).cloned().collect();
        assert_eq!(w.names(filter.clone()).await, names(&expected), "{filter:?}");
        // A limit keeps the index out.
        let limited = ListOptions { filter, limit: 1000, ..ListOptions::default() };
        assert_eq!(names(&w.list(limited).await.items), names(&expected));
    }
    let none = ObjectReader::list(&*w.caches, &PODS, Some("ns1"));
    assert_eq!(names(&none), w.names(Filter::all(Some("ns1"))).await);
}

#[tokio::test]
async fn pages_are_consistent_and_count_what_is_left() {
    let w = World::new().await;
    for i in 0..25 {
        w.put(&format!("ns/p{i:02}"), if i % 2 == 0 { "even" } else { "odd" }, "n").await;
        w.put(&format!("z/p{i:02}"), "z", "n").await;
    }
    let before = w.names(Filter::all(Some("ns"))).await;
    let mut options = ListOptions { filter: Filter::all(Some("ns")), limit: 10, ..ListOptions::default() };
    let mut seen = Vec::new();
    let mut shape = Vec::new();
    let mut revision = None;
    loop {
        let page = w.list(options.clone()).await;
        assert_eq!(*revision.get_or_insert(page.revision), page.revision);
        shape.push((page.items.len(), page.remaining));
        seen.extend(page.items);
        if page.continue_token.is_empty() {
            break;
        }
        options.continue_token = page.continue_token;
        // None of this shows up in the list.
        w.delete(&format!("ns/p{:02}", 24 - shape.len())).await;
        w.put(&format!("ns/p{:02}", 18 + shape.len()), "changed", "n").await;
        w.put(&format!("ns/q{}", shape.len()), "new", "n").await;
    }
    assert_eq!(shape, [(10, Some(15)), (10, Some(5)), (5, None)]);
    assert_eq!(names(&seen), before);
    assert!(seen.iter().all(|o| o.revision().0 <= revision.unwrap()));

    // With a selector the rest is not counted.
    let options = ListOptions { filter: label("app", "even"), limit: 5, ..ListOptions::default() };
    let page = w.list(options).await;
    assert_eq!((page.items.len(), page.remaining, page.continue_token.is_empty()), (5, None, false));
    // Exactly as many as there are: no further page.
    let page =
        w.list(ListOptions { limit: 1, filter: Filter::all(Some("none")), ..ListOptions::default() }).await;
    assert_eq!((page.items.len(), page.continue_token.as_str()), (0, ""));
    let n = w.list(ListOptions::default()).await.items.len();
    let page = w.list(ListOptions { limit: n, ..ListOptions::default() }).await;
    assert_eq!((page.items.len(), page.remaining, page.continue_token.as_str()), (n, None, ""));
}

#[tokio::test]
async fn versions() {
    let w = World::new().await;
    let first = w.put("ns/a", "1", "n").await;
    let second = w.put("ns/b", "1", "n").await;
    w.put("ns/a", "2", "n").await;
    let last = w.delete("ns/b").await;
    let at = |revision: u64, version_match| ListOptions {
        resource_version: revision.to_string(),
        version_match,
        ..ListOptions::default()
    };
    let exact = Some(VersionMatch::Exact);
    let newer = Some(VersionMatch::NotOlderThan);
    for (options, expected, revision) in [
        (at(first, exact), "ns/a", first),
        (at(second, exact), "ns/a ns/b", second),
        (at(last, exact), "ns/a", last),
        (at(second, newer), "ns/a", last),
        (at(second, None), "ns/a", last),
        (ListOptions { limit: 5, ..at(second, None) }, "ns/a ns/b", second),
    ] {
        w.pods.get("ns", "a", "").await.unwrap();
        let page = w.list(options.clone()).await;
        assert_eq!((names(&page.items).as_str(), page.revision), (expected, revision), "{options:?}");
    }
    // What the cache no longer holds, the store does; what neither holds is gone.
    let w2 = gantry_watch_cache::Caches::start(w.store.clone(), Default::default(), vec![pods()]);
    w2.ready().await;
    let pods = w2.cache(&PODS).unwrap();
    let page = pods.list(&at(second, exact)).await.unwrap();
    assert_eq!((names(&page.items).as_str(), page.revision), ("ns/a ns/b", second));
    let page = pods.list(&ListOptions { limit: 1, ..at(second, None) }).await.unwrap();
    assert_eq!((names(&page.items).as_str(), page.remaining), ("ns/a", Some(1)));
    w.store.compact(last).await.unwrap();
    let refused = pods.list(&at(second, exact)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (410, "The resourceVersion for the provided list is too old.")
    );
    // A token of a compacted list offers to go on without consistency.
    let options = ListOptions { limit: 1, continue_token: page.continue_token, ..ListOptions::default() };
    let refused = pods.list(&options).await.unwrap_err();
    assert_eq!((refused.code(), refused.reason()), (410, "Expired"));
    assert!(refused.message().starts_with("The provided continue parameter is too old"));
    let continue_token = refused.body().metadata.continue_token.clone();
    w.put("ns/c", "1", "n").await;
    let page = pods.list(&ListOptions { continue_token, ..ListOptions::default() }).await.unwrap();
    assert_eq!(names(&page.items), "ns/c");

    for (options, expected) in [
        (at(0, None), None),
        (
            ListOptions { resource_version: "x".into(), ..ListOptions::default() },
            Some(
                "invalid resource version: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
            ),
        ),
        (
            ListOptions {
                continue_token: "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0".into(),
                ..at(5, None)
            },
            Some("specifying resource version is not allowed when using continue"),
        ),
    ] {
        let refused = w.pods.list(&options).await.err();
        assert_eq!(refused.as_ref().map(|s| s.message()), expected);
    }
}

#[tokio::test]
async fn a_future_version_times_out_in_upstreams_words() {
    let w = World::new().await;
    let last = w.put("ns/a", "1", "n").await;
    let future = ListOptions { resource_version: (last + 100).to_string(), ..ListOptions::default() };
    let refused = w.pods.list(&future).await.unwrap_err();
    assert_eq!(refused.code(), 504);
    assert_eq!(
        refused.message(),
        format!("Timeout: Too large resource version: {}, current: {last}", last + 100)
    );
    let causes = &refused.body().details.as_ref().unwrap().causes;
    assert_eq!(causes[0].reason, "ResourceVersionTooLarge");
}

#[tokio::test]
async fn one_unreadable_object_stops_nothing() {
    let w = World::new().await;
    w.put("ns/a", "1", "n").await;
    let bad = w.raw("/registry/pods/ns/b", "not json").await;
    w.raw("/registry/pods/ns/c", "k8s\0proto").await;
    w.raw("/registry/pods/ns/d", r#"{"kind":"Pod"}"#).await;
    w.put("ns/e", "1", "n").await;
    assert_eq!(w.names(Filter::default()).await, "ns/a ns/e");
    assert_eq!(w.pods.stats().malformed, 3);
    assert_eq!(w.pods.malformed()[0], ("/registry/pods/ns/b".into(), bad));
    assert_eq!(w.pods.get("ns", "b", "").await.unwrap_err().code(), 500);
    // It can be repaired, and deleted.
    w.put("ns/b", "1", "n").await;
    assert!(w.pods.get("ns", "b", "").await.unwrap().is_some());
    let (key, at) = w.pods.malformed()[0].clone();
    w.txn(&key, Expect::Unchanged(at), Op::Delete).await;
    assert_eq!(w.names(Filter::default()).await, "ns/a ns/b ns/e");
    assert_eq!(w.pods.stats().malformed, 1);
    // A readable object that becomes unreadable is gone for its watchers.
    let now = w.list(ListOptions::default()).await.revision;
    let mut watcher = w.watch(from(now, Filter::default())).await;
    let at = w.raw("/registry/pods/ns/a", "[]").await;
    assert_eq!(next(&mut watcher).await, format!("DELETED ns/a@{at}"));
    // It is known after a restart too.
    let again = gantry_watch_cache::Caches::start(w.store.clone(), Default::default(), vec![pods()]);
    again.ready().await;
    let stats = again.cache(&PODS).unwrap().stats();
    assert_eq!((stats.objects, stats.malformed), (2, 2));
}

/// Revisions that grow outside the watched prefix, as on an etcd shared with others: the cache proves from
/// the store that it missed nothing.
#[tokio::test]
async fn foreign_writes_do_not_hold_up_consistent_reads() {
    let w = World::new().await;
    w.put("ns/a", "1", "n").await;
    w.put("ns/b", "1", "n").await;
    w.delete("ns/b").await;
    let foreign = w.raw("/elsewhere/x", "{}").await;
    let page = w.list(ListOptions::default()).await;
    assert_eq!((names(&page.items).as_str(), page.revision), ("ns/a", foreign));
    // Proven once, it is known; and the next own write goes on as ever.
    let again = std::time::Instant::now();
    assert_eq!(w.list(ListOptions::default()).await.revision, foreign);
    assert!(again.elapsed().as_millis() < 50);
    let mut watcher = w.watch(from(foreign, Filter::default())).await;
    let own = w.put("ns/c", "1", "n").await;
    assert_eq!(next(&mut watcher).await, format!("ADDED ns/c@{own}"));
    assert_eq!(w.list(ListOptions::default()).await.revision, own);
}

#[tokio::test]
async fn resources_come_and_go() {
    let w = World::new().await;
    let mut events = w.caches.subscribe(&PODS);
    assert!(matches!(events.next().await, Some(ObjectEvent::Synced)));
    let mut watcher = w.watch(Default::default()).await;
    w.caches.remove(&PODS);
    assert_eq!(next(&mut watcher).await, "end");
    assert!(events.next().await.is_none());
    assert_eq!(w.pods.list(&ListOptions::default()).await.unwrap_err().code(), 404);
    w.put("ns/a", "1", "n").await;
    assert!(w.caches.cache(&PODS).is_none());
    let pods = w.caches.add(pods());
    pods.ready().await;
    assert_eq!(names(&pods.list(&ListOptions::default()).await.unwrap().items), "ns/a");
    let at = w.put("ns/b", "1", "n").await;
    let page = pods.list(&ListOptions::default()).await.unwrap();
    assert_eq!((names(&page.items).as_str(), page.revision), ("ns/a ns/b", at));
}
