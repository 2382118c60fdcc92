//! The revisions of a pod template, kept as `ControllerRevision`s: what a revision holds, what it is called,
//! which one a template is, and which ones may go.
//!
//! All of it pure; stateful sets and daemon sets make the writes that follow. Data and, for stateful sets,
//! names are upstream's to the byte, so that a cluster can change controllers without rolling out anew.

#[cfg(test)]
mod tests;

use super::hash::letters;
use gantry_reconcile::{Effect, ownership};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Resource;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The label with the hash of a revision's data.
const HASH: &str = "controller.kubernetes.io/hash";
/// The label by which a pod names its revision.
pub(super) const POD_REVISION: &str = "controller-revision-hash";
/// A name is no longer than 253 bytes, its hash included.
const PREFIX: usize = 223;

/// Revisions, in some order that their user states.
pub(super) type Revisions = Vec<Arc<ControllerRevision>>;

#[derive(Serialize)]
struct Patch<'a> {
    spec: PatchSpec<'a>,
}

#[derive(Serialize)]
struct PatchSpec<'a> {
    template: PatchTemplate<'a>,
}

#[derive(Serialize)]
struct PatchTemplate<'a> {
    #[serde(rename = "$patch")]
    patch: &'static str,
    #[serde(flatten)]
    template: &'a PodTemplateSpec,
}

#[derive(Deserialize)]
struct Kept {
    spec: KeptSpec,
}

#[derive(Deserialize)]
struct KeptSpec {
    template: PodTemplateSpec,
}

/// What a revision of the template holds: the strategic merge patch that brings it back.
pub(super) fn data(template: &PodTemplateSpec) -> RawExtension {
    let patch = Patch { spec: PatchSpec { template: PatchTemplate { patch: "replace", template } } };
    // Typed API objects always serialize.
    RawExtension(serde_json::to_value(patch).unwrap_or_default())
}

/// The template a revision holds; `None` where its data is something else.
pub(super) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let data = revision.data.as_ref()?;
    Kept::deserialize(&data.0).ok().map(|kept| kept.spec.template)
}

/// Whether a revision holds this template, whatever was written for fields that are not set.
pub(super) fn holds(revision: &ControllerRevision, wanted: &PodTemplateSpec) -> bool {
    revision.data.as_ref() == Some(&data(wanted))
        || template(revision).is_some_and(|kept| plain(kept) == plain(wanted.clone()))
}

fn plain(mut template: PodTemplateSpec) -> PodTemplateSpec {
    if let Some(meta) = &mut template.metadata {
        meta.creation_timestamp = None;
        for map in [&mut meta.labels, &mut meta.annotations] {
            if map.as_ref().is_some_and(BTreeMap::is_empty) {
                *map = None;
            }
        }
    }
    template.metadata = template.metadata.filter(|m| *m != ObjectMeta::default());
    template
}

/// FNV-1 over the data as Go writes it, and the collision count as digits.
pub(super) fn hash(data: &RawExtension, collisions: Option<i32>) -> String {
    let mut sum: u32 = 0x811c_9dc5;
    let mut feed = |text: &str| text.bytes().for_each(|b| sum = sum.wrapping_mul(0x0100_0193) ^ u32::from(b));
    feed(&go_json(data));
    if let Some(count) = collisions {
        feed(&count.to_string());
    }
    letters(sum)
}

/// The data as Go writes it; keys are in order already.
fn go_json(data: &RawExtension) -> String {
    // A tree of JSON values always serializes, to UTF-8.
    String::from_utf8(gantry_types::json::to_vec(data).unwrap_or_default()).unwrap_or_default()
}

/// A revision's name: its owner's, cut if need be, and the hash.
pub(super) fn name(owner: &str, hash: &str) -> String {
    let mut end = owner.len().min(PREFIX);
    while !owner.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", &owner[..end])
}

