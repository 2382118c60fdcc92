//! The StatefulSet controller's shell.

mod claims;
mod growth;
mod identity;
mod plan;
mod run;
mod status;
#[cfg(test)]
mod tests;
mod update;

use super::history::{self, Revisions, Update};
use super::pod_control::{claim, may_adopt};
use crate::context::{BY_CONTROLLER, Context, now, owner_index};
use gantry_client::error::ApiError;
use gantry_client::events::reference;
use gantry_client::{Delta, EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, ownership, selector};
use growth::Growth;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use parking_lot::Mutex;
use plan::{Revision, Snapshot};
use run::Hand;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

struct Controller {
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    revisions: Informer<ControllerRevision>,
    classes: Informer<StorageClass>,
    executor: Executor,
    recorder: Recorder,
    /// Claims people were told of that cannot grow, with what was said.
    told: Mutex<HashMap<String, String>>,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("statefulset");
    let (sets, pods) = (context.informers.of::<StatefulSet>(), context.pods());
    let claims = context.informers.of::<PersistentVolumeClaim>();
    let revisions = context.informers.of::<ControllerRevision>();
    revisions.index(BY_CONTROLLER, |revision| vec![owner_index(&revision.metadata)]);
    let to = queue.clone();
    sets.on(move |delta| to.add(Key::of(&**delta.object())));
    let (to, known) = (queue.clone(), sets.clone());
    pods.on(move |delta| pod_changed(&to, &known, delta));
    let (to, known) = (queue.clone(), sets.clone());
    claims.on(move |delta| claim_changed(&to, &known, delta));
    let classes = context.informers.of::<StorageClass>();
    let (to, known) = (queue.clone(), sets.clone());
    classes.on(move |delta| {
        let allowed = |c: &StorageClass| c.allow_volume_expansion == Some(true);
        if delta.old().is_some_and(|old| allowed(old) != allowed(delta.object())) {
            known.store().list().iter().filter(|s| growth::asked(s)).for_each(|s| to.add(Key::of(&**s)));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&sets).track(&pods).track(&claims).track(&revisions);
    let controller = Controller {
        sets,
        pods,
        claims,
        revisions,
        classes,
        executor: context.executor("statefulset-controller", barrier.clone()),
        recorder: context.recorder("statefulset-controller", "statefulset-controller"),
        told: Mutex::default(),
    };
    let workers = context.config.args.concurrent_statefulset_syncs;
    context.run("statefulset-controller", workers, controller, queue, barrier);
}

/// Queues the sets a changed pod matters to: its controller, before and after; for an orphan, all that match.
fn pod_changed(queue: &Queue<Key>, sets: &Informer<StatefulSet>, delta: &Delta<Pod>) {
    let new = delta.object();
    let namespace = new.metadata.namespace.as_deref().unwrap_or("");
    for pod in [Some(new), delta.old()].into_iter().flatten() {
        if let Some(owner) = ownership::controller_of(&pod.metadata).filter(|o| o.kind == "StatefulSet") {
            queue.add(Key::new(namespace, &owner.name));
        }
    }
    if delta.is_deleted() || ownership::controller_of(&new.metadata).is_some() {
        return;
    }
    for set in sets.store().list_namespace(namespace) {
        let wanted = set.spec.as_ref().map(|s| &s.selector).filter(|s| !selector::is_empty(s));
        if selector::matches(wanted, new.metadata.labels.as_ref()) {
            queue.add(Key::of(&*set));
        }
    }
}

/// A pod may be waiting for a claim of an earlier one to go, or need it made again; a claim that is bound may grow.
fn claim_changed(queue: &Queue<Key>, sets: &Informer<StatefulSet>, delta: &Delta<PersistentVolumeClaim>) {
    let phase = |c: &PersistentVolumeClaim| c.status.as_ref().and_then(|s| s.phase.clone());
    let bound = delta.old().is_some_and(|old| phase(old) != phase(delta.object()));
    if !delta.is_deleted() && !bound {
        return;
    }
    let meta = &delta.object().metadata;
    let namespace = meta.namespace.as_deref().unwrap_or("");
    let Some((rest, _)) = identity::parse(meta.name.as_deref().unwrap_or("")) else { return };
    for set in sets.store().list_namespace(namespace) {
        let theirs = rest.strip_suffix(identity::name(&set)).is_some_and(|r| r.ends_with('-'));
        if theirs && (delta.is_deleted() || growth::asked(&set)) {
            queue.add(Key::of(&*set));
        }
    }
}

impl Controller {
    /// The set's revisions, orphans adopted, in order.
    async fn revisions(&self, key: &Key, set: &StatefulSet) -> Result<Revisions, kube::Error> {
        let wanted = set.spec.as_ref().map(|s| &s.selector);
        let store = self.revisions.store();
        let mut found = store.by_index(BY_CONTROLLER, set.metadata.uid.as_deref().unwrap_or(""));
        found.extend(store.by_index(BY_CONTROLLER, &format!("orphan:{}", key.namespace())));
        found.retain(|r| selector::matches(wanted, r.metadata.labels.as_ref()));
        let claim = ownership::claim_where(set, found, |_| true);
        if !claim.adopt.is_empty() {
            may_adopt(&self.executor, set).await?;
            self.executor.apply_all(key, &claim.adopt).await?;
        }
        let mut found = claim.owned;
        found.sort_by(history::by_number);
        Ok(found)
    }

    /// The set's pods, adoptions and releases made.
    async fn pods(&self, key: &Key, set: &StatefulSet) -> Result<Vec<Arc<Pod>>, kube::Error> {
        let wanted = set.spec.as_ref().map(|s| &s.selector);
        let store = self.pods.store();
        let mut pods = store.by_index(BY_CONTROLLER, set.metadata.uid.as_deref().unwrap_or(""));
        pods.extend(store.by_index(BY_CONTROLLER, &format!("orphan:{}", key.namespace())));
        let mine = |pod: &Pod| {
            selector::matches(wanted, pod.metadata.labels.as_ref()) && identity::is_member(set, pod)
        };
        claim(&self.executor, key, set, pods, mine).await
    }

    /// The revision of the present template, made or renumbered where it has to be; and the collision count.
    async fn update_revision(
        &self,
        key: &Key,
        set: &StatefulSet,
        revisions: &[Arc<ControllerRevision>],
    ) -> Result<(Arc<ControllerRevision>, i32), kube::Error> {
        let mut collisions = set.status.as_ref().and_then(|s| s.collision_count).unwrap_or(0);
        let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
        match history::update(set, &template, revisions, collisions) {
            Update::Newest(revision) => Ok((revision, collisions)),
            Update::Renumber(revision) => {
                self.executor.apply(key, &history::rewrite(&revision)).await?;
                Ok((Arc::from(revision), collisions))
            }
            Update::Create(mut revision) => loop {
                match self.executor.apply(key, &history::create(&revision)).await {
                    Ok(_) => return Ok((Arc::from(revision), collisions)),
                    Err(error) if error.is_already_exists() => {
                        let api: Api<ControllerRevision> =
                            Api::namespaced(self.executor.client().clone(), key.namespace());
                        let live = api.get(revision.metadata.name.as_deref().unwrap_or("")).await?;
                        if live.data == revision.data {
                            return Ok((Arc::new(live), collisions));
                        }
                        collisions += 1;
                        history::rename(&mut revision, identity::name(set), collisions);
                    }
                    Err(error) => return Err(error),
                }
            },
        }
    }

    /// Those that exist of the claims of present and wanted pods.
    fn claims(
        &self,
        key: &Key,
        set: &StatefulSet,
        pods: &[Arc<Pod>],
    ) -> HashMap<String, Arc<PersistentVolumeClaim>> {
        let templates = claims::templates(set);
        let mut ordinals = HashSet::new();
        if !templates.is_empty() {
            let first = identity::start(set);
            ordinals.extend((0..identity::replicas(set)).map(|index| first.saturating_add(index)));
            ordinals.extend(pods.iter().filter_map(|p| identity::ordinal(p)));
        }
        let names = ordinals
            .into_iter()
            .flat_map(|ordinal| templates.iter().map(move |t| claims::claim_name(set, t, ordinal)));
        let store = self.claims.store();
        names.filter_map(|name| store.get(&Key::new(key.namespace(), &name)).map(|c| (name, c))).collect()
    }

    /// Raises claims to what their templates request by now, where the set asks for it.
    async fn grow(&self, key: &Key, set: &StatefulSet, snapshot: &Snapshot<'_>) -> Result<(), kube::Error> {
        if !growth::asked(set) {
            return Ok(());
        }
        let expandable = |class: &str| {
            let class = self.classes.store().get(&Key::new("", class));
            class.is_some_and(|c| c.allow_volume_expansion == Some(true))
        };
        for (name, claim) in &snapshot.claims {
            let Some(template) = growth::template_of(set, name) else { continue };
            match growth::growth(template, claim, expandable) {
                None => _ = self.told.lock().remove(&format!("{}/{name}", key.namespace())),
                Some(Growth::Raise(raised)) => {
                    self.executor.apply(key, &Effect::update(&raised)).await?;
                }
                Some(Growth::Refused(words)) => {
                    let name = format!("{}/{name}", key.namespace());
                    if self.told.lock().insert(name, words.clone()).as_ref() != Some(&words) {
                        self.recorder.event(&reference(set), EventType::Warning, "CannotGrowClaim", words);
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes revisions that are of no use any more.
    async fn truncate(
        &self,
        key: &Key,
        set: &StatefulSet,
        revisions: &[Arc<ControllerRevision>],
        snapshot: &Snapshot<'_>,
    ) -> Result<(), kube::Error> {
        let Some(limit) = set.spec.as_ref().and_then(|s| s.revision_history_limit) else { return Ok(()) };
        let mut live: HashSet<&str> = snapshot.pods.iter().map(|p| identity::revision(p)).collect();
        live.extend([snapshot.current.name.as_str(), snapshot.update.name.as_str()]);
        for revision in history::surplus(revisions, &live, limit) {
            self.executor.delete(key, &Effect::delete(&*revision)).await?;
        }
        Ok(())
    }
}

fn revision_of(set: &StatefulSet, revision: &ControllerRevision) -> Revision {
    let own = || set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    Revision {
        name: revision.metadata.name.clone().unwrap_or_default(),
        template: history::template(revision).unwrap_or_else(own),
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(set) = self.sets.store().get(key) else {
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        let revisions = self.revisions(key, &set).await?;
        let pods = self.pods(key, &set).await?;
        let (update, collisions) = self.update_revision(key, &set, &revisions).await?;
        let wanted = set.status.as_ref().and_then(|s| s.current_revision.as_deref()).unwrap_or("");
        let current = revisions.iter().find(|r| r.metadata.name.as_deref() == Some(wanted));
        let snapshot = Snapshot {
            claims: self.claims(key, &set, &pods),
            set: &set,
            current: revision_of(&set, current.unwrap_or(&update)),
            update: revision_of(&set, &update),
            pods,
            collisions,
        };
        let plan = plan::plan(&snapshot, now());
        let hand = Hand::new(&self.executor, &self.recorder, key, &set);
        let (rolled, result) = hand.run(&plan.phases).await;
        let status = status::finish(&set, plan.status, rolled);
        let mut written = Ok(());
        if status::differs(&set, &status) {
            let changed = StatefulSet { status: Some(status), ..StatefulSet::clone(&set) };
            written = self.executor.apply(key, &Effect::update_status(&changed)).await.map(drop);
        }
        let grown = self.grow(key, &set, &snapshot).await;
        let truncated = self.truncate(key, &set, &revisions, &snapshot).await;
        result.and(written).and(grown).and(truncated)?;
        Ok(plan.next.map_or(Next::Done, Next::After))
    }
}
