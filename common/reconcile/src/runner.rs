//! From a queue of keys to reconciliations: bounded, one per key at a time, slower after failures.

use crate::barrier::Barrier;
use futures::FutureExt;
use gantry_client::error::{self, ApiError};
use gantry_client::{Key, Queue};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// When to look at a key again without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Done,
    After(Duration),
}

/// One controller's shell: observe, plan, apply.
pub trait Reconcile: Send + Sync + 'static {
    /// # Errors
    /// Any refusal; the key comes back after a growing wait.
    fn reconcile(&self, key: &Key) -> impl Future<Output = Result<Next, kube::Error>> + Send;
}

/// How a controller runs.
#[derive(Clone)]
pub struct RunOptions {
    /// The controller's name, for logs.
    pub name: &'static str,
    /// Reconciliations at a time.
    pub workers: usize,
    pub barrier: Barrier,
}

/// Reconciles keys of `queue` until `stop`, then lets those in flight finish.
pub async fn run<R: Reconcile>(
    controller: Arc<R>,
    queue: Queue<Key>,
    options: RunOptions,
    stop: CancellationToken,
) {
    let workers = Arc::new(Semaphore::new(options.workers.max(1)));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = workers.clone().acquire_owned().await else { break };
        let key = tokio::select! {
            () = stop.cancelled() => break,
            key = queue.get() => key,
        };
        let Some(key) = key else { break };
        let (controller, queue, options) = (controller.clone(), queue.clone(), options.clone());
        tokio::spawn(async move {
            one(&*controller, &queue, &options, &key).await;
            queue.done(&key);
            drop(permit);
        });
    }
    queue.close();
    let all = u32::try_from(options.workers.max(1)).unwrap_or(1);
    // An error would say the semaphore is closed; nobody closes it.
    let _ = tokio::time::timeout(Duration::from_secs(10), workers.acquire_many(all)).await;
}

async fn one<R: Reconcile>(controller: &R, queue: &Queue<Key>, options: &RunOptions, key: &Key) {
    if !options.barrier.ready(key, Duration::from_secs(5)).await {
        queue.add_rate_limited(key.clone());
        return;
    }
    match AssertUnwindSafe(controller.reconcile(key)).catch_unwind().await {
        Ok(Ok(next)) => {
            queue.forget(key);
            if let Next::After(delay) = next {
                queue.add_after(key.clone(), delay);
            }
        }
        Ok(Err(error)) => {
            // Conflicts mean somebody else wrote meanwhile: routine, and the next look sees it.
            if error.is_conflict() || error.is_not_found() {
                tracing::debug!(controller = options.name, %key, error = error::message(&error), "will retry");
            } else {
                tracing::warn!(controller = options.name, %key, error = error::message(&error), "reconciliation failed, will retry");
            }
            queue.add_rate_limited(key.clone());
        }
        Err(_) => {
            tracing::error!(controller = options.name, %key, "reconciliation panicked, will retry");
            queue.add_rate_limited(key.clone());
        }
    }
}
