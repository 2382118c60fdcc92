//! The scheme: one table of every kind this build serves.
//!
//! Adding a kind is one row in [`table`] and a strategy file in `gantry-registry`; everything else
//! (discovery, OpenAPI, routing, storage keys, tables, admission) reads the row.

mod table;

use crate::gvk::{GroupKind, GroupResource, GroupVersion, GroupVersionKind};
use std::borrow::Cow;
pub use table::KINDS;

/// Whether objects of a kind live inside a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// Where objects of a kind are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Under `/registry/<prefix>/[<namespace>/]<name>` in this very version.
    Prefix(&'static str),
    /// Kept as another kind; the registry converts both ways (`events.k8s.io/v1` Event as core Event).
    As { group: &'static str, version: &'static str, kind: &'static str },
    /// Never kept: created, answered and forgotten (`SubjectAccessReview`).
    Virtual,
}

/// One subresource: `status`, `scale`, `log`, …
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    pub name: &'static str,
    /// The kind it speaks.
    pub kind: &'static str,
    /// Group and version of that kind where they differ from the parent's.
    pub group_version: Option<(&'static str, &'static str)>,
    pub verbs: &'static [&'static str],
}

/// One column of the Table form. Priority 0 is always shown, 1 only when wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the column kubectl uses as the object's name, otherwise mostly empty.
    pub format: &'static str,
    pub priority: u8,
}

/// One row of the scheme.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    pub storage: Storage,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    pub columns: &'static [Column],
}

impl Kind {
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(self.group, self.version)
    }

    /// `v1` or `apps/v1`, as in `apiVersion`.
    pub fn api_version(&self) -> Cow<'static, str> {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version).into()
        }
    }

    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind { group: self.group.into(), version: self.version.into(), kind: self.kind.into() }
    }

    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.into(), kind: self.kind.into() }
    }

    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group, self.plural)
    }

    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// The row objects of this kind are stored under: itself, or the one named by [`Storage::As`].
    pub fn stored(&self) -> Option<&'static Kind> {
        match self.storage {
            Storage::Prefix(_) => find(self.group, self.version, self.plural),
            Storage::As { group, version, kind } => find_kind(group, version, kind),
            Storage::Virtual => None,
        }
    }
}

/// The row of a resource by its plural name.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.plural == plural && k.group == group && k.version == version)
}

/// The row of a kind by its name.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.kind == kind && k.group == group && k.version == version)
}

/// The preferred row of a resource whatever its version.
pub fn find_resource(resource: &GroupResource) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.plural == resource.resource && k.group == resource.group)
}

/// The groups served, in discovery order, each with its versions, the preferred one first.
pub fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut out: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    for k in KINDS {
        match out.iter_mut().find(|(g, _)| *g == k.group) {
            Some((_, versions)) if versions.contains(&k.version) => {}
            Some((_, versions)) => versions.push(k.version),
            None => out.push((k.group, vec![k.version])),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_sound() {
        for k in KINDS {
            assert!(
                find(k.group, k.version, k.plural).is_some_and(|x| std::ptr::eq(x, k)),
                "{} twice",
                k.plural
            );
            assert!(k.storage == Storage::Virtual || k.stored().is_some(), "{} has no store", k.plural);
            assert_eq!(k.storage == Storage::Virtual, k.verbs == ["create"], "{}", k.plural);
            if k.storage != Storage::Virtual {
                assert_eq!(k.columns.first().map(|c| c.kind), Some("string"), "{} has no columns", k.plural);
            }
        }
    }
}
