//! Watches: starts, transitions, bookmarks, frames, recovery.

mod common;

use async_trait::async_trait;
use common::*;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use gantry_storage::{
    Event, KeyValue, RangeRequest, RangeResponse, Result, Revision, Store, StoreError, Txn, TxnOutcome,
};
use gantry_types::reader::{ObjectEvent, ObjectReader};
use gantry_watch_cache::{Encoder, Filter, ListOptions, WatchEvent, WatchOptions, bookmark_frame};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

#[tokio::test]
async fn starts() {
    let w = World::new().await;
    let a = w.put("ns/a", "1", "n").await;
    let b = w.put("ns/b", "1", "n").await;
    let a2 = w.put("ns/a", "2", "n").await;
    w.pods.get("ns", "a", "").await.unwrap();
    let with = |version: &str, send_initial_events, bookmarks| WatchOptions {
        resource_version: version.into(),
        send_initial_events,
        bookmarks,
        ..WatchOptions::default()
    };
    let mut watchers = Vec::new();
    for (options, expected) in [
        (with("", None, false), vec![format!("ADDED ns/a@{a2}"), format!("ADDED ns/b@{b}")]),
        (with("0", None, false), vec![format!("ADDED ns/a@{a2}"), format!("ADDED ns/b@{b}")]),
        (with(&a.to_string(), None, false), vec![format!("ADDED ns/b@{b}"), format!("MODIFIED ns/a@{a2}")]),
        (with(&b.to_string(), None, false), vec![format!("MODIFIED ns/a@{a2}")]),
        (with(&a2.to_string(), None, false), vec![]),
        (with("", Some(false), true), vec![]),
        (
            with("", Some(true), true),
            vec![format!("ADDED ns/a@{a2}"), format!("ADDED ns/b@{b}"), format!("BOOKMARK!@{a2}")],
        ),
        (
            with(&b.to_string(), Some(true), true),
            vec![format!("ADDED ns/a@{a2}"), format!("ADDED ns/b@{b}"), format!("BOOKMARK!@{a2}")],
        ),
    ] {
        let mut watcher = w.watch(options).await;
        assert_eq!(take(&mut watcher, expected.len()).await, expected);
        watchers.push(watcher);
    }
    assert_eq!(w.pods.stats().watchers, watchers.len());
    let c = w.put("ns/c", "1", "n").await;
    for watcher in &mut watchers {
        assert_eq!(next(watcher).await, format!("ADDED ns/c@{c}"));
    }
    drop(watchers);
    assert_eq!(w.pods.stats().watchers, 0);
    // Before the window.
    w.store.compact(a2).await.unwrap();
    let again = gantry_watch_cache::Caches::start(w.store.clone(), Default::default(), vec![pods()]);
    again.ready().await;
    let mut watcher = again.cache(&PODS).unwrap().watch(from(a, Filter::default())).await.unwrap();
    let expected = [format!("ERROR 410 too old resource version: {a} ({c})"), "end".to_owned()];
    assert_eq!(take(&mut watcher, 2).await, expected);
    assert!(
        w.pods.watch(WatchOptions { resource_version: "x".into(), ..WatchOptions::default() }).await.is_err()
    );
}

#[tokio::test]
async fn selections_turn_changes_into_added_and_deleted() {
    let w = World::new().await;
    let start = w.caches.position();
    let mut red = w.watch(from(start, label("app", "red"))).await;
    let mut on_a = w.watch(from(start, node("a"))).await;
    let mut named = w.watch(from(start, Filter { name: Some("p".into()), ..Filter::all(Some("ns")) })).await;
    let mut other = w.watch(from(start, Filter::all(Some("other")))).await;
    let r1 = w.put("ns/p", "blue", "").await;
    let r2 = w.put("ns/p", "red", "").await;
    let r3 = w.put("ns/p", "red", "a").await;
    let r4 = w.put("ns/p", "blue", "a").await;
    let r5 = w.put("ns/p", "red", "b").await;
    let r6 = w.delete("ns/p").await;
    let r7 = w.put("other/p", "red", "a").await;
    let words =
        |list: &[(&str, Revision)]| list.iter().map(|(k, r)| format!("{k} ns/p@{r}")).collect::<Vec<_>>();
    let (a, m, d) = ("ADDED", "MODIFIED", "DELETED");
    assert_eq!(take(&mut red, 5).await, words(&[(a, r2), (m, r3), (d, r4), (a, r5), (d, r6)]));
    assert_eq!(take(&mut on_a, 3).await, words(&[(a, r3), (m, r4), (d, r5)]));
    assert_eq!(take(&mut named, 6).await, words(&[(a, r1), (m, r2), (m, r3), (m, r4), (m, r5), (d, r6)]));
    for watcher in [&mut red, &mut on_a, &mut other] {
        assert_eq!(next(watcher).await, format!("ADDED other/p@{r7}"));
    }
}

