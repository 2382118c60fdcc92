//! The ReplicaSet controller's shell.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::{BY_CONTROLLER, Context, now, owner_index};
use gantry_client::error::{self, ApiError};
use gantry_client::events::reference;
use gantry_client::{Delta, EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, conditions, ownership, selector};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use std::sync::Arc;

struct Controller {
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    executor: Executor,
    recorder: Recorder,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("replicaset");
    let (sets, pods) = (context.informers.of::<ReplicaSet>(), context.pods());
    sets.index(BY_CONTROLLER, |set| vec![owner_index(&set.metadata)]);
    let to = queue.clone();
    sets.on(move |delta| to.add(Key::of(&**delta.object())));
    let (to, known) = (queue.clone(), sets.clone());
    pods.on(move |delta| pod_changed(&to, &known, delta));
    let barrier = Barrier::default();
    barrier.track(&sets).track(&pods);
    let controller = Controller {
        sets,
        pods,
        executor: context.executor("replicaset-controller", barrier.clone()),
        recorder: context.recorder("replicaset-controller", "replicaset-controller"),
    };
    let workers = context.config.args.concurrent_replicaset_syncs;
    context.run("replicaset-controller", workers, controller, queue, barrier);
}

/// Queues the sets a changed pod matters to: its controller, before and after; for an orphan, all that match.
fn pod_changed(queue: &Queue<Key>, sets: &Informer<ReplicaSet>, delta: &Delta<Pod>) {
    let new = delta.object();
    for pod in [Some(new), delta.old()].into_iter().flatten() {
        if let Some(owner) = ownership::controller_of(&pod.metadata).filter(|o| o.kind == "ReplicaSet") {
            queue.add(Key::new(pod.metadata.namespace.as_deref().unwrap_or(""), &owner.name));
        }
    }
    if delta.is_deleted() || ownership::controller_of(&new.metadata).is_some() {
        return;
    }
    for set in sets.store().list_namespace(new.metadata.namespace.as_deref().unwrap_or("")) {
        if selector::matches(set.spec.as_ref().map(|s| &s.selector), new.metadata.labels.as_ref()) {
            queue.add(Key::of(&*set));
        }
    }
}

impl Controller {
    /// The active pods that are the set's, adoptions and releases made; and those on their way out.
    async fn claim(&self, key: &Key, set: &ReplicaSet) -> Result<(Vec<Arc<Pod>>, usize), kube::Error> {
        let uid = set.metadata.uid.as_deref().unwrap_or("");
        let wanted = set.spec.as_ref().map(|s| &s.selector);
        let mut pods = self.pods.store().by_index(BY_CONTROLLER, uid);
        let terminating = pods
            .iter()
            .filter(|p| p.metadata.deletion_timestamp.is_some() && !conditions::is_terminal(p))
            .filter(|p| selector::matches(wanted, p.metadata.labels.as_ref()))
            .count();
        pods.extend(self.pods.store().by_index(BY_CONTROLLER, &format!("orphan:{}", key.namespace())));
        pods.retain(|p| conditions::is_active(p));
        let claim = ownership::claim(set, wanted, pods, |_| true);
        if !claim.adopt.is_empty() {
            let api: Api<ReplicaSet> = Api::namespaced(self.executor.client().clone(), key.namespace());
            let live = api.get(key.name()).await?;
            if live.metadata.uid != set.metadata.uid || live.metadata.deletion_timestamp.is_some() {
                return Err(stale("replica set changed before it could adopt"));
            }
        }
        for effect in claim.adopt.iter().chain(&claim.release) {
            match self.executor.apply(key, effect).await {
                // Gone, or not the pod we meant: nothing to claim.
                Err(error) if error.is_not_found() || error.code() == Some(422) => {}
                other => drop(other?),
            }
        }
        Ok((claim.owned, terminating))
    }

    async fn create(&self, key: &Key, set: &ReplicaSet, count: usize) -> Option<String> {
        let about = reference(set);
        let effects = vec![Effect::create(&plan::pod_of(set)); count];
        let (made, failure) = self.executor.slow_start(key, &effects).await;
        for pod in made {
            let message = format!("Created pod: {}", pod.name);
            self.recorder.event(&about, EventType::Normal, "SuccessfulCreate", message);
        }
        let failure = failure.filter(|e| !namespace_terminating(e))?;
        let words = error::message(&failure);
        self.recorder.event(&about, EventType::Warning, "FailedCreate", format!("Error creating: {words}"));
        Some(words)
    }

    async fn delete(&self, key: &Key, set: &ReplicaSet, pods: &[Arc<Pod>]) -> Option<String> {
        let about = reference(set);
        let effects: Vec<_> = pods.iter().map(|p| Effect::delete(&**p)).collect();
        let mut failure = None;
        for (effect, result) in effects.iter().zip(self.executor.concurrently(key, &effects).await) {
            let name = &effect.target().name;
            match result {
                Ok(_) => self.recorder.event(
                    &about,
                    EventType::Normal,
                    "SuccessfulDelete",
                    format!("Deleted pod: {name}"),
                ),
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => {
                    let words = error::message(&error);
                    self.recorder.event(
                        &about,
                        EventType::Warning,
                        "FailedDelete",
                        format!("Error deleting: {words}"),
                    );
                    failure = Some(format!("unable to delete pods: {words}"));
                }
            }
        }
        failure
    }
}

/// A conflict of our own making: look again.
fn stale(message: &str) -> kube::Error {
    let status = kube::core::Status::failure(message, "Conflict").with_code(409);
    kube::Error::Api(status.boxed())
}

/// Whether a creation failed because its namespace is going.
pub(crate) fn namespace_terminating(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.details.as_ref().is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating")))
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(set) = self.sets.store().get(key) else {
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        let (pods, terminating) = self.claim(key, &set).await?;
        let going = set.metadata.deletion_timestamp.is_some();
        let step =
            if going { plan::Scale::Keep } else { plan::scale(&set, &pods, &self.related(&set), now()) };
        let failure = match &step {
            plan::Scale::Keep => None,
            plan::Scale::Create(count) => self.create(key, &set, *count).await,
            plan::Scale::Delete(pods) => self.delete(key, &set, pods).await,
        };
        let status = plan::status(&set, &pods, terminating, failure.as_deref(), now());
        if plan::status_differs(&set, &status) {
            let mut changed = ReplicaSet::clone(&set);
            changed.status = Some(status.clone());
            self.executor.apply(key, &Effect::update_status(&changed)).await?;
        }
        if let Some(words) = failure {
            let status = kube::core::Status::failure(&words, "Failed");
            return Err(kube::Error::Api(status.boxed()));
        }
        Ok(plan::next_look(&set, &pods, &status, now()).map_or(Next::Done, Next::After))
    }
}

impl Controller {
    /// Pods of all sets under the same controller: they share nodes' ranks when scaling down.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let Some(owner) = ownership::controller_of(&set.metadata) else { return Vec::new() };
        let siblings = self.sets.store().by_index(BY_CONTROLLER, &owner.uid);
        siblings
            .iter()
            .filter_map(|s| s.metadata.uid.as_deref())
            .flat_map(|uid| self.pods.store().by_index(BY_CONTROLLER, uid))
            .collect()
    }
}
