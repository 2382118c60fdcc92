//! The shell of the ephemeral volume controller: makes the claims pods bring along. The garbage collector
//! takes them away with their pods.

mod plan;
#[cfg(test)]
mod tests;

use super::shared::{BY_CLAIM, ephemeral_claim, pods_by_claim};
use crate::context::Context;
use gantry_client::error;
use gantry_client::events::{EventType, reference};
use gantry_client::{Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

const ACCOUNT: &str = "ephemeral-volume-controller";

struct Controller {
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    executor: Executor,
    recorder: Recorder,
}

fn wants_claims(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    pod.metadata.deletion_timestamp.is_none() && volumes.into_iter().any(|v| v.ephemeral.is_some())
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("ephemeral_volume");
    let (pods, claims) = (pods_by_claim(context), context.informers.of::<PersistentVolumeClaim>());
    let to = queue.clone();
    pods.on(move |delta| {
        // A pod's volumes never change.
        if delta.old().is_none() && !delta.is_deleted() && wants_claims(delta.object()) {
            to.add(Key::of(&**delta.object()));
        }
    });
    let (to, known) = (queue.clone(), pods.clone());
    claims.on(move |delta| {
        if delta.is_deleted() {
            let key = Key::of(&**delta.object());
            for pod in known.store().by_index(BY_CLAIM, key.as_str()).iter().filter(|p| wants_claims(p)) {
                to.add(Key::of(&**pod));
            }
        }
    });
    let barrier = Barrier::default();
    barrier.track(&claims);
    let controller = Controller {
        pods,
        claims,
        executor: context.executor(ACCOUNT, barrier.clone()),
        recorder: context.recorder(ACCOUNT, "ephemeral_volume"),
    };
    let workers = context.config.args.concurrent_ephemeralvolume_syncs;
    context.run("ephemeral-volume-controller", workers, controller, queue, barrier);
}

impl Controller {
    fn complain(&self, pod: &Pod, volume: &str, why: &str) {
        let message = format!("ephemeral volume {volume}: {why}");
        self.recorder.event(&reference(pod), EventType::Warning, "FailedBinding", message);
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(pod) = self.pods.store().get(key).filter(|p| wants_claims(p)) else { return Ok(Next::Done) };
        for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
            let name = ephemeral_claim(&pod, volume);
            let present = self.claims.store().get(&Key::new(key.namespace(), &name));
            match plan::missing(&pod, volume, present.as_deref()) {
                Ok(None) => {}
                Ok(Some(claim)) => {
                    crate::metrics::get().inspect(|m| m.claims.inc());
                    if let Err(e) = self.executor.apply(key, &Effect::create(&claim)).await {
                        crate::metrics::get().inspect(|m| m.claim_failures.inc());
                        self.complain(
                            &pod,
                            &volume.name,
                            &format!("create PVC {name}: {}", error::message(&e)),
                        );
                        return Err(e);
                    }
                }
                // The claim in the way may go; its deletion brings the pod back here.
                Err(why) => {
                    self.complain(&pod, &volume.name, &why);
                    return Ok(Next::Done);
                }
            }
        }
        Ok(Next::Done)
    }
}
