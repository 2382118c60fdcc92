//! Nobody grants what they do not have: the check on roles and bindings that RBAC itself needs. Runs as the
//! last validating plugin, always on.

use async_trait::async_trait;
use gantry_auth::authorize::{check_binding_escalation, check_role_escalation};
use gantry_auth::resources::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::Kind;
use gantry_types::user::Authorizer;
use gantry_types::{Document, GroupResource, Status, StatusResult};
use serde::Deserialize;
use std::sync::Arc;

pub struct Escalation {
    pub reader: Arc<dyn ObjectReader>,
    pub authorizer: Arc<dyn Authorizer>,
}

#[derive(Deserialize)]
struct Rules {
    #[serde(default)]
    rules: Option<Vec<PolicyRule>>,
}

fn rules(object: &Document) -> Vec<PolicyRule> {
    object.get_at(&["rules"]).unwrap_or_default()
}

/// Everything, everywhere.
fn full_authority() -> Vec<PolicyRule> {
    let all = || Some(vec!["*".to_owned()]);
    let verbs = vec!["*".to_owned()];
    vec![
        PolicyRule { api_groups: all(), resources: all(), verbs: verbs.clone(), ..PolicyRule::default() },
        PolicyRule { non_resource_urls: all(), verbs, ..PolicyRule::default() },
    ]
}

/// Whether an update touches nothing but what garbage collection needs.
fn only_collects(object: &Document, old: &Document) -> bool {
    let mut same = object.clone();
    for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
        let path = ["metadata", field];
        same.remove_at(&path);
        if let Some(value) = old.map().get("metadata").and_then(|m| m.get(field)) {
            same.set_at(&path, value);
        }
    }
    same == *old
}

impl Escalation {
    fn role(&self, request: &Request<'_>, object: &Document, resource: &GroupResource) -> StatusResult<()> {
        let wanted = rules(object);
        let changed = request.old.is_none_or(|old| {
            rules(old) != wanted || old.map().get("aggregationRule") != object.map().get("aggregationRule")
        });
        if !changed {
            return Ok(());
        }
        let check = |rules: &[PolicyRule]| {
            check_role_escalation(
                &*self.authorizer,
                request.user,
                resource,
                request.namespace,
                object.name(),
                rules,
            )
        };
        check(&wanted)?;
        if object.has(&["aggregationRule"]) && check(&full_authority()).is_err() {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            return Err(Status::forbidden(resource, object.name(), why));
        }
        Ok(())
    }

    fn binding(
        &self,
        request: &Request<'_>,
        object: &Document,
        resource: &GroupResource,
    ) -> StatusResult<()> {
        let reference: RoleRef = object.get_at(&["roleRef"]).unwrap_or_default();
        let (role, namespace) = match reference.kind.as_str() {
            "Role" => (ROLES, request.namespace),
            _ => (CLUSTER_ROLES, ""),
        };
        let found = match self.reader.get(&role, namespace, &reference.name) {
            Some(object) => object.typed::<Rules>().map_err(Status::internal),
            // Upstream tells of the missing role in terms of the request.
            None => Err(Status::not_found(resource, &reference.name)),
        };
        let rules = found.map(|r| r.rules.unwrap_or_default());
        check_binding_escalation(
            &*self.authorizer,
            request.user,
            (resource, object.name()),
            request.namespace,
            (&role, &reference.name),
            rules.as_deref().map_err(Clone::clone),
        )
    }
}

#[async_trait]
impl Plugin for Escalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        kind.group == "rbac.authorization.k8s.io"
            && subresource.is_empty()
            && matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        if request.old.is_some_and(|old| only_collects(object, old)) {
            return Ok(());
        }
        match request.kind.kind {
            "Role" => self.role(request, object, &ROLES),
            "ClusterRole" => self.role(request, object, &CLUSTER_ROLES),
            "RoleBinding" => self.binding(request, object, &ROLE_BINDINGS),
            "ClusterRoleBinding" => self.binding(request, object, &CLUSTER_ROLE_BINDINGS),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collecting_is_told_from_changing() {
        let check = |new: &str, want: bool| {
            let old = Document::from_json(br#"{"metadata":{"name":"a","resourceVersion":"1"},"rules":[]}"#)
                .unwrap();
            let new = Document::from_json(new.as_bytes()).unwrap();
            assert_eq!(only_collects(&new, &old), want, "{new:?}");
        };
        check(r#"{"metadata":{"name":"a","resourceVersion":"2","finalizers":["x/y"]},"rules":[]}"#, true);
        check(r#"{"metadata":{"name":"a","labels":{"a":"b"}},"rules":[]}"#, false);
    }
}
