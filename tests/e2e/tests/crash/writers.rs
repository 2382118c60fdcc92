//! Clients that write one object after another and remember what was acknowledged.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::{Resource, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Notify};

pub const CLIENTS: usize = 8;
pub const WRITES: usize = 1000;
/// One write may take this long, with all its tries.
const PATIENCE: Duration = Duration::from_secs(60);

/// The numbers of the writes that were answered with 201.
#[derive(Default)]
pub struct Acknowledged {
    numbers: Mutex<BTreeSet<usize>>,
    more: Notify,
    failures: AtomicUsize,
}

impl Acknowledged {
    /// Resolves once this many writes are acknowledged.
    pub async fn reached(&self, count: usize) {
        while self.numbers.lock().await.len() < count {
            // The bound covers news that came between the look and the wait.
            let _ = tokio::time::timeout(Duration::from_millis(20), self.more.notified()).await;
        }
    }

    /// Tries without an answer, or with a bad one.
    pub fn failures(&self) -> usize {
        self.failures.load(Ordering::Relaxed)
    }
}

/// Writes every `CLIENTS`th object, each until the server has it.
pub async fn write(api: Api<ConfigMap>, client: usize, acknowledged: Arc<Acknowledged>) {
    for number in (client..WRITES).step_by(CLIENTS) {
        let begin = Instant::now();
        loop {
            match api.create(&PostParams::default(), &object(number)).await {
                Ok(_) => {
                    acknowledged.numbers.lock().await.insert(number);
                    acknowledged.more.notify_one();
                    break;
                }
                // An earlier try went through, but its answer did not.
                Err(kube::Error::Api(status)) if status.is_already_exists() => break,
                Err(error) => {
                    acknowledged.failures.fetch_add(1, Ordering::Relaxed);
                    assert!(begin.elapsed() < PATIENCE, "write {number}: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Every acknowledged object is there as it was sent, and every other one too.
pub async fn verify(api: &Api<ConfigMap>, acknowledged: &Acknowledged) {
    let list = api.list(&ListParams::default()).await.expect("config maps");
    let found: BTreeMap<String, ConfigMap> = list.into_iter().map(|c| (c.name_any(), c)).collect();
    let numbers = acknowledged.numbers.lock().await;
    assert!(numbers.len() > WRITES * 9 / 10, "only {} writes were acknowledged", numbers.len());
    for number in 0..WRITES {
        let sent = object(number);
        let there = found.get(&sent.name_any());
        let word = if numbers.contains(&number) { "acknowledged" } else { "repeated" };
        assert_eq!(there.map(|c| &c.data), Some(&sent.data), "{word} write {number}");
    }
}

fn object(number: usize) -> ConfigMap {
    let mut object = ConfigMap {
        data: Some(BTreeMap::from([("k".into(), format!("{number}-{}", "v".repeat(500)))])),
        ..ConfigMap::default()
    };
    object.meta_mut().name = Some(format!("c{number}"));
    object
}
