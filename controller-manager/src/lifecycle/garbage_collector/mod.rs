//! The garbage collector's shell: watches the metadata of everything, keeps the graph, deletes what has no
//! owner left.

mod api;
mod graph;
mod monitor;
#[cfg(test)]
mod tests;
mod worker;

use crate::context::Context;
use crate::discovery::{ApiResource, Discovered, discover};
use gantry_client::Queue;
use graph::{Graph, Work};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Resources nobody owns things through, and that change too often to watch.
const IGNORED: &[(&str, &str)] = &[("", "events"), ("events.k8s.io", "events")];

/// Shared by monitors and workers.
struct Shared {
    graph: Mutex<Graph>,
    queue: Queue<Work>,
    kinds: RwLock<HashMap<(String, String), ApiResource>>,
    /// Poked when the set of resources may have changed.
    rediscover: Notify,
}

impl Shared {
    fn enqueue(&self, works: Vec<Work>) {
        works.into_iter().for_each(|work| self.queue.add(work));
    }

    /// The resource behind an `apiVersion` and `kind`.
    fn resource(&self, api_version: &str, kind: &str) -> Option<ApiResource> {
        self.kinds.read().get(&(api_version.to_owned(), kind.to_owned())).cloned()
    }
}

/// Starts the monitors, and the workers once every monitor has seen its whole resource.
pub fn start(context: &Context) {
    let shared = Arc::new(Shared {
        graph: Mutex::default(),
        queue: Queue::new("garbage_collector_attempt_to_delete"),
        kinds: RwLock::default(),
        rediscover: Notify::new(),
    });
    let context = context.clone();
    context.tasks.clone().spawn(async move {
        let monitors = monitors(context.clone(), shared.clone());
        tokio::select! {
            () = context.stop.cancelled() => {}
            () = monitors => {}
        }
        shared.queue.close();
    });
}

fn wanted(found: &Discovered) -> Vec<ApiResource> {
    let usable = |r: &&ApiResource| {
        ["delete", "list", "watch"].iter().all(|v| r.can(v))
            && !IGNORED.contains(&(r.group.as_str(), r.resource.as_str()))
    };
    found.resources.iter().filter(usable).cloned().collect()
}

/// Keeps one monitor per resource, for as long as the server has it.
async fn monitors(context: Context, shared: Arc<Shared>) {
    let mut running: HashMap<ApiResource, (CancellationToken, monitor::Synced)> = HashMap::new();
    let mut working = false;
    loop {
        match discover(&context.client).await {
            Ok(found) => {
                *shared.kinds.write() =
                    found.kinds.iter().map(|k| ((k.api_version(), k.kind.clone()), k.clone())).collect();
                let wanted = wanted(&found);
                // A group whose server is away keeps its monitors.
                running.retain(|resource, (stop, _)| {
                    let kept = wanted.contains(resource)
                        || found.failed.iter().any(|f| f.split('/').next() == Some(resource.group.as_str()));
                    if !kept {
                        stop.cancel();
                    }
                    kept
                });
                for resource in wanted {
                    running.entry(resource.clone()).or_insert_with(|| {
                        let stop = context.stop.child_token();
                        let synced = monitor::start(&context, shared.clone(), resource, stop.clone());
                        (stop, synced)
                    });
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = gantry_client::error::message(&error),
                    "cannot discover resources to collect"
                );
                tokio::time::sleep(Duration::from_secs(5)).await;
                continue;
            }
        }
        if !working {
            for (_, synced) in running.values() {
                // What cannot be listed at all must not keep everything else from being collected.
                let _ = tokio::time::timeout(Duration::from_secs(30), synced.wait()).await;
            }
            tracing::info!(controller = "garbage-collector-controller", resources = running.len(), "started");
            worker::start(&context, shared.clone());
            working = true;
        }
        shared.rediscover.notified().await;
        // A new definition is served a moment after it is accepted; take several changes together.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
