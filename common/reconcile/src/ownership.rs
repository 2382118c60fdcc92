//! Who controls what: claiming, adopting and releasing dependents.

use crate::effect::{Effect, PatchKind};
use crate::selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Serialize;
use std::sync::Arc;

/// The reference that makes `owner` the controller of what carries it.
pub fn controller_ref<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The object's controller, if it has one.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|r| r.controller == Some(true))
}

/// Whether `uid` is the object's controller.
pub fn is_controlled_by(meta: &ObjectMeta, uid: Option<&str>) -> bool {
    controller_of(meta).is_some_and(|r| Some(r.uid.as_str()) == uid)
}

/// What belongs to an owner, and what must be written for it to be so.
pub struct Claim<C> {
    /// Controlled by the owner and selected, adoptions included.
    pub owned: Vec<Arc<C>>,
    /// Orphans that match. Before these are made, the owner must be read anew and still be the same and not
    /// be going.
    pub adopt: Vec<Effect>,
    /// Owned ones that no longer match.
    pub release: Vec<Effect>,
}

#[derive(Serialize)]
struct OwnersPatch<'a> {
    metadata: OwnersMeta<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnersMeta<'a> {
    uid: &'a str,
    owner_references: Vec<OwnerEntry<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OwnerEntry<'a> {
    Add(OwnerReference),
    Remove {
        #[serde(rename = "$patch")]
        patch: &'static str,
        uid: &'a str,
    },
}

/// Sorts candidates of one namespace, as upstream's controller reference managers do. `adoptable` may refuse
/// orphans beyond what the selector says (inactive pods).
pub fn claim<O, C>(
    owner: &O,
    wanted: Option<&LabelSelector>,
    candidates: Vec<Arc<C>>,
    adoptable: impl Fn(&C) -> bool,
) -> Claim<C>
where
    O: Resource<DynamicType = ()>,
    C: Resource<DynamicType = ()>,
{
    let uid = owner.meta().uid.as_deref();
    claim_where(owner, candidates, |candidate| {
        let meta = candidate.meta();
        selector::matches(wanted, meta.labels.as_ref())
            && (is_controlled_by(meta, uid) || adoptable(candidate))
    })
}

/// As [`claim`], with any rule for what the owner wants: it adopts orphans of that kind and releases its own
/// that are no longer of it.
pub fn claim_where<O, C>(owner: &O, candidates: Vec<Arc<C>>, mine: impl Fn(&C) -> bool) -> Claim<C>
where
    O: Resource<DynamicType = ()>,
    C: Resource<DynamicType = ()>,
{
    let uid = owner.meta().uid.as_deref();
    let owner_going = owner.meta().deletion_timestamp.is_some();
    let mut found = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for candidate in candidates {
        let meta = candidate.meta();
        let (name, namespace) = (meta.name.as_deref().unwrap_or(""), meta.namespace.as_deref().unwrap_or(""));
        let own = meta.uid.as_deref().unwrap_or("");
        let patch = |entry| {
            let patch = OwnersPatch { metadata: OwnersMeta { uid: own, owner_references: vec![entry] } };
            Effect::patch::<C>(namespace, name, PatchKind::Strategic, &patch)
        };
        match controller_of(meta) {
            Some(controller) if Some(controller.uid.as_str()) != uid => {}
            Some(_) if mine(&candidate) => found.owned.push(candidate),
            Some(controller) if !owner_going => {
                found.release.push(patch(OwnerEntry::Remove { patch: "delete", uid: &controller.uid }));
            }
            None if !owner_going && meta.deletion_timestamp.is_none() && mine(&candidate) => {
                found.adopt.push(patch(OwnerEntry::Add(controller_ref(owner))));
                found.owned.push(candidate);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::Pod;

    fn pod(name: &str, app: &str, owner: Option<&str>) -> Arc<Pod> {
        let owner_references = owner.map(|uid| {
            vec![OwnerReference { uid: uid.into(), controller: Some(true), ..OwnerReference::default() }]
        });
        Arc::new(Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("n".into()),
                uid: Some(format!("uid-{name}")),
                labels: Some([("app".to_owned(), app.to_owned())].into()),
                owner_references,
                ..ObjectMeta::default()
            },
            ..Pod::default()
        })
    }

    fn check(pods: Vec<Arc<Pod>>, going: bool, expected: (&[&str], &[&str], &[&str])) {
        let mut owner = ReplicaSet::default();
        owner.metadata.uid = Some("me".into());
        owner.metadata.name = Some("rs".into());
        owner.metadata.deletion_timestamp = going
            .then_some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        let wanted = LabelSelector {
            match_labels: Some([("app".into(), "x".into())].into()),
            match_expressions: None,
        };
        let found = claim(&owner, Some(&wanted), pods, |_| true);
        let names = |effects: &[Effect]| effects.iter().map(|e| e.target().name.clone()).collect::<Vec<_>>();
        let owned: Vec<_> = found.owned.iter().map(|p| p.metadata.name.clone().unwrap()).collect();
        assert_eq!(owned, expected.0);
        assert_eq!(names(&found.adopt), expected.1);
        assert_eq!(names(&found.release), expected.2);
    }

    #[test]
    fn adopts_releases_and_leaves_others_alone() {
        let pods = || {
            vec![
                pod("mine", "x", Some("me")),
                pod("astray", "y", Some("me")),
                pod("orphan", "x", None),
                pod("foreign", "x", Some("you")),
                pod("other", "y", None),
            ]
        };
        check(pods(), false, (&["mine", "orphan"], &["orphan"], &["astray"]));
        check(pods(), true, (&["mine"], &[], &[]));
    }
}
