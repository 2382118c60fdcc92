//! What a stateful set does next: which pods and claims it makes, mends and deletes, and in which order.

use super::claims::{self, PodRef};
use super::identity;
use super::status::{self, is_available, is_running_and_ready};
use super::update;
use gantry_reconcile::conditions;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A revision of the set's template.
#[derive(Clone, Debug, Default)]
pub(super) struct Revision {
    pub name: String,
    pub template: PodTemplateSpec,
}

/// What a decision needs.
pub(super) struct Snapshot<'a> {
    pub set: &'a StatefulSet,
    /// The set's pods, in any order.
    pub pods: Vec<Arc<Pod>>,
    /// Those that exist of the claims of its pods, present and wanted, by name.
    pub claims: HashMap<String, Arc<PersistentVolumeClaim>>,
    pub current: Revision,
    pub update: Revision,
    pub collisions: i32,
}

/// A claim that a pod lacks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ClaimStep {
    Create(Box<PersistentVolumeClaim>),
    /// It is being deleted: the pod has to wait.
    Going(String),
}

/// A claim whose owners are to be looked after.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OwnerStep {
    pub claim: String,
    /// Somebody else manages it: to be told.
    pub conflicting: bool,
    pub update: Option<Box<PersistentVolumeClaim>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// Nothing but the claims.
    None,
    Create(Box<Pod>),
    /// Gives the pod its identity back, and its volumes where `storage` says so.
    Mend {
        pod: Arc<Pod>,
        storage: bool,
    },
    Delete(Arc<Pod>),
}

/// What is done for one pod: its claims, the act, the claims' owners. The first failure ends it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    pub pod: String,
    pub ordinal: i32,
    pub claims: Vec<ClaimStep>,
    pub act: Act,
    pub owners: Vec<OwnerStep>,
}

impl Task {
    fn new(pod: &str, ordinal: i32, act: Act) -> Self {
        Self { pod: pod.to_owned(), ordinal, claims: Vec::new(), act, owners: Vec::new() }
    }
}

/// Tasks that are done before those of the next phase. A failure ends the plan.
#[derive(Debug, PartialEq)]
pub(super) struct Phase {
    /// In growing batches at once; else one after the other.
    pub burst: bool,
    /// Deletions of a rolling update, each of which takes a current replica.
    pub rolling: bool,
    pub tasks: Vec<Task>,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub phases: Vec<Phase>,
    /// Before the rolling update's deletions.
    pub status: StatefulSetStatus,
    pub next: Option<Duration>,
}

/// A place in the set, with or without a pod.
pub(super) struct Replica<'a> {
    pub ordinal: i32,
    pub pod: Option<&'a Arc<Pod>>,
    /// The revision of its pod, or of the one to be made.
    pub revision: &'a str,
    /// Its pod is being deleted by this plan.
    pub leaving: bool,
}

impl Replica<'_> {
    pub(super) fn is_terminating(&self) -> bool {
        self.leaving || self.pod.is_some_and(|p| p.metadata.deletion_timestamp.is_some())
    }

    pub(super) fn is_unavailable(&self, min_ready: i32, now: Timestamp) -> bool {
        self.is_terminating() || !self.pod.is_some_and(|p| is_available(p, min_ready, now))
    }
}

/// Whether pods are made and deleted without waiting for each other.
fn is_parallel(set: &StatefulSet) -> bool {
    set.spec.as_ref().and_then(|s| s.pod_management_policy.as_deref()) == Some("Parallel")
}

