//! A change to the cluster as data: it prints, compares and tests without a server.

use gantry_client::Key;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use std::fmt;

/// A serialized object or patch. Prints as its JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

impl Body {
    fn of(value: &impl Serialize) -> Self {
        // Kubernetes types and patches made of them have string keys and no failing serializers.
        Self(serde_json::to_vec(value).unwrap_or_default())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
}

impl PatchKind {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

impl Propagation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orphan => "Orphan",
            Self::Background => "Background",
            Self::Foreground => "Foreground",
        }
    }
}

/// What an effect is about: a collection's path and the object's name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `pods`, `deployments.apps`: the name the barrier knows the kind by.
    pub resource: String,
    /// The path of the collection.
    pub path: String,
    pub namespace: String,
    pub name: String,
}

impl Target {
    pub fn of<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> Self {
        Self {
            resource: resource_name::<K>(),
            path: K::url_path(&(), (!namespace.is_empty()).then_some(namespace)),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }
}

/// `pods`, `deployments.apps`.
pub fn resource_name<K: Resource<DynamicType = ()>>() -> String {
    let (plural, group) = (K::plural(&()), K::group(&()));
    if group.is_empty() { plural.into_owned() } else { format!("{plural}.{group}") }
}

/// One write. `subresource` is empty for the object itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The target's name is empty where the server makes it from `generateName`.
    Create {
        target: Target,
        body: Body,
    },
    /// Carries the resource version it was made from, so that a newer object refuses it.
    Update {
        target: Target,
        subresource: &'static str,
        body: Body,
    },
    Patch {
        target: Target,
        subresource: &'static str,
        kind: PatchKind,
        body: Body,
    },
    /// `uid` and `resource_version` are preconditions, where set.
    Delete {
        target: Target,
        uid: Option<String>,
        resource_version: Option<String>,
        propagation: Option<Propagation>,
        grace_seconds: Option<i64>,
    },
}

impl Effect {
    pub fn create<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::Create { target: target_of(object), body: Body::of(object) }
    }

    pub fn update<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::Update { target: target_of(object), subresource: "", body: Body::of(object) }
    }

    pub fn update_status<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::Update { target: target_of(object), subresource: "status", body: Body::of(object) }
    }

    pub fn patch<K: Resource<DynamicType = ()>>(
        namespace: &str,
        name: &str,
        kind: PatchKind,
        patch: &impl Serialize,
    ) -> Self {
        Self::Patch { target: Target::of::<K>(namespace, name), subresource: "", kind, body: Body::of(patch) }
    }

    pub fn patch_status<K: Resource<DynamicType = ()>>(
        namespace: &str,
        name: &str,
        kind: PatchKind,
        patch: &impl Serialize,
    ) -> Self {
        Self::Patch {
            target: Target::of::<K>(namespace, name),
            subresource: "status",
            kind,
            body: Body::of(patch),
        }
    }

    /// Deletes exactly this object, never a successor of its name.
    pub fn delete<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self::Delete {
            target: target_of(object),
            uid: object.meta().uid.clone(),
            resource_version: None,
            propagation: None,
            grace_seconds: None,
        }
    }

    pub fn target(&self) -> &Target {
        match self {
            Self::Create { target, .. }
            | Self::Update { target, .. }
            | Self::Patch { target, .. }
            | Self::Delete { target, .. } => target,
        }
    }
}

fn target_of<K: Resource<DynamicType = ()>>(object: &K) -> Target {
    Target::of::<K>(&object.namespace().unwrap_or_default(), object.meta().name.as_deref().unwrap_or(""))
}
