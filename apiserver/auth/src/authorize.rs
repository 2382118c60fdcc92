//! The union of authorizers, and the words of a refusal.

use crate::MASTERS;
use crate::node::NodeAuthorizer;
use crate::rbac::Rbac;
use gantry_types::field::go_quote;
use gantry_types::user::{Attributes, Authorizer, Decision};
use gantry_types::{GroupResource, Status, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceRule, ResourceRule};
use k8s_openapi::api::rbac::v1::PolicyRule;
use std::sync::Arc;

/// What an authorizer can tell about everything a user may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub resource: Vec<ResourceRule>,
    pub non_resource: Vec<NonResourceRule>,
    /// Whether there may be more than these.
    pub incomplete: bool,
    pub errors: Vec<String>,
}

/// An authorizer that can also enumerate.
pub trait RuleResolver: Authorizer {
    fn rules(&self, user: &UserInfo, namespace: &str) -> Rules;
}

/// `system:masters` first, then the given authorizers in order (`--authorization-mode`): the first that
/// allows or denies decides.
pub struct Union {
    node: Option<Arc<NodeAuthorizer>>,
    rbac: Arc<Rbac>,
}

impl Union {
    /// `Node,RBAC`, or `RBAC` alone.
    pub fn new(node: Option<Arc<NodeAuthorizer>>, rbac: Arc<Rbac>) -> Self {
        Self { node, rbac }
    }
}

impl Authorizer for Union {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        if attributes.user.in_group(MASTERS) {
            return Decision::Allow { reason: String::new() };
        }
        let mut reasons: Vec<String> = Vec::new();
        if let Some(node) = &self.node {
            match node.authorize(attributes) {
                Decision::NoOpinion { reason } if reason.is_empty() => {}
                Decision::NoOpinion { reason } => reasons.push(reason),
                decided => return decided,
            }
        }
        match self.rbac.authorize(attributes) {
            Decision::NoOpinion { reason } if reason.is_empty() => {}
            Decision::NoOpinion { reason } => reasons.push(reason),
            decided => return decided,
        }
        Decision::NoOpinion { reason: reasons.join("\n") }
    }

    fn covers(&self, user: &UserInfo, namespace: &str, rules: &[PolicyRule]) -> Result<(), String> {
        if user.in_group(MASTERS) { Ok(()) } else { self.rbac.covers(user, namespace, rules) }
    }
}

impl RuleResolver for Union {
    fn rules(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut rules = self.rbac.rules(user, namespace);
        if self.node.is_some() && crate::node::identity(user).is_some() {
            rules.incomplete = true;
            rules.errors.insert(0, "node authorizer does not support user rule resolution".to_owned());
        }
        rules
    }
}

/// The 403 of a request no authorizer allowed.
pub fn forbidden(attributes: &Attributes, reason: &str) -> Status {
    let a = attributes;
    let user = go_quote(&a.user.name);
    let mut why = if !a.resource_request {
        format!("User {user} cannot {} path {}", a.verb, go_quote(&a.path))
    } else {
        let resource = if a.subresource.is_empty() {
            a.resource.clone()
        } else {
            format!("{}/{}", a.resource, a.subresource)
        };
        let scope = if a.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {}", go_quote(&a.namespace))
        };
        format!(
            "User {user} cannot {} resource {} in API group {} {scope}",
            a.verb,
            go_quote(&resource),
            go_quote(&a.group)
        )
    };
    if why.contains(['&', '<', '>']) {
        why = why.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    }
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    let resource = GroupResource { group: a.group.clone().into(), resource: a.resource.clone().into() };
    Status::forbidden(&resource, &a.name, why)
}

/// Whether `user` may create or change a role with these rules: holds them all, or may `escalate` the role.
/// `resource` is `roles` or `clusterroles`, `namespace` empty for the latter.
///
/// # Errors
/// With upstream's 403.
pub fn check_role_escalation(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    resource: &GroupResource,
    namespace: &str,
    name: &str,
    rules: &[PolicyRule],
) -> Result<(), Status> {
    if user.in_group(MASTERS) || may(authorizer, user, "escalate", resource, namespace, name) {
        return Ok(());
    }
    authorizer.covers(user, namespace, rules).map_err(|why| Status::forbidden(resource, name, why))
}

/// Whether `user` may bind a role: holds all its rules, or may `bind` it. `role_resource` and `role_name` say
/// which role, `namespace` where the binding is (empty for a ClusterRoleBinding), `rules` what it grants, or
/// the error of looking it up.
///
/// # Errors
/// With upstream's 403, naming the binding.
pub fn check_binding_escalation(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    binding: (&GroupResource, &str),
    namespace: &str,
    role: (&GroupResource, &str),
    rules: Result<&[PolicyRule], Status>,
) -> Result<(), Status> {
    if user.in_group(MASTERS) || may(authorizer, user, "bind", role.0, namespace, role.1) {
        return Ok(());
    }
    authorizer.covers(user, namespace, rules?).map_err(|why| Status::forbidden(binding.0, binding.1, why))
}

fn may(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    verb: &str,
    resource: &GroupResource,
    namespace: &str,
    name: &str,
) -> bool {
    let attributes = Attributes {
        user: user.clone(),
        verb: verb.to_owned(),
        group: resource.group.to_string(),
        version: "*".to_owned(),
        resource: resource.resource.to_string(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        resource_request: true,
        ..Attributes::default()
    };
    authorizer.authorize(&attributes).allowed()
}