/// By number; of equal ones the older first, then by name.
pub(super) fn by_number(a: &Arc<ControllerRevision>, b: &Arc<ControllerRevision>) -> Ordering {
    let made = |r: &ControllerRevision| r.metadata.creation_timestamp.as_ref().map(|t| t.0);
    a.revision
        .cmp(&b.revision)
        .then_with(|| made(a).cmp(&made(b)))
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// How the present template becomes a revision.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Update {
    /// It is the newest one.
    Newest(Arc<ControllerRevision>),
    /// It was before (a rollback): that revision gets the next number.
    Renumber(Box<ControllerRevision>),
    /// It is new. Where its name is taken by other data, count a collision and name it anew.
    Create(Box<ControllerRevision>),
}

/// A new revision of `owner`, named for `collisions`. Its labels are the template's, its annotations the
/// owner's.
pub(super) fn new<O: Resource<DynamicType = ()>>(
    owner: &O,
    template: &PodTemplateSpec,
    number: i64,
    collisions: i32,
) -> ControllerRevision {
    let data = data(template);
    let hash = hash(&data, Some(collisions));
    let meta = owner.meta();
    let mut labels = template.metadata.as_ref().and_then(|m| m.labels.as_ref()).cloned().unwrap_or_default();
    labels.insert(HASH.into(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name(meta.name.as_deref().unwrap_or(""), &hash)),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations.clone(),
            owner_references: Some(vec![ownership::controller_ref(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(data),
        revision: number,
    }
}

/// Creates a revision, with its data to the byte as upstream's controllers write and compare them.
pub(super) fn create(revision: &ControllerRevision) -> Effect {
    as_go(Effect::create(revision), revision)
}

/// Writes a changed revision anew, its data as [`create`] does.
pub(super) fn rewrite(revision: &ControllerRevision) -> Effect {
    as_go(Effect::update(revision), revision)
}

fn as_go(mut effect: Effect, revision: &ControllerRevision) -> Effect {
    if let Effect::Create { body, .. } | Effect::Update { body, .. } = &mut effect
        && let Ok(bytes) = gantry_types::json::to_vec(revision)
    {
        body.0 = bytes;
    }
    effect
}

/// The same revision under the name it gets after another collision.
pub(super) fn rename(revision: &mut ControllerRevision, owner: &str, collisions: i32) {
    let hash = revision.data.as_ref().map(|d| hash(d, Some(collisions))).unwrap_or_default();
    revision.metadata.name = Some(name(owner, &hash));
}

/// Finds `template` among `revisions`, which are in order of their numbers.
pub(super) fn update<O: Resource<DynamicType = ()>>(
    owner: &O,
    template: &PodTemplateSpec,
    revisions: &[Arc<ControllerRevision>],
    collisions: i32,
) -> Update {
    let next = revisions.last().map_or(1, |r| r.revision + 1);
    let new = new(owner, template, next, collisions);
    let equal = revisions.iter().rev().find(|r| r.data == new.data);
    match (revisions.last(), equal) {
        (Some(newest), Some(equal)) if newest.data == equal.data => Update::Newest(newest.clone()),
        (_, Some(equal)) => {
            let mut changed = ControllerRevision::clone(equal);
            changed.revision = next;
            Update::Renumber(Box::new(changed))
        }
        (Some(newest), None) if holds(newest, template) => Update::Newest(newest.clone()),
        _ => Update::Create(Box::new(new)),
    }
}

/// Revisions beyond `limit` that nothing in `live` names, oldest first. `revisions` are in order.
pub(super) fn surplus(revisions: &[Arc<ControllerRevision>], live: &HashSet<&str>, limit: i32) -> Revisions {
    let Ok(limit) = usize::try_from(limit) else { return Vec::new() };
    let mut unused: Revisions = revisions
        .iter()
        .filter(|r| !live.contains(r.metadata.name.as_deref().unwrap_or("")))
        .cloned()
        .collect();
    unused.truncate(unused.len().saturating_sub(limit));
    unused
}
