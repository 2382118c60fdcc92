//! One step of a deployment towards its spec.

use super::rolling::{self, by_creation};
use super::{annotations, status};
use crate::workloads::hash;
use crate::workloads::intstr::scaled;
use gantry_client::EventType;
use gantry_reconcile::{conditions, ownership, selector};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::ObjectMeta;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const HASH_LABEL: &str = "pod-template-hash";

/// What a decision needs.
pub(super) struct Snapshot {
    pub deployment: Arc<Deployment>,
    /// The sets it controls.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// Pods by their set's uid.
    pub pods: HashMap<String, Vec<Arc<Pod>>>,
}

/// A write, with what is told about it.
#[derive(Debug)]
pub(super) enum Step {
    CreateSet { set: Box<ReplicaSet>, created: Box<Deployment> },
    UpdateSet { set: Box<ReplicaSet>, message: Option<String> },
    DeleteSet(Arc<ReplicaSet>),
    UpdateStatus(Box<Deployment>),
    Update(Box<Deployment>),
    Event { kind: EventType, reason: &'static str, message: String },
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub next: Option<Duration>,
}

impl Plan {
    fn one(step: Step) -> Self {
        Self { steps: vec![step], next: None }
    }
}

/// The numbers a rollout is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub replicas: i32,
    pub max_surge: i32,
    pub max_unavailable: i32,
}

impl Sizes {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let replicas = replicas(deployment);
        if !is_rolling(deployment) {
            return Self { replicas, max_surge: 0, max_unavailable: 0 };
        }
        let rolling = deployment.spec.as_ref().and_then(|s| s.strategy.as_ref()?.rolling_update.as_ref());
        let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), replicas, true);
        let mut unavailable = scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), replicas, false);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self {
            replicas,
            max_surge: surge,
            max_unavailable: if replicas == 0 { 0 } else { unavailable.min(replicas) },
        }
    }

    pub(super) fn max_total(&self) -> i32 {
        self.replicas + self.max_surge
    }
}

pub(super) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    let kind = deployment.spec.as_ref().and_then(|s| s.strategy.as_ref()?.type_.as_deref());
    kind.unwrap_or("RollingUpdate") == "RollingUpdate"
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut copy = template.clone();
    if let Some(meta) = &mut copy.metadata {
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        for map in [&mut meta.labels, &mut meta.annotations] {
            if map.as_ref().is_some_and(|m| m.is_empty()) {
                *map = None;
            }
        }
        meta.creation_timestamp = None;
    }
    copy.metadata = copy.metadata.filter(|m| *m != ObjectMeta::default());
    copy
}

/// Whether a set's pods are what the deployment wants now.
pub(super) fn same_template(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = deployment.spec.as_ref().map(|s| without_hash(&s.template)).unwrap_or_default();
    set.spec.as_ref().and_then(|s| s.template.as_ref()).is_some_and(|t| without_hash(t) == wanted)
}

/// The name of the deployment's template.
pub(super) fn hash(deployment: &Deployment) -> String {
    let collisions = deployment.status.as_ref().and_then(|s| s.collision_count);
    hash::of(deployment.spec.as_ref().map(|s| &s.template), collisions)
}

/// The deployment with its collision count raised by one, so that the next hash differs.
pub(super) fn bump_collision(deployment: &Deployment) -> Deployment {
    let mut changed = deployment.clone();
    let status = changed.status.get_or_insert_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
    changed
}

/// The sets, told apart.
pub(super) struct Sets {
    pub newest: Option<Arc<ReplicaSet>>,
    pub old: Vec<Arc<ReplicaSet>>,
}

impl Sets {
    /// Of several equal templates the oldest set counts as the new one.
    fn of(snapshot: &Snapshot) -> Self {
        let mut sets = snapshot.sets.clone();
        sets.sort_by(by_creation);
        let newest = sets.iter().position(|s| same_template(&snapshot.deployment, s)).map(|i| sets.remove(i));
        Self { newest, old: sets }
    }

    pub(super) fn all(&self) -> Vec<Arc<ReplicaSet>> {
        self.old.iter().chain(&self.newest).cloned().collect()
    }