/// The next steps. Pods are looked at in the order of their ordinals; unless the set is parallel, the first
/// that needs something or is not yet available is also the last.
pub(super) fn plan(snapshot: &Snapshot<'_>, now: Timestamp) -> Plan {
    let set = snapshot.set;
    let min_ready = set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
    if set.metadata.deletion_timestamp.is_some() {
        let status = status::of(snapshot, &snapshot.pods, now);
        return Plan { phases: Vec::new(), next: status::next_look(snapshot, &status, now), status };
    }
    let (mut replicas, condemned) = places(snapshot);
    let counted: Vec<_> =
        replicas.iter().filter_map(|r| r.pod).chain(condemned.iter().map(|(_, p)| *p)).cloned().collect();
    let status = status::of(snapshot, &counted, now);
    let next = status::next_look(snapshot, &status, now);
    let mut planning =
        Planning { snapshot, ordered: !is_parallel(set), min_ready, now, phases: Vec::new(), stopped: false };
    // The one pod that may be scaled away although it is not available.
    let unavailable = |p: &Pod| p.metadata.deletion_timestamp.is_some() || !is_available(p, min_ready, now);
    let broken = match replicas.iter().find(|r| r.is_unavailable(min_ready, now)) {
        Some(replica) => Some(replica.ordinal),
        None => condemned.iter().rev().find(|(_, p)| unavailable(p)).map(|(ordinal, _)| *ordinal),
    };
    planning.keep(&mut replicas);
    planning.settle_claims(&condemned);
    planning.condemn(&condemned, broken);
    if !planning.stopped {
        let tasks = update::deletions(set, &replicas, &snapshot.update.name, min_ready, now);
        let tasks = tasks.into_iter().map(|(ordinal, pod)| delete(ordinal, pod)).collect();
        planning.phase(false, true, tasks);
    }
    Plan { phases: planning.phases, status, next }
}

/// The wanted places in order, and the pods beyond them with their ordinals, highest first.
fn places<'a>(snapshot: &'a Snapshot<'_>) -> (Vec<Replica<'a>>, Vec<(i32, &'a Arc<Pod>)>) {
    let set = snapshot.set;
    let by_ordinal: HashMap<i32, &Arc<Pod>> =
        snapshot.pods.iter().filter_map(|p| identity::ordinal(p).map(|o| (o, p))).collect();
    let first = identity::start(set);
    let replicas = (0..identity::replicas(set)).map(|index| {
        let ordinal = first.saturating_add(index);
        let pod = by_ordinal.get(&ordinal).copied();
        let made = || if update::makes_current(set, ordinal) { &snapshot.current } else { &snapshot.update };
        let revision = pod.map_or_else(|| made().name.as_str(), |p| identity::revision(p));
        Replica { ordinal, pod, revision, leaving: false }
    });
    let replicas = replicas.collect();
    let mut condemned: Vec<_> =
        by_ordinal.into_iter().filter(|(ordinal, _)| !identity::in_range(set, *ordinal)).collect();
    condemned.sort_by_key(|(ordinal, _)| Reverse(*ordinal));
    (replicas, condemned)
}

fn delete(ordinal: i32, pod: &Arc<Pod>) -> Task {
    Task::new(identity::pod_name(pod), ordinal, Act::Delete(pod.clone()))
}

/// A plan being made.
struct Planning<'a> {
    snapshot: &'a Snapshot<'a>,
    ordered: bool,
    min_ready: i32,
    now: Timestamp,
    phases: Vec<Phase>,
    /// Nothing more may follow this time.
    stopped: bool,
}

