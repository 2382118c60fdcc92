//! How many requests are worked on at once: reads and writes apart, long-running ones not counted.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The two limits.
pub struct InFlight {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl InFlight {
    /// 0 means no limit.
    pub fn new(reads: usize, writes: usize) -> Self {
        let limit = |n: usize| Arc::new(Semaphore::new(if n == 0 { Semaphore::MAX_PERMITS } else { n }));
        Self { reads: limit(reads), writes: limit(writes) }
    }

    fn of(&self, write: bool) -> &Arc<Semaphore> {
        if write { &self.writes } else { &self.reads }
    }

    /// A place, held while the answer is made. Waits for one in order of arrival; the caller's deadline bounds
    /// the wait. `None` only when shutting down.
    pub async fn enter(&self, write: bool) -> Option<OwnedSemaphorePermit> {
        let semaphore = self.of(write);
        match semaphore.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => semaphore.clone().acquire_owned().await.ok(),
        }
    }
}
