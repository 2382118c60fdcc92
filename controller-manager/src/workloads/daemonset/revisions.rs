//! A daemon set's revisions: which one is the present template, and which may go.

use super::pods;
use crate::workloads::hash;
use crate::workloads::history::{self, POD_REVISION, Revisions};
use gantry_reconcile::ownership;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::ObjectMeta;
use std::collections::HashSet;
use std::sync::Arc;

/// The revisions, told apart.
#[derive(Debug)]
pub(super) struct Sorted {
    /// Without the label by which pods name them: to be written so before anything else.
    pub unlabelled: Vec<ControllerRevision>,
    pub present: Present,
    /// Of other templates, in order.
    pub old: Revisions,
}

#[derive(Debug)]
pub(super) enum Present {
    /// None holds the template: this one is to be made.
    Create(Box<ControllerRevision>),
    Known {
        revision: Arc<ControllerRevision>,
        /// It is not the newest (a rollback): as it is to be written.
        renumber: Option<Box<ControllerRevision>>,
        /// Others that hold the same; their pods are to be given this one's hash.
        duplicates: Revisions,
    },
}

/// The name by which pods call a revision.
pub(super) fn label(revision: &ControllerRevision) -> &str {
    let labels = revision.metadata.labels.as_ref();
    labels.and_then(|l| l.get(POD_REVISION)).map_or("", String::as_str)
}

fn template(set: &DaemonSet) -> PodTemplateSpec {
    set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default()
}

/// Whether a revision holds the set's template.
pub(super) fn is_present(set: &DaemonSet, revision: &ControllerRevision) -> bool {
    history::holds(revision, &template(set))
}

pub(super) fn sort(set: &DaemonSet, mut revisions: Revisions) -> Sorted {
    revisions.sort_by(history::by_number);
    let unlabelled = revisions.iter().filter(|r| label(r).is_empty()).map(|r| labelled(r)).collect();
    let template = template(set);
    let (mut same, old): (Revisions, Revisions) =
        revisions.into_iter().partition(|r| history::holds(r, &template));
    let next = old.last().map_or(1, |r| r.revision + 1);
    let present = match same.pop() {
        None => Present::Create(Box::new(create(set, &template, next))),
        Some(revision) => {
            let renumber = (revision.revision < next).then(|| {
                let mut changed = ControllerRevision::clone(&revision);
                changed.revision = next;
                Box::new(changed)
            });
            Present::Known { revision, renumber, duplicates: same }
        }
    };
    Sorted { unlabelled, present, old }
}

fn labelled(revision: &ControllerRevision) -> ControllerRevision {
    let mut changed = revision.clone();
    let name = revision.metadata.name.clone().unwrap_or_default();
    changed.metadata.labels.get_or_insert_default().insert(POD_REVISION.into(), name);
    changed
}

fn create(set: &DaemonSet, template: &PodTemplateSpec, number: i64) -> ControllerRevision {
    let collisions = set.status.as_ref().and_then(|s| s.collision_count);
    let hash = hash::of(Some(template), collisions);
    let mut labels = template.metadata.as_ref().and_then(|m| m.labels.as_ref()).cloned().unwrap_or_default();
    labels.insert(POD_REVISION.into(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(history::name(set.metadata.name.as_deref().unwrap_or(""), &hash)),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: set.metadata.annotations.clone(),
            owner_references: Some(vec![ownership::controller_ref(set)]),
            ..ObjectMeta::default()
        },
        data: Some(history::data(template)),
        revision: number,
    }
}

/// Old revisions beyond the limit that no pod is of, oldest first.
pub(super) fn surplus(set: &DaemonSet, old: &[Arc<ControllerRevision>], pods: &[Arc<Pod>]) -> Revisions {
    let Some(limit) = set.spec.as_ref().and_then(|s| s.revision_history_limit) else { return Vec::new() };
    let beyond = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    let live: HashSet<&str> = pods.iter().map(|p| pods::hash(p)).filter(|h| !h.is_empty()).collect();
    old.iter().filter(|r| !live.contains(label(r))).take(beyond).cloned().collect()
}

/// The set with its collision count raised by one, so that the next name differs.
pub(super) fn bump_collision(live: &DaemonSet) -> DaemonSet {
    let mut changed = live.clone();
    let status = changed.status.get_or_insert_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
    changed
}