impl Planning<'_> {
    fn phase(&mut self, burst: bool, rolling: bool, tasks: Vec<Task>) {
        if !tasks.is_empty() {
            self.phases.push(Phase { burst, rolling, tasks });
        }
    }

    /// Makes and mends the wanted pods.
    fn keep(&mut self, replicas: &mut [Replica<'_>]) {
        let mut tasks = Vec::new();
        for replica in replicas {
            let (task, last) = self.keep_one(replica);
            replica.leaving = matches!(&task, Some(Task { act: Act::Delete(_), .. }));
            tasks.extend(task);
            if last && self.ordered {
                self.stopped = true;
                break;
            }
        }
        self.phase(!self.ordered, false, tasks);
    }

    /// What a place needs, and whether an ordered set goes no further.
    fn keep_one(&self, replica: &Replica<'_>) -> (Option<Task>, bool) {
        let (set, ordinal) = (self.snapshot.set, replica.ordinal);
        let Some(pod) = replica.pod else { return (self.create(replica), true) };
        let going = pod.metadata.deletion_timestamp.is_some();
        if conditions::is_terminal(pod) {
            return ((!going).then(|| delete(ordinal, pod)), true);
        }
        let about = PodRef::of(pod, ordinal);
        let mut task = Task::new(about.name, ordinal, Act::None);
        if matches!(conditions::phase(pod), "Pending" | "") {
            task.claims = self.missing_claims(ordinal);
            task.owners = self.owners(about);
        }
        let waits = going || !is_running_and_ready(pod) || !is_available(pod, self.min_ready, self.now);
        if !(waits && self.ordered) {
            let storage = !identity::storage_matches(set, pod, ordinal);
            let settled = self.claims_of(ordinal).all(|c| claims::is_up_to_date(&c, set, about));
            if storage || !settled || !identity::identity_matches(pod) {
                if storage {
                    task.claims = self.missing_claims(ordinal);
                }
                task.owners = self.owners(about);
                task.act = Act::Mend { pod: pod.clone(), storage };
            }
        }
        let idle = task.act == Act::None && task.claims.is_empty() && task.owners.is_empty();
        ((!idle).then_some(task), waits)
    }

    fn create(&self, replica: &Replica<'_>) -> Option<Task> {
        let (set, ordinal) = (self.snapshot.set, replica.ordinal);
        let of_current = replica.revision == self.snapshot.current.name;
        let revision = if of_current { &self.snapshot.current } else { &self.snapshot.update };
        let pod = identity::new_pod(set, &revision.template, &revision.name, ordinal);
        let about = PodRef::of(&pod, ordinal);
        if self.claims_of(ordinal).any(|c| claims::must_wait(set, &c, about)) {
            return None;
        }
        let mut task = Task::new(about.name, ordinal, Act::None);
        task.claims = self.missing_claims(ordinal);
        task.owners = self.owners(about);
        task.act = Act::Create(Box::new(pod));
        Some(task)
    }

    fn claims_of(&self, ordinal: i32) -> impl Iterator<Item = Arc<PersistentVolumeClaim>> {
        let set = self.snapshot.set;
        let found = move |t| self.snapshot.claims.get(&claims::claim_name(set, t, ordinal)).cloned();
        claims::templates(set).iter().filter_map(found)
    }

    fn missing_claims(&self, ordinal: i32) -> Vec<ClaimStep> {
        let set = self.snapshot.set;
        let step = |template| {
            let name = claims::claim_name(set, template, ordinal);
            match self.snapshot.claims.get(&name) {
                None => Some(ClaimStep::Create(Box::new(claims::new_claim(set, template, ordinal)))),
                Some(claim) if claim.metadata.deletion_timestamp.is_some() => Some(ClaimStep::Going(name)),
                Some(_) => None,
            }
        };
        claims::templates(set).iter().filter_map(step).collect()
    }

    fn owners(&self, pod: PodRef<'_>) -> Vec<OwnerStep> {
        let set = self.snapshot.set;
        let step = |claim: Arc<PersistentVolumeClaim>| {
            let conflicting = claims::has_unexpected_controller(&claim, set, pod);
            let update = (!claims::is_up_to_date(&claim, set, pod))
                .then(|| Box::new(claims::with_owners(&claim, set, pod)));
            let claim = claim.metadata.name.clone().unwrap_or_default();
            (conflicting || update.is_some()).then_some(OwnerStep { claim, conflicting, update })
        };
        self.claims_of(pod.ordinal).filter_map(step).collect()
    }

    /// Gives the claims of pods to be scaled away the owners the retention policy wants.
    fn settle_claims(&mut self, condemned: &[(i32, &Arc<Pod>)]) {
        if self.stopped {
            return;
        }
        let mut tasks = Vec::new();
        for (ordinal, pod) in condemned {
            let about = PodRef::of(pod, *ordinal);
            let mut task = Task::new(about.name, *ordinal, Act::None);
            if !self.claims_of(*ordinal).all(|c| claims::is_up_to_date(&c, self.snapshot.set, about)) {
                task.owners = self.owners(about);
                tasks.push(task);
            }
        }
        self.phase(!self.ordered, false, tasks);
    }

    /// Scales away, the highest ordinal first. An ordered set waits for pods to be available before one goes,
    /// but for the one that is `broken` first of all.
    fn condemn(&mut self, condemned: &[(i32, &Arc<Pod>)], broken: Option<i32>) {
        if self.stopped {
            return;
        }
        let mut tasks = Vec::new();
        for (ordinal, pod) in condemned {
            let going = pod.metadata.deletion_timestamp.is_some();
            let healthy = is_running_and_ready(pod) && is_available(pod, self.min_ready, self.now);
            if !going && (!self.ordered || healthy || broken == Some(*ordinal)) {
                tasks.push(delete(*ordinal, pod));
            }
            if self.ordered {
                self.stopped = true;
                break;
            }
        }
        self.phase(!self.ordered, false, tasks);
    }
}
