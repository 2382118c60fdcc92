//! Who asks and what for: identities, request attributes and authorization decisions.

use std::collections::BTreeMap;

/// An authenticated identity, as in `SelfSubjectReview` and in audit events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The identity the apiserver uses for its own loopback work.
    pub fn system_apiserver() -> Self {
        Self {
            name: "system:apiserver".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
            ..Self::default()
        }
    }

    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            ..Self::default()
        }
    }
}

/// What is asked, in the terms of authorization (`SubjectAccessReview`'s attributes).
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    pub user: UserInfo,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or the lower-case
    /// HTTP method for paths outside the resource tree.
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// Set for requests outside the resource tree.
    pub path: String,
    pub resource_request: bool,
    /// Field and label selectors as sent, for the authorizers that narrow by them (KEP-4601).
    pub field_selector: Option<String>,
    pub label_selector: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow { reason: String },
    Deny { reason: String },
    NoOpinion { reason: String },
}

impl Decision {
    pub fn allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

/// Answers from memory, without waiting. Implementations keep their own indexes current.
pub trait Authorizer: Send + Sync + 'static {
    fn authorize(&self, attributes: &Attributes) -> Decision;

    /// Whether `user` already holds every permission in the given rules within `namespace` (empty: the whole
    /// cluster); the error lists what is missing. RBAC's escalation check. `rules` is a JSON list of
    /// `PolicyRule`.
    fn covers(
        &self,
        user: &UserInfo,
        namespace: &str,
        rules: &[k8s_openapi::api::rbac::v1::PolicyRule],
    ) -> Result<(), String>;
}
