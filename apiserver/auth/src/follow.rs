//! Keeping an index current from an [`ObjectReader`].

use futures::StreamExt;
use gantry_types::GroupResource;
use gantry_types::reader::{ObjectEvent, ObjectReader};
use std::sync::Arc;
use tokio::sync::watch;

/// Tells when the first full state of every followed resource has been taken in.
#[derive(Clone, Debug)]
pub struct Synced(Vec<watch::Receiver<bool>>);

impl Synced {
    /// Waits. Returns early when a follower has ended.
    pub async fn wait(&mut self) {
        for receiver in &mut self.0 {
            // An error means the follower is gone with the reader: the process is ending.
            let _ = receiver.wait_for(|synced| *synced).await;
        }
    }

    pub fn now(&self) -> bool {
        self.0.iter().all(|receiver| *receiver.borrow())
    }
}

/// Spawns one task per resource that hands every event to `apply`, with the resource's place in `resources`.
/// Must be called inside a tokio runtime. The tasks end when `apply`'s target is gone or the reader ends.
pub fn follow<T, F>(
    reader: &dyn ObjectReader,
    resources: &[GroupResource],
    target: &Arc<T>,
    apply: F,
) -> Synced
where
    T: Send + Sync + 'static,
    F: Fn(&T, usize, ObjectEvent) + Clone + Send + 'static,
{
    let mut receivers = Vec::with_capacity(resources.len());
    for (i, resource) in resources.iter().enumerate() {
        let (sender, receiver) = watch::channel(false);
        receivers.push(receiver);
        let mut events = reader.subscribe(resource);
        let (target, apply) = (Arc::downgrade(target), apply.clone());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let Some(target) = target.upgrade() else { return };
                let done = matches!(event, ObjectEvent::Synced);
                apply(&target, i, event);
                if done {
                    sender.send_replace(true);
                }
            }
        });
    }
    Synced(receivers)
}