#[tokio::test]
async fn bookmarks_come_before_the_end() {
    let w = World::new().await;
    let start = w.caches.position();
    let options = WatchOptions {
        bookmarks: true,
        timeout: Some(Duration::from_millis(2300)),
        ..from(start, node("a"))
    };
    let mut watcher = w.watch(options).await;
    // Nothing of this is sent, and yet the bookmark covers it.
    let last = w.put("ns/p", "x", "b").await;
    assert_eq!(take(&mut watcher, 2).await, [format!("BOOKMARK@{last}"), "end".to_owned()]);
    let frame = bookmark_frame("v1", "Pod", 7, true);
    let text = r#"{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7","creationTimestamp":null,"annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
    assert_eq!(frame.trim_ascii_end(), text.as_bytes());
}

#[tokio::test]
async fn frames_are_encoded_once() {
    let w = World::new().await;
    let start = w.caches.position();
    let encoded = Arc::new(AtomicUsize::new(0));
    let json = Encoder::json(1);
    let counting = Encoder {
        id: 1,
        encode: {
            let encoded = encoded.clone();
            Arc::new(move |kind, object| {
                encoded.fetch_add(1, Ordering::SeqCst);
                (json.encode)(kind, object)
            })
        },
    };
    let mut watchers = Vec::new();
    for _ in 0..50 {
        watchers.push(w.watch(from(start, Filter::default())).await);
    }
    let at = w.put("ns/a", "1", "n").await;
    let mut frames = Vec::new();
    for watcher in &mut watchers {
        let Some(WatchEvent::Change(change)) = watcher.next().await else { panic!() };
        frames.push(change.frame(&counting));
    }
    assert_eq!(encoded.load(Ordering::SeqCst), 1);
    assert!(frames.iter().all(|f| f.as_ptr() == frames[0].as_ptr()));
    let expected = format!(
        r#"{{"type":"ADDED","object":{{"apiVersion":"v1","kind":"Pod","metadata":{{"resourceVersion":"{at}","name":"a","namespace":"ns","labels":{{"app":"1"}}}},"spec":{{"nodeName":"n"}}}}}}"#
    );
    assert_eq!(std::str::from_utf8(&frames[0]).unwrap(), expected + "\n");
}

/// A store whose watches can be made to fail, and whose ranges can be slow.
struct Flaky {
    inner: Arc<dyn Store>,
    fail: Arc<Notify>,
    error: Mutex<Option<StoreError>>,
}

