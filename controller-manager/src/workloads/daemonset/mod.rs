//! The DaemonSet controller's shell.

mod backoff;
mod eligible;
mod plan;
mod pods;
mod revisions;
mod rolling;
mod status;
#[cfg(test)]
mod tests;

use super::pod_control::{PodControl, claim_selected, failure};
use crate::context::{BY_CONTROLLER, Context, now, owner_index};
use backoff::Backoff;
use eligible::{Demands, Verdict};
use gantry_client::error::ApiError;
use gantry_client::{Delta, EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, PatchKind, Reconcile, ownership, selector};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use parking_lot::Mutex;
use plan::Snapshot;
use revisions::{Present, Sorted};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The index of daemon pods by their set's uid and their node.
const BY_PLACE: &str = "daemon-place";

struct Controller {
    sets: Informer<DaemonSet>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    revisions: Informer<ControllerRevision>,
    executor: Executor,
    recorder: Recorder,
    backoff: Mutex<Backoff>,
}

#[derive(Serialize)]
struct LabelPatch<'a> {
    metadata: LabelMeta<'a>,
}

#[derive(Serialize)]
struct LabelMeta<'a> {
    labels: BTreeMap<&'a str, &'a str>,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("daemonset");
    let (sets, pods) = (context.informers.of::<DaemonSet>(), context.pods());
    let (nodes, revisions) = (context.informers.of::<Node>(), context.informers.of::<ControllerRevision>());
    revisions.index(BY_CONTROLLER, |revision| vec![owner_index(&revision.metadata)]);
    pods.index(BY_PLACE, |pod| place(pod).into_iter().collect());
    let to = queue.clone();
    sets.on(move |delta| to.add(Key::of(&**delta.object())));
    let (to, known) = (queue.clone(), sets.clone());
    pods.on(move |delta| dependent_changed(&to, &known, delta));
    let (to, known) = (queue.clone(), sets.clone());
    revisions.on(move |delta| dependent_changed(&to, &known, delta));
    let (to, known, placed) = (queue.clone(), sets.clone(), pods.clone());
    nodes.on(move |delta| node_changed(&to, &known, &placed, delta));
    let barrier = Barrier::default();
    barrier.track(&sets).track(&pods).track(&revisions);
    let controller = Controller {
        sets,
        pods,
        nodes,
        revisions,
        executor: context.executor("daemon-set-controller", barrier.clone()),
        recorder: context.recorder("daemon-set-controller", "daemonset-controller"),
        backoff: Mutex::default(),
    };
    let workers = context.config.args.concurrent_daemonset_syncs;
    context.run("daemonset-controller", workers, controller, queue, barrier);
}

fn place(pod: &Pod) -> Option<String> {
    let owner = ownership::controller_of(&pod.metadata).filter(|o| o.kind == "DaemonSet")?;
    Some(format!("{}/{}", owner.uid, pods::target(pod)?))
}

/// Queues the sets a changed pod or revision matters to: its controller, before and after; for an orphan, all
/// that match.
fn dependent_changed<C: kube::Resource<DynamicType = ()>>(
    queue: &Queue<Key>,
    sets: &Informer<DaemonSet>,
    delta: &Delta<C>,
) {
    let new = delta.object();
    let namespace = new.meta().namespace.as_deref().unwrap_or("");
    for object in [Some(new), delta.old()].into_iter().flatten() {
        if let Some(owner) = ownership::controller_of(object.meta()).filter(|o| o.kind == "DaemonSet") {
            queue.add(Key::new(namespace, &owner.name));
        }
    }
    if delta.is_deleted() || ownership::controller_of(new.meta()).is_some() {
        return;
    }
    for set in sets.store().list_namespace(namespace) {
        if selector::matches(wanted(&set), new.meta().labels.as_ref()) {
            queue.add(Key::of(&*set));
        }
    }
}

/// The set's selector, where it is one.
fn wanted(set: &DaemonSet) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector> {
    set.spec.as_ref().map(|s| &s.selector).filter(|s| !selector::is_empty(s))
}

/// Queues the sets that have something to do on a node whose labels or taints changed. Heartbeats change
/// neither.
fn node_changed(queue: &Queue<Key>, sets: &Informer<DaemonSet>, pods: &Informer<Pod>, delta: &Delta<Node>) {
    let node = delta.object();
    let taints = |n: &Node| n.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
    let same = |old: &Arc<Node>| old.metadata.labels == node.metadata.labels && taints(old) == taints(node);
    if delta.old().is_some_and(same) {
        return;
    }
    for set in sets.store().list() {
        let uid = set.metadata.uid.as_deref().unwrap_or("");
        let name = node.metadata.name.as_deref().unwrap_or("");
        let there = || !pods.store().by_index(BY_PLACE, &format!("{uid}/{name}")).is_empty();
        let verdict = Demands::of(set.spec.as_ref().map(|s| &s.template)).judge(node);
        let matters = delta.is_deleted()
            || match verdict {
                Verdict::Run => !there() || misscheduled(&set),
                Verdict::Stay => there() && misscheduled(&set) || was_wanted(&set, delta),
                Verdict::Leave => there() || was_wanted(&set, delta),
            };
        if matters {
            queue.add(Key::of(&*set));
        }
    }
}

fn misscheduled(set: &DaemonSet) -> bool {
    set.status.as_ref().is_some_and(|s| s.number_misscheduled > 0)
}

/// Whether the set wanted to run on the node before it changed: its status counts that.
fn was_wanted(set: &DaemonSet, delta: &Delta<Node>) -> bool {
    let demands = Demands::of(set.spec.as_ref().map(|s| &s.template));
    delta.old().is_some_and(|old| demands.judge(old) == Verdict::Run)
}

