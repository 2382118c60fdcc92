//! Everything that became of the objects of a kind, in order.

use futures::StreamExt;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An object as it was after a change; `gone`: before its end.
#[derive(Clone)]
pub struct Change<K> {
    pub object: K,
    pub gone: bool,
}

/// A watch from the beginning, that nothing escapes. Clones share what is written.
#[derive(Clone)]
pub struct Record<K>(Arc<Mutex<Vec<Change<K>>>>);

impl<K> Record<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Everything after the return of this is written down, what is there first.
    pub async fn start(api: Api<K>) -> Self {
        let record = Self(Arc::default());
        let list = api.list(&Default::default()).await.expect("a list");
        let from = list.metadata.resource_version.expect("a list has a revision");
        record.lock().extend(list.items.into_iter().map(|object| Change { object, gone: false }));
        tokio::spawn(record.clone().follow(api, from));
        record
    }

    async fn follow(self, api: Api<K>, mut from: String) {
        loop {
            let Ok(stream) = api.watch(&WatchParams::default().timeout(290), &from).await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let mut stream = std::pin::pin!(stream);
            while let Some(Ok(event)) = stream.next().await {
                let (object, gone) = match event {
                    WatchEvent::Added(o) | WatchEvent::Modified(o) => (o, false),
                    WatchEvent::Deleted(o) => (o, true),
                    WatchEvent::Bookmark(b) => {
                        from = b.metadata.resource_version;
                        continue;
                    }
                    WatchEvent::Error(status) => panic!("changes were missed: {status:?}"),
                };
                from = object.resource_version().unwrap_or_default();
                self.lock().push(Change { object, gone });
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Change<K>>> {
        self.0.lock().expect("nobody panics while writing")
    }

    /// How many objects there were that `counts`, up to now.
    pub fn count(&self, counts: impl Fn(&K) -> bool) -> usize {
        let changes = self.lock();
        let uids = changes.iter().filter(|c| counts(&c.object)).filter_map(|c| c.object.uid());
        uids.collect::<std::collections::HashSet<_>>().len()
    }

    pub fn changes(&self) -> Vec<Change<K>> {
        self.lock().clone()
    }
}