#[async_trait]
impl Store for Flaky {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        self.inner.get(key).await
    }
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.inner.range(request).await
    }
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.inner.txn(txn).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<BoxStream<'static, Result<Vec<Event>>>> {
        if let Some(error) = self.error.lock().take() {
            return Err(error);
        }
        let changes = self.inner.watch(prefix, after).await?;
        let fail = self.fail.clone();
        let failed = stream::once(async move {
            fail.notified().await;
            Err(StoreError::Unavailable("cut".into()))
        });
        Ok(stream::select(changes, failed).boxed())
    }
    async fn current_revision(&self) -> Result<Revision> {
        self.inner.current_revision().await
    }
    async fn compact(&self, revision: Revision) -> Result<()> {
        self.inner.compact(revision).await
    }
    async fn healthy(&self) -> Result<()> {
        self.inner.healthy().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_watch_resumes_and_a_compacted_one_starts_over() {
    let fail = Arc::new(Notify::new());
    let flaky = Mutex::new(None);
    let w = World::over(|inner| {
        let store = Arc::new(Flaky { inner, fail: fail.clone(), error: Mutex::new(None) });
        *flaky.lock() = Some(store.clone());
        store
    })
    .await;
    let flaky = flaky.lock().take().unwrap();
    let start = w.caches.position();
    let mut watcher = w.watch(from(start, Filter::default())).await;
    let mut events = w.caches.subscribe(&PODS);
    assert!(matches!(events.next().await, Some(ObjectEvent::Synced)));

    let a = w.put("ns/a", "1", "n").await;
    fail.notify_one();
    let b = w.put("ns/b", "1", "n").await;
    // Cut and resumed: the watcher misses nothing and does not notice.
    assert_eq!(take(&mut watcher, 2).await, [format!("ADDED ns/a@{a}"), format!("ADDED ns/b@{b}")]);
    for expected in ["a", "b"] {
        assert!(matches!(events.next().await, Some(ObjectEvent::Applied(o)) if o.name() == expected));
    }

    // The position is gone: everything is read anew, watchers end and must list again.
    *flaky.error.lock() = Some(StoreError::Compacted { requested: b, oldest: b + 1 });
    fail.notify_one();
    let c = w.delete("ns/a").await;
    let words = take(&mut watcher, 2).await;
    assert!(words.contains(&"end".to_owned()), "{words:?}");
    let page = w.list(ListOptions::default()).await;
    assert_eq!((names(&page.items).as_str(), page.revision), ("ns/b", c));
    let mut watcher = w.watch(from(b - 1, Filter::default())).await;
    assert_eq!(next(&mut watcher).await, format!("ERROR 410 too old resource version: {} ({c})", b - 1));
    let mut known = BTreeMap::new();
    known.insert("a".to_owned(), ());
    loop {
        match events.next().await.unwrap() {
            ObjectEvent::Reset => known.clear(),
            ObjectEvent::Applied(o) => drop(known.insert(o.name().to_owned(), ())),
            ObjectEvent::Deleted(o) => drop(known.remove(o.name())),
            ObjectEvent::Synced => break,
        }
    }
    assert_eq!(known.into_keys().collect::<Vec<_>>(), ["b"]);
}

/// Random writes, watches begun at random revisions, lists in the past: all agree with a model.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_and_lists_agree_with_a_model() {
    let seed: u64 =
        std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| rand::rng().random());
    println!("SEED={seed}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let w = World::new().await;
    let mut model: BTreeMap<String, (Revision, String, String)> = BTreeMap::new();
    // From the first write on: before it the revision may be 0, which asks for any state, not for that one.
    let mut history = Vec::new();
    let filters = [
        Filter::default(),
        Filter::all(Some("ns1")),
        label("app", "1"),
        node("n2"),
        Filter { namespace: Some("ns0".into()), ..label("app", "0") },
        Filter { predicate: Some(Arc::new(|o| o.revision().0 % 3 != 0)), ..Filter::default() },
    ];
    let mut watching = Vec::new();
    for _ in 0..400 {
        let path = format!("ns{}/p{:02}", rng.random_range(0..3), rng.random_range(0..12));
        let revision = if model.contains_key(&path) && rng.random_bool(0.35) {
            model.remove(&path);
            w.delete(&path).await
        } else {
            let (app, on) = (rng.random_range(0..3).to_string(), format!("n{}", rng.random_range(0..4)));
            let revision = w.put(&path, &app, &on).await;
            model.insert(path, (revision, app, on));
            revision
        };
        history.push((revision, model.clone()));
        if rng.random_bool(0.2) {
            let (at, then) = &history[rng.random_range(0..history.len())];
            let filter = filters[rng.random_range(0..filters.len())].clone();
            let matched = ListOptions {
                filter: filter.clone(),
                resource_version: at.to_string(),
                version_match: Some(gantry_watch_cache::VersionMatch::Exact),
                ..ListOptions::default()
            };
            let page = w.list(matched).await;
            assert_eq!(page.revision, *at);
            let state: BTreeMap<String, u64> =
                page.items.iter().map(|o| (path_of(o), o.revision().0)).collect();
            if filter.selects_all() && filter.namespace.is_none() {
                let expected: BTreeMap<_, _> = then.iter().map(|(k, v)| (k.clone(), v.0)).collect();
                assert_eq!(state, expected);
            }
            let watcher = w.watch(from(*at, filter.clone())).await;
            watching.push((watcher, filter, state, *at));
        }
    }
    let end = w.put("ns9/end", "1", "n2").await;
    for (mut watcher, filter, mut state, at) in watching {
        let mut last = at;
        let marker = w.pods.get("ns9", "end", "").await.unwrap().unwrap();
        let expected = w.list(ListOptions { filter: filter.clone(), ..ListOptions::default() }).await.items;
        let expected: BTreeMap<_, _> = expected.iter().map(|o| (path_of(o), o.revision().0)).collect();
        loop {
            if !filter.matches(&marker) && state == expected {
                break;
            }
            let event = tokio::time::timeout(Duration::from_secs(5), watcher.next()).await;
            let Ok(Some(WatchEvent::Change(change))) = event else {
                panic!("{filter:?} from {at}: {event:?}")
            };
            let revision = change.object.revision().0;
            assert!(revision > last, "{revision} after {last}");
            last = revision;
            let name = path_of(&change.object);
            let known = match change.kind {
                gantry_watch_cache::EventType::Added => state.insert(name.clone(), revision).is_none(),
                gantry_watch_cache::EventType::Modified => state.insert(name.clone(), revision).is_some(),
                gantry_watch_cache::EventType::Deleted => state.remove(&name).is_some(),
            };
            assert!(
                known,
                "{} {name}@{revision} is not what {filter:?} from {at} knew",
                change.kind.as_str()
            );
            if revision == end {
                break;
            }
        }
        assert_eq!(state, expected, "{filter:?} from {at}");
    }
}

fn path_of(o: &gantry_types::Object) -> String {
    path(o)
}