impl Controller {
    /// The set's pods, adoptions and releases made.
    async fn pods(&self, key: &Key, set: &DaemonSet) -> Result<Vec<Arc<Pod>>, kube::Error> {
        let store = self.pods.store();
        let mut pods = store.by_index(BY_CONTROLLER, set.metadata.uid.as_deref().unwrap_or(""));
        pods.extend(store.by_index(BY_CONTROLLER, &format!("orphan:{}", key.namespace())));
        claim_selected(&self.executor, key, set, wanted(set), pods).await
    }

    /// The set's revisions, adoptions and releases made.
    async fn revisions(&self, key: &Key, set: &DaemonSet) -> Result<Sorted, kube::Error> {
        let store = self.revisions.store();
        let mut found = store.by_index(BY_CONTROLLER, set.metadata.uid.as_deref().unwrap_or(""));
        found.extend(store.by_index(BY_CONTROLLER, &format!("orphan:{}", key.namespace())));
        let owned = claim_selected(&self.executor, key, set, wanted(set), found).await?;
        Ok(revisions::sort(set, owned))
    }

    /// The hash of the present revision, which is made, renumbered and freed of its doubles where need be.
    async fn present(
        &self,
        key: &Key,
        set: &DaemonSet,
        present: &Present,
        pods: &[Arc<Pod>],
    ) -> Result<String, kube::Error> {
        let (revision, renumber, duplicates) = match present {
            Present::Create(revision) => return self.create_revision(key, set, revision).await,
            Present::Known { revision, renumber, duplicates } => (revision, renumber, duplicates),
        };
        let hash = revisions::label(revision);
        if !duplicates.is_empty() {
            let patch =
                LabelPatch { metadata: LabelMeta { labels: [(super::history::POD_REVISION, hash)].into() } };
            for pod in pods.iter().filter(|p| pods::hash(p) != hash) {
                // Only pods of the doubles: those of other revisions are to be replaced.
                if duplicates.iter().any(|d| revisions::label(d) == pods::hash(pod)) {
                    let name = pod.metadata.name.as_deref().unwrap_or("");
                    let effect = Effect::patch::<Pod>(key.namespace(), name, PatchKind::Merge, &patch);
                    self.executor.apply(key, &effect).await?;
                }
            }
            for double in duplicates {
                self.executor.delete(key, &Effect::delete(&**double)).await?;
            }
        }
        if let Some(changed) = renumber {
            self.executor.apply(key, &super::history::rewrite(changed)).await?;
        }
        Ok(hash.to_owned())
    }

    async fn create_revision(
        &self,
        key: &Key,
        set: &DaemonSet,
        revision: &ControllerRevision,
    ) -> Result<String, kube::Error> {
        let error = match self.executor.apply(key, &super::history::create(revision)).await {
            Ok(_) => return Ok(revisions::label(revision).to_owned()),
            Err(error) => error,
        };
        if !error.is_already_exists() {
            return Err(error);
        }
        let client = self.executor.client();
        let known: Api<ControllerRevision> = Api::namespaced(client.clone(), key.namespace());
        let live = known.get(revision.metadata.name.as_deref().unwrap_or("")).await?;
        if revisions::is_present(set, &live) {
            return Ok(revisions::label(&live).to_owned());
        }
        let sets: Api<DaemonSet> = Api::namespaced(client.clone(), key.namespace());
        let live = sets.get(key.name()).await?;
        let count = |set: &DaemonSet| set.status.as_ref().and_then(|s| s.collision_count);
        if count(&live) != count(set) {
            return Err(failure(&format!(
                "found a stale collision count ({:?}, expected {:?}) of DaemonSet {:?} while processing; will retry until it is updated",
                count(set),
                count(&live),
                key.name()
            )));
        }
        self.executor.apply(key, &Effect::update_status(&revisions::bump_collision(&live))).await?;
        Err(error)
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(set) = self.sets.store().get(key) else {
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        let control = PodControl::new(&self.executor, &self.recorder, key, &*set);
        if wanted(&set).is_none() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            control.event(EventType::Warning, "SelectingAll", message);
            return Ok(Next::Done);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let sorted = self.revisions(key, &set).await?;
        if !sorted.unlabelled.is_empty() {
            for revision in &sorted.unlabelled {
                self.executor.apply(key, &super::history::rewrite(revision)).await?;
            }
            // Their change brings the set back.
            return Ok(Next::Done);
        }
        let pods = self.pods(key, &set).await?;
        let revision = self.present(key, &set, &sorted.present, &pods).await?;
        let snapshot = Snapshot { set: &set, nodes: self.nodes.store().list(), pods, revision: &revision };
        let plan = plan::plan(&snapshot, &mut self.backoff.lock(), now());
        for (kind, reason, message) in plan.events {
            control.event(kind, reason, message);
        }
        let new = |node: &String| Effect::create(&pods::new_pod(&set, node, &revision));
        let created = control.create(&plan.create.iter().map(new).collect::<Vec<_>>()).await;
        let deleted = control.delete(&plan.delete).await;
        let problem = created.or(deleted);
        let mut cleaned = Ok(());
        if problem.is_none() {
            for old in revisions::surplus(&set, &sorted.old, &snapshot.pods) {
                cleaned = cleaned.and(self.executor.delete(key, &Effect::delete(&*old)).await);
            }
        }
        if status::differs(&set, &plan.status) {
            let changed = DaemonSet { status: Some(plan.status), ..DaemonSet::clone(&set) };
            self.executor.apply(key, &Effect::update_status(&changed)).await?;
        }
        match problem {
            Some(words) => Err(failure(&words)),
            None => cleaned.map(|()| plan.next.map_or(Next::Done, Next::After)),
        }
    }
}
