//! The common suite on the embedded store.

use async_trait::async_trait;
use gantry_storage::{Expect, Op, RangeRequest, Store, StoreError, Txn, TxnOutcome, suite};
use gantry_storage_embedded::EmbeddedStore;
use std::sync::Arc;
use std::time::Duration;

struct Files(tempfile::TempDir);

#[async_trait]
impl suite::Factory for Files {
    async fn open(&self) -> Arc<dyn Store> {
        let path = self.0.path().join(format!("{}.db", std::fs::read_dir(self.0.path()).unwrap().count()));
        Arc::new(EmbeddedStore::open(path).unwrap())
    }

    async fn reopen(&self, old: Arc<dyn Store>) -> Arc<dyn Store> {
        drop(old);
        let path =
            self.0.path().join(format!("{}.db", std::fs::read_dir(self.0.path()).unwrap().count() - 1));
        Arc::new(EmbeddedStore::open(path).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_behaves() {
    let failed = suite::run(&Files(tempfile::tempdir().unwrap())).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

/// History is forgotten by itself, current values stay, and the file is found compacted after a restart.
#[tokio::test]
async fn history_is_compacted_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let store = EmbeddedStore::open_with(&path, Duration::from_millis(300)).unwrap();
    let mut revisions = Vec::new();
    for i in 0..5u8 {
        let expect = revisions.last().map_or(Expect::Absent, |r| Expect::Unchanged(*r));
        let op = Op::Put { value: vec![i].into(), ttl: None };
        let outcome = store.txn(Txn { key: "/k".into(), expect, op }).await.unwrap();
        let TxnOutcome::Committed { revision } = outcome else { panic!("{outcome:?}") };
        revisions.push(revision);
    }
    let at =
        |revision| RangeRequest { start: "/".into(), end: "0".into(), revision, ..RangeRequest::default() };
    assert_eq!(store.range(at(revisions[0])).await.unwrap().kvs[0].value, vec![0]);
    let compacted = |answer| matches!(answer, Err(StoreError::Compacted { .. }));
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if compacted(store.range(at(revisions[3])).await) {
            break;
        }
    }
    assert!(compacted(store.range(at(revisions[3])).await));
    assert_eq!(store.range(at(revisions[4])).await.unwrap().kvs[0].value, vec![4]);
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap();
    assert!(compacted(store.range(at(revisions[3])).await));
    assert_eq!(store.current_revision().await.unwrap(), revisions[4]);
    assert_eq!(store.range(at(0)).await.unwrap().kvs[0].value, vec![4]);
}
