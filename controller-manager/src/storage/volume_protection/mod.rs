//! The shell of volume protection: a volume goes only when it is not bound.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::Context;
use gantry_client::{Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::core::v1::PersistentVolume;

const ACCOUNT: &str = "pv-protection-controller";

struct Controller {
    volumes: Informer<PersistentVolume>,
    executor: Executor,
}

/// Wires the controller to its informer and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("pvprotection");
    let volumes = context.informers.of::<PersistentVolume>();
    let to = queue.clone();
    volumes.on(move |delta| {
        let volume = delta.object();
        if !delta.is_deleted() && plan::protect(volume).is_some() {
            to.add(Key::of(&**volume));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&volumes);
    let controller = Controller { volumes, executor: context.executor(ACCOUNT, barrier.clone()) };
    context.run("persistentvolume-protection-controller", 1, controller, queue, barrier);
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        if let Some(next) = self.volumes.store().get(key).and_then(|volume| plan::protect(&volume)) {
            self.executor.apply(key, &Effect::update(&next)).await?;
        }
        Ok(Next::Done)
    }
}
