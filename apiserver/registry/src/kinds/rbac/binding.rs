//! `rbac.authorization.k8s.io/v1` RoleBinding and ClusterRoleBinding.

use super::role::rbac_name;
use crate::kinds::prelude::*;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use serde::Serialize;

/// Grants a role, or a cluster role, within a namespace.
pub struct RoleBindings;

/// Grants a cluster role everywhere.
pub struct ClusterRoleBindings;

const GROUP: &str = "rbac.authorization.k8s.io";

fn subject(s: &Subject, namespaced: bool, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if s.name.is_empty() {
        errs.push(Error::required(&path.child("name"), ""));
    }
    let group = text(&s.api_group);
    match s.kind.as_str() {
        "ServiceAccount" => {
            if !s.name.is_empty() {
                errs.extend(invalid_each(&path.child("name"), &s.name, meta::subdomain_name(&s.name, false)));
            }
            if !group.is_empty() {
                errs.push(Error::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && text(&s.namespace).is_empty() {
                errs.push(Error::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errs.push(Error::not_supported(&path.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => {
            errs.push(Error::not_supported(&path.child("kind"), other, &["ServiceAccount", "User", "Group"]));
        }
    }
    errs
}

fn binding(role: &RoleRef, subjects: &[Subject], namespaced: bool) -> ErrorList {
    let path = Path::new("roleRef");
    let mut errs = ErrorList::new();
    if text(&role.api_group) != GROUP {
        errs.push(Error::not_supported(&path.child("apiGroup"), text(&role.api_group), &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role.kind.as_str()) {
        errs.push(Error::not_supported(&path.child("kind"), &role.kind, kinds));
    }
    if role.name.is_empty() {
        errs.push(Error::required(&path.child("name"), ""));
    } else {
        errs.extend(invalid_each(&path.child("name"), &role.name, rbac_name(&role.name, false)));
    }
    let path = Path::new("subjects");
    errs.extend(subjects.iter().enumerate().flat_map(|(i, s)| subject(s, namespaced, &path.index(i))));
    errs
}

fn role_ref_kept(new: &RoleRef, old: &RoleRef) -> Option<Error> {
    /// As Go's encoder prints the internal type, which has no JSON names.
    #[derive(Serialize)]
    struct Printed<'a> {
        #[serde(rename = "APIGroup")]
        group: &'a str,
        #[serde(rename = "Kind")]
        kind: &'a str,
        #[serde(rename = "Name")]
        name: &'a str,
    }
    (new != old).then(|| {
        let printed = Printed { group: text(&new.api_group), kind: &new.kind, name: &new.name };
        invalid_raw(&Path::new("roleRef"), meta::go_json(&printed), "cannot change roleRef")
    })
}

fn default_ref(role: &mut RoleRef, subjects: &mut Option<Vec<Subject>>) {
    default_text(&mut role.api_group, GROUP);
    for s in subjects.iter_mut().flatten() {
        if text(&s.api_group).is_empty() && matches!(s.kind.as_str(), "User" | "Group") {
            s.api_group = Some(GROUP.to_owned());
        }
    }
}

fn row(metadata: &ObjectMeta, role: &RoleRef, subjects: &[Subject], now: Timestamp) -> Vec<Cell> {
    let of = |kind: &str| {
        let these = subjects.iter().filter(|s| s.kind == kind);
        let shown = these.map(|s| match kind {
            "ServiceAccount" => format!("{}/{}", text(&s.namespace), s.name),
            _ => s.name.clone(),
        });
        Cell::Text(shown.collect::<Vec<_>>().join(", "))
    };
    vec![
        print::name(metadata),
        format!("{}/{}", role.kind, role.name).into(),
        print::age(metadata.creation_timestamp.as_ref(), now).into(),
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ]
}

macro_rules! binding_strategy {
    ($strategy:ident, $kind:ident, $namespaced:literal) => {
        impl Strategy for $strategy {
            type Kind = $kind;

            fn default(&self, b: &mut $kind) {
                default_ref(&mut b.role_ref, &mut b.subjects);
            }

            fn validate_create(&self, _cx: &Context<'_>, b: &$kind) -> ErrorList {
                let mut errs = meta::object_meta(&b.metadata, $namespaced, rbac_name);
                errs.extend(binding(&b.role_ref, list(&b.subjects), $namespaced));
                errs
            }

            fn validate_update(&self, cx: &Context<'_>, b: &$kind, old: &$kind) -> ErrorList {
                let mut errs = self.validate_create(cx, b);
                errs.extend(meta::object_meta_update(&b.metadata, &old.metadata));
                errs.extend(role_ref_kept(&b.role_ref, &old.role_ref));
                errs
            }

            fn allow_create_on_update(&self) -> bool {
                true
            }

            fn row(&self, b: &$kind, now: Timestamp) -> Vec<Cell> {
                row(&b.metadata, &b.role_ref, list(&b.subjects), now)
            }

            fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
                rbac_name(name, prefix)
            }
        }
    };
}

binding_strategy!(RoleBindings, RoleBinding, true);
binding_strategy!(ClusterRoleBindings, ClusterRoleBinding, false);
