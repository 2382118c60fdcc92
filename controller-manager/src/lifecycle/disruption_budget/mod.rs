//! The disruption controller: keeps in each budget's status how many of its pods may be disrupted, and takes back
//! marks of disruptions that did not come.

mod plan;
mod scale;
#[cfg(test)]
mod tests;

use super::disruption;
use crate::context::{Context, now};
use gantry_client::events::reference;
use gantry_client::{Delta, EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, selector};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use plan::{Snapshot, asks_owners, go_selector, plan, stale_at};
use scale::Owners;
use std::sync::Arc;
use std::time::Duration;

/// How long a pod may wear the mark of a disruption without being deleted.
const STALE: SignedDuration = SignedDuration::from_mins(2);

const ACCOUNT: &str = "disruption-controller";

struct Budgets {
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    owners: Owners,
    executor: Executor,
    recorder: Recorder,
}

struct Marks {
    pods: Informer<Pod>,
    executor: Executor,
}

fn selected(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let wanted = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    selector::matches(wanted, pod.metadata.labels.as_ref())
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("disruption");
    let (budgets, pods) = (context.informers.of::<PodDisruptionBudget>(), context.informers.of::<Pod>());
    let owners = Owners {
        replication_controllers: context.informers.of(),
        replica_sets: context.informers.of(),
        deployments: context.informers.of(),
        stateful_sets: context.informers.of(),
        client: context.credentials.client(ACCOUNT),
    };
    let to = queue.clone();
    budgets.on(move |delta| to.add(Key::of(&**delta.object())));
    let (to, known) = (queue.clone(), budgets.clone());
    pods.on(move |delta| pod_changed(delta, &to, &known));
    owners_changed(&owners, &queue, &budgets);
    let barrier = Barrier::default();
    barrier.track(&budgets);
    let controller = Budgets {
        budgets,
        pods: pods.clone(),
        owners,
        executor: context.executor(ACCOUNT, barrier.clone()),
        recorder: context.recorder(ACCOUNT, "controllermanager"),
    };
    context.run("disruption-controller", 1, controller, queue, barrier);

    let marked = Queue::new("stale_pod_disruption");
    let to = marked.clone();
    pods.on(move |delta| {
        if !delta.is_deleted() && stale_at(delta.object(), STALE).is_some() {
            to.add(Key::of(&**delta.object()));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&pods);
    let marks = Marks { pods, executor: context.executor(ACCOUNT, barrier.clone()) };
    context.run("disruption-controller", 1, marks, marked, barrier);
}

/// Queues the budgets that select a pod as it is or as it was.
fn pod_changed(delta: &Delta<Pod>, queue: &Queue<Key>, budgets: &Informer<PodDisruptionBudget>) {
    let pod = delta.object();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    for budget in budgets.store().list_namespace(namespace) {
        if selected(&budget, pod) || delta.old().is_some_and(|old| selected(&budget, old)) {
            queue.add(Key::of(&*budget));
        }
    }
}

/// Queues a namespace's budgets when the size of a workload in it changes.
fn owners_changed(owners: &Owners, queue: &Queue<Key>, budgets: &Informer<PodDisruptionBudget>) {
    fn follow<K: gantry_client::informer::Kind>(
        informer: &Informer<K>,
        queue: &Queue<Key>,
        budgets: &Informer<PodDisruptionBudget>,
        replicas: impl Fn(&K) -> Option<i32> + Send + Sync + 'static,
    ) {
        let (queue, budgets) = (queue.clone(), budgets.clone());
        informer.on(move |delta| {
            let new = delta.object();
            if delta.is_deleted() || delta.old().is_none_or(|old| replicas(old) != replicas(new)) {
                let key = Key::of(&**new);
                let all = budgets.store().list_namespace(key.namespace());
                all.iter().filter(|b| asks_owners(b)).for_each(|b| queue.add(Key::of(&**b)));
            }
        });
    }
    follow(&owners.replication_controllers, queue, budgets, |o| o.spec.as_ref().and_then(|s| s.replicas));
    follow(&owners.replica_sets, queue, budgets, |o| o.spec.as_ref().and_then(|s| s.replicas));
    follow(&owners.deployments, queue, budgets, |o| o.spec.as_ref().and_then(|s| s.replicas));
    follow(&owners.stateful_sets, queue, budgets, |o| o.spec.as_ref().and_then(|s| s.replicas));
}

impl Budgets {
    fn tell(&self, budget: &PodDisruptionBudget, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(&reference(budget), kind, reason, message);
    }

    /// The budget's pods, and how many of them there should be.
    async fn observe(&self, budget: &PodDisruptionBudget, namespace: &str) -> Snapshot {
        let mut pods = self.pods.store().list_namespace(namespace);
        pods.retain(|pod| selected(budget, pod));
        if pods.is_empty() {
            self.tell(budget, EventType::Normal, "NoPods", "No matching pods found");
        }
        if !asks_owners(budget) {
            return Snapshot { pods, expected: Ok(0) };
        }
        let expected = match self.owners.expected(&pods).await {
            Ok((expected, unmanaged)) => {
                if !unmanaged.is_empty() {
                    let wanted = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
                    let wanted = wanted.map(go_selector).unwrap_or_default();
                    let why = format!(
                        "Pods selected by this PodDisruptionBudget (selector: {wanted}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
                    );
                    self.tell(budget, EventType::Warning, "UnmanagedPods", why);
                }
                Ok(expected)
            }
            Err(why) => {
                let message = format!("Failed to calculate the number of expected pods: {why}");
                self.tell(budget, EventType::Warning, "CalculateExpectedPodCountFailed", message);
                Err(why)
            }
        };
        Snapshot { pods, expected }
    }
}

impl Reconcile for Budgets {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(budget) = self.budgets.store().get(key) else {
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        let snapshot = self.observe(&budget, key.namespace()).await;
        let at = now();
        let plan = plan(&budget, &snapshot, at);
        for pod in &plan.undeleted {
            // Upstream names the namespace twice.
            let namespace = key.namespace();
            let message =
                format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
            self.recorder.event(&reference::<Pod>(pod), EventType::Warning, "NotDeleted", message);
        }
        if let Some(why) = &plan.failed {
            tracing::warn!(budget = %key, why, "cannot calculate a disruption budget");
        }
        if let Some(status) = plan.status {
            let updated = PodDisruptionBudget { status: Some(status), ..(*budget).clone() };
            self.executor.apply(key, &Effect::update_status(&updated)).await?;
        }
        let wait = plan.recheck.map(|at_| Duration::try_from(at_.duration_since(at)).unwrap_or_default());
        Ok(wait.map_or(Next::Done, |wait| Next::After(wait + Duration::from_secs(1))))
    }
}

impl Reconcile for Marks {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let pod: Option<Arc<Pod>> = self.pods.store().get(key);
        let Some((pod, stale)) = pod.and_then(|pod| stale_at(&pod, STALE).map(|at| (pod, at))) else {
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        let wait = stale.duration_since(now());
        if wait.is_positive() {
            return Ok(Next::After(Duration::try_from(wait).unwrap_or_default()));
        }
        let effect = disruption::condition(&pod, "DisruptionTarget", "False", "", "", None);
        self.executor.apply(key, &effect).await?;
        tracing::info!(pod = %key, "took back the mark of a disruption that did not come");
        Ok(Next::Done)
    }
}
