//! The Deployment controller's shell.

mod annotations;
mod plan;
mod rolling;
mod status;
#[cfg(test)]
mod tests;

use super::pod_control::{claim_selected, namespace_terminating};
use crate::context::{BY_CONTROLLER, Context, now, owner_index};
use gantry_client::error::{self, ApiError};
use gantry_client::events::reference;
use gantry_client::{Delta, EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, ownership, selector};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use plan::{Snapshot, Step};
use std::sync::Arc;

struct Controller {
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    executor: Executor,
    recorder: Recorder,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("deployment");
    let (deployments, sets, pods) =
        (context.informers.of::<Deployment>(), context.informers.of::<ReplicaSet>(), context.pods());
    sets.index(BY_CONTROLLER, |set| vec![owner_index(&set.metadata)]);
    let to = queue.clone();
    deployments.on(move |delta| to.add(Key::of(&**delta.object())));
    let (to, known) = (queue.clone(), deployments.clone());
    sets.on(move |delta| set_changed(&to, &known, delta));
    let (to, known) = (queue.clone(), sets.clone());
    pods.on(move |delta| {
        // A Recreate deployment waits for its last old pod to go.
        if delta.is_deleted() {
            let owner = ownership::controller_of(&delta.object().metadata);
            let namespace = delta.object().metadata.namespace.as_deref().unwrap_or("");
            let set = owner.and_then(|o| known.store().get(&Key::new(namespace, &o.name)));
            if let Some(owner) = set.as_ref().and_then(|s| ownership::controller_of(&s.metadata)) {
                to.add(Key::new(namespace, &owner.name));
            }
        }
    });
    let barrier = Barrier::default();
    barrier.track(&deployments).track(&sets);
    let controller = Controller {
        deployments,
        sets,
        pods,
        executor: context.executor("deployment-controller", barrier.clone()),
        recorder: context.recorder("deployment-controller", "deployment-controller"),
    };
    let workers = context.config.args.concurrent_deployment_syncs;
    context.run("deployment-controller", workers, controller, queue, barrier);
}

fn set_changed(queue: &Queue<Key>, deployments: &Informer<Deployment>, delta: &Delta<ReplicaSet>) {
    let new = delta.object();
    let namespace = new.metadata.namespace.as_deref().unwrap_or("");
    for set in [Some(new), delta.old()].into_iter().flatten() {
        if let Some(owner) = ownership::controller_of(&set.metadata).filter(|o| o.kind == "Deployment") {
            queue.add(Key::new(namespace, &owner.name));
        }
    }
    if delta.is_deleted() || ownership::controller_of(&new.metadata).is_some() {
        return;
    }
    for deployment in deployments.store().list_namespace(namespace) {
        let wanted = deployment.spec.as_ref().map(|s| &s.selector).filter(|s| !selector::is_empty(s));
        if selector::matches(wanted, new.metadata.labels.as_ref()) {
            queue.add(Key::of(&*deployment));
        }
    }
}

impl Controller {
    async fn claim(&self, key: &Key, deployment: &Deployment) -> Result<Vec<Arc<ReplicaSet>>, kube::Error> {
        let uid = deployment.metadata.uid.as_deref().unwrap_or("");
        let mut sets = self.sets.store().by_index(BY_CONTROLLER, uid);
        sets.extend(self.sets.store().by_index(BY_CONTROLLER, &format!("orphan:{}", key.namespace())));
        let wanted = deployment.spec.as_ref().map(|s| &s.selector);
        claim_selected(&self.executor, key, deployment, wanted, sets).await
    }

    async fn step(&self, key: &Key, deployment: &Deployment, step: Step) -> Result<(), kube::Error> {
        let about = reference(deployment);
        match step {
            Step::Event { kind, reason, message } => self.recorder.event(&about, kind, reason, message),
            Step::UpdateStatus(changed) => {
                drop(self.executor.apply(key, &Effect::update_status(&*changed)).await?)
            }
            Step::Update(changed) => drop(self.executor.apply(key, &Effect::update(&*changed)).await?),
            Step::UpdateSet { set, message } => {
                self.executor.apply(key, &Effect::update(&*set)).await?;
                if let Some(message) = message {
                    self.recorder.event(&about, EventType::Normal, "ScalingReplicaSet", message);
                }
            }
            Step::DeleteSet(set) => self.executor.delete(key, &Effect::delete(&*set)).await?,
            Step::CreateSet { set, created } => self.create(key, deployment, *set, *created).await?,
        }
        Ok(())
    }

    /// Creates the new set; `created` is the deployment as it is to look after that.
    async fn create(
        &self,
        key: &Key,
        deployment: &Deployment,
        set: ReplicaSet,
        created: Deployment,
    ) -> Result<(), kube::Error> {
        let about = reference(deployment);
        let name = set.metadata.name.clone().unwrap_or_default();
        match self.executor.apply(key, &Effect::create(&set)).await {
            Ok(_) => {
                let size = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
                if size > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {size}");
                    self.recorder.event(&about, EventType::Normal, "ScalingReplicaSet", message);
                }
                self.executor.apply(key, &Effect::update_status(&created)).await?;
            }
            Err(error) if error.is_already_exists() => {
                let api: Api<ReplicaSet> = Api::namespaced(self.executor.client().clone(), key.namespace());
                let live = api.get(&name).await?;
                let ours = ownership::is_controlled_by(&live.metadata, deployment.metadata.uid.as_deref());
                if !(ours && plan::same_template(deployment, &live)) {
                    let changed = plan::bump_collision(deployment);
                    self.executor.apply(key, &Effect::update_status(&changed)).await?;
                }
                return Err(error);
            }
            Err(error) if namespace_terminating(&error) => return Err(error),
            Err(error) => {
                let message =
                    format!("Failed to create new replica set {name:?}: {}", error::message(&error));
                if let Some(changed) = status::creation_failed(deployment, &message, now()) {
                    self.executor.apply(key, &Effect::update_status(&changed)).await?;
                }
                self.recorder.event(&about, EventType::Warning, "ReplicaSetCreateError", message);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(deployment) = self.deployments.store().get(key) else {
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        let sets = self.claim(key, &deployment).await?;
        let pods_of = |set: &ReplicaSet| {
            self.pods.store().by_index(BY_CONTROLLER, set.metadata.uid.as_deref().unwrap_or(""))
        };
        let pods = sets.iter().map(|s| (s.metadata.uid.clone().unwrap_or_default(), pods_of(s))).collect();
        let plan = plan::plan(&Snapshot { deployment: deployment.clone(), sets, pods }, now());
        for step in plan.steps {
            self.step(key, &deployment, step).await?;
        }
        Ok(plan.next.map_or(Next::Done, Next::After))
    }
}