    fn next_revision(&self) -> i64 {
        self.old.iter().filter_map(|s| annotations::revision(s)).max().unwrap_or(0) + 1
    }
}

/// The next step. Each write brings the deployment back, so a plan may end after the first.
pub(super) fn plan(snapshot: &Snapshot, now: Timestamp) -> Plan {
    let deployment = &*snapshot.deployment;
    let Some(spec) = &deployment.spec else { return Plan::default() };
    if selector::is_empty(&spec.selector) {
        return selecting_all(deployment);
    }
    let sets = Sets::of(snapshot);
    let newest = sets.newest.as_deref();
    if deployment.metadata.deletion_timestamp.is_some() {
        return finish(deployment, status::calculate(deployment, &sets.all(), newest, now), Plan::default());
    }
    if let Some(step) = paused_condition(deployment, now) {
        return Plan::one(step);
    }
    if let Some(step) = newest.and_then(|set| refresh_newest(deployment, &sets, set, now)) {
        return Plan::one(step);
    }
    let paused = spec.paused.unwrap_or(false);
    if !paused && let Some(plan) = rollback(deployment, &sets, now) {
        return plan;
    }
    if paused || is_scaling(deployment, &sets) {
        let mut plan = Plan { steps: rolling::scale(deployment, &sets), next: None };
        if paused {
            plan.steps.extend(cleanup(deployment, &sets.old));
        }
        return finish(deployment, status::calculate(deployment, &sets.all(), newest, now), plan);
    }
    if is_rolling(deployment) { roll(deployment, &sets, now) } else { recreate(snapshot, &sets, now) }
}

fn selecting_all(deployment: &Deployment) -> Plan {
    let mut plan = Plan::one(Step::Event {
        kind: EventType::Warning,
        reason: "SelectingAll",
        message: "This deployment is selecting all pods. A non-empty selector is required.".into(),
    });
    let mut seen = status::of(deployment);
    if seen.observed_generation < deployment.metadata.generation {
        seen.observed_generation = deployment.metadata.generation;
        plan.steps.extend(status_step(deployment, seen));
    }
    plan
}

fn status_step(deployment: &Deployment, new: k8s_openapi::api::apps::v1::DeploymentStatus) -> Option<Step> {
    if deployment.status.as_ref() == Some(&new) {
        return None;
    }
    let mut changed = deployment.clone();
    changed.status = Some(new);
    Some(Step::UpdateStatus(Box::new(changed)))
}

fn finish(
    deployment: &Deployment,
    new: k8s_openapi::api::apps::v1::DeploymentStatus,
    mut plan: Plan,
) -> Plan {
    plan.steps.extend(status_step(deployment, new));
    plan
}

/// As [`finish`], with the rollout's conditions and its deadline.
fn finish_rollout(deployment: &Deployment, sets: &Sets, now: Timestamp, mut plan: Plan) -> Plan {
    let new = status::rollout(deployment, &sets.all(), sets.newest.as_deref(), now);
    plan.next = status::next_look(deployment, &new, now);
    finish(deployment, new, plan)
}

fn paused_condition(deployment: &Deployment, now: Timestamp) -> Option<Step> {
    status::deadline(deployment)?;
    let mut new = status::of(deployment);
    let reason = status::get(&new, status::PROGRESSING).and_then(|c| c.reason.as_deref());
    if reason == Some(status::TIMED_OUT) {
        return None;
    }
    let paused = deployment.spec.as_ref().and_then(|s| s.paused).unwrap_or(false);
    let (reason, message) = match (paused, reason == Some("DeploymentPaused")) {
        (true, false) => ("DeploymentPaused", "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return None,
    };
    status::set(&mut new, status::condition(status::PROGRESSING, "Unknown", reason, message, now));
    status_step(deployment, new)
}

/// Brings the newest set's annotations and the deployment's revision up to date.
fn refresh_newest(deployment: &Deployment, sets: &Sets, newest: &ReplicaSet, now: Timestamp) -> Option<Step> {
    let mut set = newest.clone();
    let annotated = annotations::set_newest(deployment, &mut set, sets.next_revision());
    let min_ready = |m: Option<i32>| m.unwrap_or(0);
    let wanted = deployment.spec.as_ref().and_then(|s| s.min_ready_seconds);
    let spec = set.spec.get_or_insert_default();
    let delayed = min_ready(spec.min_ready_seconds) != min_ready(wanted);
    if annotated || delayed {
        spec.min_ready_seconds = wanted;
        return Some(Step::UpdateSet { set: Box::new(set), message: None });
    }
    let mut changed = deployment.clone();
    let revision = set
        .metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get(annotations::REVISION))
        .cloned()
        .unwrap_or_default();
    let own = changed.metadata.annotations.get_or_insert_default();
    let mut needed = own.get(annotations::REVISION).map(String::as_str).unwrap_or("") != revision;
    own.insert(annotations::REVISION.into(), revision);
    let mut new = status::of(deployment);
    if status::deadline(deployment).is_some() && status::get(&new, status::PROGRESSING).is_none() {
        let message = format!("Found new replica set {:?}", set.metadata.name.as_deref().unwrap_or(""));
        status::set(
            &mut new,
            status::condition(status::PROGRESSING, "True", "FoundNewReplicaSet", &message, now),
        );
        needed = true;
    }
    changed.status = Some(new);
    needed.then(|| Step::UpdateStatus(Box::new(changed)))
}

