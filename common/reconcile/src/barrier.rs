//! Never act on a cache older than your own last write. Here, once, for every controller.

use gantry_client::informer::Kind;
use gantry_client::{Informer, Key};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How a cache shows an object, by name and uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    Absent,
    Going,
    Alive,
}

type Present = Arc<dyn Fn(&Key, &str) -> Shown + Send + Sync>;

struct Tracked {
    revisions: watch::Receiver<u64>,
    present: Present,
}

/// What one reconciliation wrote and the caches may not show yet.
#[derive(Default)]
struct Pending {
    /// By resource: the newest revision written.
    revisions: HashMap<String, u64>,
    /// Deletions asked for: resource, object, uid, and the most the cache may still show of it.
    deletions: Vec<(String, Key, String, Shown)>,
}

#[derive(Default)]
struct Inner {
    tracked: Mutex<HashMap<String, Tracked>>,
    pending: Mutex<HashMap<Key, Pending>>,
}

/// One controller's barrier. Clones share it. A write to a resource that is not tracked is not waited for: the
/// controller does not read it from a cache.
#[derive(Clone, Default)]
pub struct Barrier(Arc<Inner>);

impl Barrier {
    /// Waits for this informer, from now on, after writes to its resource.
    pub fn track<K: Kind>(&self, informer: &Informer<K>) -> &Self {
        let store = informer.store().clone();
        let present: Present = Arc::new(move |key, uid| {
            let object = store.get(key).filter(|object| object.meta().uid.as_deref() == Some(uid));
            object.map_or(Shown::Absent, |object| match object.meta().deletion_timestamp {
                Some(_) => Shown::Going,
                None => Shown::Alive,
            })
        });
        let tracked = Tracked { revisions: informer.revisions(), present };
        self.0.tracked.lock().insert(crate::effect::resource_name::<K>(), tracked);
        self
    }

    /// Notes that the reconciliation of `key` wrote to `resource`, answered with `revision`.
    pub fn wrote(&self, key: &Key, resource: &str, revision: u64) {
        if self.0.tracked.lock().contains_key(resource) {
            let mut pending = self.0.pending.lock();
            let newest =
                pending.entry(key.clone()).or_default().revisions.entry(resource.to_owned()).or_default();
            *newest = revision.max(*newest);
        }
    }

    /// Notes that the reconciliation of `key` had an object deleted.
    pub fn deleted(&self, key: &Key, resource: &str, object: Key, uid: &str) {
        self.going(key, resource, object, uid, Shown::Going);
    }

    /// Notes that the reconciliation of `key` took the last finalizer of an object that was to go: it went with
    /// that write, whose answer bears the revision before.
    pub fn removed(&self, key: &Key, resource: &str, object: Key, uid: &str) {
        self.going(key, resource, object, uid, Shown::Absent);
    }

    fn going(&self, key: &Key, resource: &str, object: Key, uid: &str, most: Shown) {
        if self.0.tracked.lock().contains_key(resource) {
            let mut pending = self.0.pending.lock();
            pending.entry(key.clone()).or_default().deletions.push((
                resource.to_owned(),
                object,
                uid.to_owned(),
                most,
            ));
        }
    }

    /// Waits until the caches show everything the reconciliations of `key` wrote. False where they do not
    /// within `patience`: the key is then to come back later.
    pub async fn ready(&self, key: &Key, patience: Duration) -> bool {
        let Some(pending) = self.0.pending.lock().remove(key) else { return true };
        let waits = async {
            for (resource, revision) in &pending.revisions {
                if let Some((mut revisions, _)) = self.tracked(resource) {
                    // An error says the informer is gone, and with it the process's work.
                    let _ = revisions.wait_for(|newest| newest >= revision).await;
                }
            }
            for (resource, object, uid, most) in &pending.deletions {
                if let Some((mut revisions, present)) = self.tracked(resource) {
                    let _ = revisions.wait_for(|_| present(object, uid) <= *most).await;
                }
            }
        };
        if tokio::time::timeout(patience, waits).await.is_ok() {
            return true;
        }
        let mut table = self.0.pending.lock();
        let again = table.entry(key.clone()).or_default();
        again.revisions.extend(pending.revisions);
        again.deletions.extend(pending.deletions);
        false
    }

    fn tracked(&self, resource: &str) -> Option<(watch::Receiver<u64>, Present)> {
        self.0.tracked.lock().get(resource).map(|t| (t.revisions.clone(), t.present.clone()))
    }

    /// Forgets a key whose object is gone.
    pub fn forget(&self, key: &Key) {
        self.0.pending.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier(revisions: watch::Receiver<u64>, present: Shown) -> Barrier {
        let barrier = Barrier::default();
        let tracked = Tracked { revisions, present: Arc::new(move |_, _| present) };
        barrier.0.tracked.lock().insert("pods".into(), tracked);
        barrier
    }

    #[tokio::test]
    async fn waits_for_the_cache_to_show_the_write() {
        let (sender, receiver) = watch::channel(5);
        let barrier = barrier(receiver, Shown::Alive);
        let (a, b) = (Key::new("n", "a"), Key::new("n", "b"));
        barrier.wrote(&a, "pods", 7);
        barrier.wrote(&a, "nodes", 99);
        assert!(barrier.ready(&b, Duration::from_millis(5)).await);
        assert!(!barrier.ready(&a, Duration::from_millis(5)).await);
        sender.send_replace(6);
        assert!(!barrier.ready(&a, Duration::from_millis(5)).await);
        sender.send_replace(7);
        assert!(barrier.ready(&a, Duration::from_millis(5)).await);
        assert!(barrier.ready(&a, Duration::from_millis(5)).await);
    }

    #[tokio::test]
    async fn waits_for_a_deletion_to_show() {
        let (_sender, receiver) = watch::channel(5);
        let key = Key::new("n", "a");
        let still = barrier(receiver.clone(), Shown::Alive);
        still.deleted(&key, "pods", Key::new("n", "p"), "u");
        assert!(!still.ready(&key, Duration::from_millis(5)).await);
        let gone = barrier(receiver, Shown::Absent);
        gone.deleted(&key, "pods", Key::new("n", "p"), "u");
        assert!(gone.ready(&key, Duration::from_millis(5)).await);
    }

    #[tokio::test]
    async fn waits_for_an_object_to_go_with_its_last_finalizer() {
        let (_sender, receiver) = watch::channel(5);
        let key = Key::new("n", "a");
        let going = barrier(receiver.clone(), Shown::Going);
        going.deleted(&key, "pods", Key::new("n", "p"), "u");
        assert!(going.ready(&key, Duration::from_millis(5)).await);
        going.removed(&key, "pods", Key::new("n", "p"), "u");
        assert!(!going.ready(&key, Duration::from_millis(5)).await);
        let gone = barrier(receiver, Shown::Absent);
        gone.removed(&key, "pods", Key::new("n", "p"), "u");
        assert!(gone.ready(&key, Duration::from_millis(5)).await);
    }
}
