//! The annotations by which deployments and their sets remember revisions and sizes.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::collections::BTreeMap;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// `gantry.io/configuration-seen` is of the pods there are: who rolls back starts new ones, with what there is now.
const NOT_COPIED: &[&str] =
    &[LAST_APPLIED, REVISION, HISTORY, DESIRED, MAX, ROLLBACK_TO, crate::workloads::roll_on_change::SEEN];
const MAX_HISTORY: usize = 2000;

fn get<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The set's revision: 0 where there is none, `None` where it is no number.
pub(super) fn revision(set: &ReplicaSet) -> Option<i64> {
    get(set, REVISION).map_or(Some(0), |text| text.parse().ok())
}

/// The replicas the deployment wanted when it last sized this set.
pub(super) fn desired(set: &ReplicaSet) -> Option<i32> {
    get(set, DESIRED)?.parse().ok().filter(|n| *n >= 0)
}

/// The most replicas the deployment allowed then.
pub(super) fn max(set: &ReplicaSet) -> Option<i32> {
    get(set, MAX)?.parse().ok().filter(|n| *n >= 0)
}

/// Writes both sizes; whether that changed anything.
pub(super) fn set_sizes(set: &mut ReplicaSet, desired: i32, max: i32) -> bool {
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (name, value) in [(DESIRED, desired), (MAX, max)] {
        let value = value.to_string();
        if annotations.get(name) != Some(&value) {
            annotations.insert(name.into(), value);
            changed = true;
        }
    }
    changed
}

fn copied(annotations: Option<&BTreeMap<String, String>>) -> impl Iterator<Item = (&String, &String)> {
    annotations.into_iter().flatten().filter(|(name, _)| !NOT_COPIED.contains(&name.as_str()))
}

/// Gives the newest set the deployment's annotations and its revision; whether that changed anything.
pub(super) fn set_newest(deployment: &Deployment, set: &mut ReplicaSet, new: i64) -> bool {
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (name, value) in copied(deployment.metadata.annotations.as_ref()) {
        if annotations.get(name) != Some(value) {
            annotations.insert(name.clone(), value.clone());
            changed = true;
        }
    }
    let old_text = annotations.get(REVISION).cloned();
    let old: i64 = match old_text.as_deref().unwrap_or("") {
        "" => 0,
        text => match text.parse() {
            Ok(old) => old,
            Err(_) => return false,
        },
    };
    if old >= new {
        return changed;
    }
    annotations.insert(REVISION.into(), new.to_string());
    if let Some(old_text) = old_text {
        let history = annotations.get(HISTORY).cloned().unwrap_or_default();
        let mut entries: Vec<&str> = history.split(',').filter(|e| !e.is_empty()).collect();
        entries.push(&old_text);
        while entries.len() > 1 && entries.join(",").len() > MAX_HISTORY {
            entries.remove(0);
        }
        annotations.insert(HISTORY.into(), entries.join(","));
    }
    true
}

/// Takes a set's annotations back to the deployment, for a rollback.
pub(super) fn take_back(deployment: &mut Deployment, set: &ReplicaSet) {
    let annotations = deployment.metadata.annotations.take().unwrap_or_default();
    let mut kept: BTreeMap<_, _> =
        annotations.into_iter().filter(|(name, _)| NOT_COPIED.contains(&name.as_str())).collect();
    kept.extend(copied(set.metadata.annotations.as_ref()).map(|(k, v)| (k.clone(), v.clone())));
    deployment.metadata.annotations = Some(kept);
}