fn create_newest(deployment: &Deployment, sets: &Sets, now: Timestamp) -> Step {
    let hash = hash(deployment);
    let spec = deployment.spec.clone().unwrap_or_default();
    let own = deployment.metadata.name.as_deref().unwrap_or("");
    let name = format!("{}-{hash}", &own[..own.len().min(253 - 1 - hash.len())]);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    let labels = labels.clone();
    let mut wanted = spec.selector;
    wanted.match_labels.get_or_insert_default().insert(HASH_LABEL.into(), hash);
    let sizes = Sizes::of(deployment);
    let size = rolling::newest_size(deployment, &sets.old, 0);
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: deployment.metadata.namespace.clone(),
            owner_references: Some(vec![ownership::controller_ref(deployment)]),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(size),
            min_ready_seconds: spec.min_ready_seconds,
            selector: wanted,
            template: Some(template),
        }),
        status: None,
    };
    let revision = sets.next_revision();
    annotations::set_newest(deployment, &mut set, revision);
    annotations::set_sizes(&mut set, sizes.replicas, sizes.max_total());
    let mut created = deployment.clone();
    created
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(annotations::REVISION.into(), revision.to_string());
    let mut new = status::of(deployment);
    if status::deadline(deployment).is_some() {
        let message = format!("Created new replica set {name:?}");
        status::set(
            &mut new,
            status::condition(status::PROGRESSING, "True", "NewReplicaSetCreated", &message, now),
        );
    }
    created.status = Some(new);
    Step::CreateSet { set: Box::new(set), created: Box::new(created) }
}

/// The deprecated way to roll back: an annotation with the revision, 0 for the one before.
fn rollback(deployment: &Deployment, sets: &Sets, now: Timestamp) -> Option<Plan> {
    let text = deployment.metadata.annotations.as_ref()?.get(annotations::ROLLBACK_TO)?;
    let mut revision: i64 = text.parse().ok()?;
    if sets.newest.is_none() {
        return Some(Plan::one(create_newest(deployment, sets, now)));
    }
    let mut changed = deployment.clone();
    if let Some(own) = &mut changed.metadata.annotations {
        own.remove(annotations::ROLLBACK_TO);
    }
    let all = sets.all();
    let mut known: Vec<i64> = all.iter().filter_map(|s| annotations::revision(s)).collect();
    known.sort_unstable();
    let warn = |reason, message: String| Step::Event { kind: EventType::Warning, reason, message };
    let mut steps = Vec::new();
    if revision == 0 {
        revision = known.iter().rev().nth(1).copied().unwrap_or(0);
    }
    match all.iter().find(|s| annotations::revision(s) == Some(revision)) {
        _ if revision == 0 => {
            steps.push(warn("DeploymentRollbackRevisionNotFound", "Unable to find last revision.".into()));
        }
        None => steps.push(warn(
            "DeploymentRollbackRevisionNotFound",
            "Unable to find the revision to rollback to.".into(),
        )),
        Some(set) if same_template(deployment, set) => steps.push(warn(
            "DeploymentRollbackTemplateUnchanged",
            format!(
                "The rollback revision contains the same template as current deployment {:?}",
                deployment.metadata.name.as_deref().unwrap_or("")
            ),
        )),
        Some(set) => {
            let template = set.spec.as_ref().and_then(|s| s.template.as_ref()).map(without_hash);
            changed.spec.get_or_insert_default().template = template.unwrap_or_default();
            annotations::take_back(&mut changed, set);
            let name = deployment.metadata.name.as_deref().unwrap_or("");
            steps.push(Step::Event {
                kind: EventType::Normal,
                reason: "DeploymentRollback",
                message: format!("Rolled back deployment {name:?} to revision {revision}"),
            });
        }
    }
    if let Some(own) = &mut changed.metadata.annotations {
        own.remove(annotations::ROLLBACK_TO);
    }
    steps.insert(0, Step::Update(Box::new(changed)));
    Some(Plan { steps, next: None })
}

