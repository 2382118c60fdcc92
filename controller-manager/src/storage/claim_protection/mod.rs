//! The shell of claim protection: a claim goes only when no pod uses it.

pub mod plan;
#[cfg(test)]
mod tests;

use super::shared::{BY_CLAIM, claims_of, pods_by_claim};
use crate::context::Context;
use gantry_client::{Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, conditions};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;
use plan::{Due, FINALIZER, due, uses, with_finalizer};

const ACCOUNT: &str = "pvc-protection-controller";

struct Controller {
    claims: Informer<PersistentVolumeClaim>,
    pods: Informer<Pod>,
    executor: Executor,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("pvcprotection");
    let (claims, pods) = (context.informers.of::<PersistentVolumeClaim>(), pods_by_claim(context));
    let to = queue.clone();
    claims.on(move |delta| {
        let claim = delta.object();
        if !delta.is_deleted() && due(&claim.metadata, FINALIZER) != Due::Nothing {
            to.add(Key::of(&**claim));
        }
    });
    let (to, known) = (queue.clone(), claims.clone());
    pods.on(move |delta| {
        let new = delta.object();
        let namespace = new.metadata.namespace.as_deref().unwrap_or_default();
        let freed = |pod: &Pod, gone: bool| {
            let placed =
                pod.spec.as_ref().is_some_and(|s| s.node_name.as_ref().is_some_and(|n| !n.is_empty()));
            gone || conditions::is_terminal(pod) || !placed
        };
        let look = |pod: &Pod| {
            for claim in claims_of(pod) {
                let key = Key::new(namespace, &claim);
                let going = |c: &PersistentVolumeClaim| due(&c.metadata, FINALIZER) == Due::RemoveWhenUnused;
                if known.store().get(&key).is_some_and(|c| going(&c)) {
                    to.add(key);
                }
            }
        };
        if freed(new, delta.is_deleted()) {
            look(new);
        }
        // Another pod of the name has taken its place.
        if let Some(old) = delta.old().filter(|old| old.metadata.uid != new.metadata.uid) {
            look(old);
        }
    });
    let barrier = Barrier::default();
    barrier.track(&claims);
    let controller = Controller { claims, pods, executor: context.executor(ACCOUNT, barrier.clone()) };
    context.run("persistentvolumeclaim-protection-controller", 1, controller, queue, barrier);
}

impl Controller {
    /// Asks the server, too, where the cache says no: a pod may be newer than the cache.
    async fn is_used(&self, key: &Key, claim: &PersistentVolumeClaim) -> Result<bool, kube::Error> {
        let cached = self.pods.store().by_index(BY_CLAIM, key.as_str());
        if cached.iter().any(|pod| uses(pod, claim)) {
            return Ok(true);
        }
        let api: Api<Pod> = Api::namespaced(self.executor.client().clone(), key.namespace());
        let live = api.list(&ListParams::default()).await?;
        Ok(live.items.iter().any(|pod| uses(pod, claim)))
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(claim) = self.claims.store().get(key) else { return Ok(Next::Done) };
        let held = match due(&claim.metadata, FINALIZER) {
            Due::Nothing => return Ok(Next::Done),
            Due::Add => true,
            Due::RemoveWhenUnused if self.is_used(key, &claim).await? => return Ok(Next::Done),
            Due::RemoveWhenUnused => false,
        };
        let mut next = (*claim).clone();
        with_finalizer(&mut next.metadata, FINALIZER, held);
        self.executor.apply(key, &Effect::update(&next)).await?;
        Ok(Next::Done)
    }
}
