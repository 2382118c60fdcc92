//! The common suite on the embedded store.

use async_trait::async_trait;
use gantry_storage::{Store, suite};
use gantry_storage_embedded::EmbeddedStore;
use std::sync::Arc;

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