/// Whether some set with pods was sized for another number of replicas.
fn is_scaling(deployment: &Deployment, sets: &Sets) -> bool {
    let wanted = replicas(deployment);
    sets.all().iter().filter(|s| size(s) > 0).filter_map(|s| annotations::desired(s)).any(|d| d != wanted)
}

fn roll(deployment: &Deployment, sets: &Sets, now: Timestamp) -> Plan {
    let Some(newest) = &sets.newest else { return Plan::one(create_newest(deployment, sets, now)) };
    let mut plan = Plan::default();
    plan.steps.extend(rolling::grow_newest(deployment, sets, newest));
    if plan.steps.is_empty() {
        plan.steps = rolling::shrink_old(deployment, sets, newest);
    }
    if plan.steps.is_empty() && status::complete(deployment, &status::of(deployment)) {
        plan.steps = cleanup(deployment, &sets.old);
    }
    finish_rollout(deployment, sets, now, plan)
}

fn recreate(snapshot: &Snapshot, sets: &Sets, now: Timestamp) -> Plan {
    let deployment = &*snapshot.deployment;
    let steps: Vec<_> = sets.old.iter().filter_map(|s| rolling::resize(deployment, s, 0, false)).collect();
    if !steps.is_empty() {
        return finish_rollout(deployment, sets, now, Plan { steps, next: None });
    }
    let newest_uid = sets.newest.as_ref().and_then(|s| s.metadata.uid.clone());
    let old_pods = sets.old.iter().any(|s| s.status.as_ref().is_some_and(|s| s.replicas > 0))
        || snapshot
            .pods
            .iter()
            .filter(|(uid, _)| Some(*uid) != newest_uid.as_ref())
            .any(|(_, pods)| pods.iter().any(|p| !conditions::is_terminal(p)));
    if old_pods {
        return finish_rollout(deployment, sets, now, Plan::default());
    }
    let Some(newest) = &sets.newest else { return Plan::one(create_newest(deployment, sets, now)) };
    let mut plan = Plan::default();
    plan.steps.extend(rolling::resize(deployment, newest, replicas(deployment), false));
    if status::complete(deployment, &status::of(deployment)) {
        plan.steps.extend(cleanup(deployment, &sets.old));
    }
    finish_rollout(deployment, sets, now, plan)
}

/// Old, empty sets beyond the history limit, oldest revision first.
fn cleanup(deployment: &Deployment, old: &[Arc<ReplicaSet>]) -> Vec<Step> {
    let limit = deployment.spec.as_ref().and_then(|s| s.revision_history_limit).filter(|l| *l != i32::MAX);
    let Some(limit) = limit else { return Vec::new() };
    let mut sets: Vec<_> = old.iter().filter(|s| s.metadata.deletion_timestamp.is_none()).cloned().collect();
    let surplus = sets.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    sets.sort_by(|a, b| {
        annotations::revision(a).cmp(&annotations::revision(b)).then_with(|| by_creation(a, b))
    });
    let empty = |s: &ReplicaSet| {
        let status = s.status.as_ref();
        size(s) == 0
            && status.is_none_or(|s| s.replicas == 0)
            && s.metadata.generation <= status.and_then(|s| s.observed_generation)
    };
    sets.into_iter().take(surplus).filter(|s| empty(s)).map(Step::DeleteSet).collect()
}
