//! The shell of the ReplicaSet controller, and of the ReplicationController's, which is the same with other
//! words.

mod plan;
#[cfg(test)]
mod tests;

pub(crate) use super::pod_control::namespace_terminating;
use super::pod_control::{Owner, PodControl, claim_selected, failure};
use crate::context::{BY_CONTROLLER, Context, now, owner_index};
use gantry_client::{Delta, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, conditions, ownership, selector};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;

/// A kind that keeps a number of equal pods, and reads as a replica set.
pub(super) trait Replicated: Owner + Serialize + Send + Sync + 'static {
    /// Whether its status counts pods on their way out.
    const COUNTS_TERMINATING: bool;
    fn selector(&self) -> Option<Cow<'_, LabelSelector>>;
    fn as_set(&self) -> Cow<'_, ReplicaSet>;
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Replicated for ReplicaSet {
    const COUNTS_TERMINATING: bool = true;

    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        self.spec.as_ref().map(|s| Cow::Borrowed(&s.selector))
    }

    fn as_set(&self) -> Cow<'_, ReplicaSet> {
        Cow::Borrowed(self)
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

/// What a controller of such a kind is called, and how much it does at a time.
pub(super) struct Names {
    pub queue: &'static str,
    pub controller: &'static str,
    pub account: &'static str,
    pub component: &'static str,
    pub workers: usize,
}

struct Controller<K> {
    sets: Informer<K>,
    pods: Informer<Pod>,
    executor: Executor,
    recorder: Recorder,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let workers = context.config.args.concurrent_replicaset_syncs;
    let names = Names {
        queue: "replicaset",
        controller: "replicaset-controller",
        account: "replicaset-controller",
        component: "replicaset-controller",
        workers,
    };
    start_for::<ReplicaSet>(context, &names);
}

pub(super) fn start_for<K: Replicated>(context: &Context, names: &Names) {
    let queue = Queue::new(names.queue);
    let (sets, pods) = (context.informers.of::<K>(), context.pods());
    sets.index(BY_CONTROLLER, |set| vec![owner_index(set.meta())]);
    let to = queue.clone();
    sets.on(move |delta| to.add(Key::of(&**delta.object())));
    let (to, known) = (queue.clone(), sets.clone());
    pods.on(move |delta| pod_changed(&to, &known, delta));
    let barrier = Barrier::default();
    barrier.track(&sets).track(&pods);
    let controller = Controller {
        sets,
        pods,
        executor: context.executor(names.account, barrier.clone()),
        recorder: context.recorder(names.account, names.component),
    };
    context.run(names.controller, names.workers, controller, queue, barrier);
}

/// Queues the sets a changed pod matters to: its controller, before and after; for an orphan, all that match.
fn pod_changed<K: Replicated>(queue: &Queue<Key>, sets: &Informer<K>, delta: &Delta<Pod>) {
    let new = delta.object();
    let namespace = new.metadata.namespace.as_deref().unwrap_or("");
    for pod in [Some(new), delta.old()].into_iter().flatten() {
        if let Some(owner) = ownership::controller_of(&pod.metadata).filter(|o| o.kind == K::kind(&())) {
            queue.add(Key::new(namespace, &owner.name));
        }
    }
    if delta.is_deleted() || ownership::controller_of(&new.metadata).is_some() {
        return;
    }
    for set in sets.store().list_namespace(namespace) {
        if selector::matches(set.selector().as_deref(), new.metadata.labels.as_ref()) {
            queue.add(Key::of(&*set));
        }
    }
}

impl<K: Replicated> Controller<K> {
    /// The active pods that are the set's, adoptions and releases made; and those on their way out.
    async fn claim(&self, key: &Key, set: &K) -> Result<(Vec<Arc<Pod>>, Option<usize>), kube::Error> {
        let wanted = set.selector();
        let wanted = wanted.as_deref();
        let mut pods = self.pods.store().by_index(BY_CONTROLLER, set.meta().uid.as_deref().unwrap_or(""));
        let terminating = pods
            .iter()
            .filter(|p| p.metadata.deletion_timestamp.is_some() && !conditions::is_terminal(p))
            .filter(|p| selector::matches(wanted, p.metadata.labels.as_ref()))
            .count();
        pods.extend(self.pods.store().by_index(BY_CONTROLLER, &format!("orphan:{}", key.namespace())));
        pods.retain(|p| conditions::is_active(p));
        let owned = claim_selected(&self.executor, key, set, wanted, pods).await?;
        Ok((owned, K::COUNTS_TERMINATING.then_some(terminating)))
    }

    /// Pods of all sets under the same controller: they share nodes' ranks when scaling down.
    fn related(&self, set: &K) -> Vec<Arc<Pod>> {
        let Some(owner) = ownership::controller_of(set.meta()) else { return Vec::new() };
        let siblings = self.sets.store().by_index(BY_CONTROLLER, &owner.uid);
        siblings
            .iter()
            .filter_map(|s| s.meta().uid.as_deref())
            .flat_map(|uid| self.pods.store().by_index(BY_CONTROLLER, uid))
            .collect()
    }
}

impl<K: Replicated> Reconcile for Controller<K> {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(owner) = self.sets.store().get(key) else {
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        let (pods, terminating) = self.claim(key, &owner).await?;
        let set = owner.as_set();
        let going = set.metadata.deletion_timestamp.is_some();
        let step =
            if going { plan::Scale::Keep } else { plan::scale(&set, &pods, || self.related(&owner), now()) };
        let control = PodControl::new(&self.executor, &self.recorder, key, &*owner);
        let problem = match &step {
            plan::Scale::Keep => None,
            plan::Scale::Create(count) => {
                let pod = plan::pod_of(&set, ownership::controller_ref(&*owner));
                control.create(&vec![Effect::create(&pod); *count]).await
            }
            plan::Scale::Delete(pods) => control.delete(pods).await,
        };
        let status = plan::status(&set, &pods, terminating, problem.as_deref(), now());
        if plan::status_differs(&set, &status) {
            self.executor.apply(key, &Effect::update_status(&owner.with_status(status.clone()))).await?;
        }
        if let Some(words) = problem {
            return Err(failure(&words));
        }
        Ok(plan::next_look(&set, &pods, &status, now()).map_or(Next::Done, Next::After))
    }
}
