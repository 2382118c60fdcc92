//! Role-based access control, from indexes kept current.

pub mod rule;

mod covers;
mod index;
#[cfg(test)]
mod tests;

pub use covers::{covers, describe_missing};
pub use index::Index;

use crate::authorize::{RuleResolver, Rules};
use crate::follow::{Synced, follow};
use crate::go_list;
use crate::resources::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use gantry_types::field::go_quote;
use gantry_types::reader::{ObjectEvent, ObjectReader};
use gantry_types::user::{Attributes, Authorizer, Decision};
use gantry_types::{Object, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceRule, ResourceRule};
use k8s_openapi::api::rbac::v1::PolicyRule;
use parking_lot::RwLock;
use std::sync::Arc;

/// The RBAC authorizer.
#[derive(Default)]
pub struct Rbac {
    index: RwLock<Index>,
}

impl Rbac {
    /// Follows roles and bindings. Must be called inside a tokio runtime.
    pub fn start(reader: &dyn ObjectReader) -> (Arc<Self>, Synced) {
        let this = Arc::new(Self::default());
        let resources = [CLUSTER_ROLES, ROLES, CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS];
        let synced = follow(reader, &resources, &this, |this, resource, event| this.apply(resource, event));
        (this, synced)
    }

    /// An authorizer of a fixed state.
    pub fn of(index: Index) -> Self {
        Self { index: RwLock::new(index) }
    }

    fn apply(&self, resource: usize, event: ObjectEvent) {
        let mut index = self.index.write();
        match (event, resource) {
            (ObjectEvent::Synced, _) => {}
            (ObjectEvent::Reset, 0) => index.clear_cluster_roles(),
            (ObjectEvent::Reset, 1) => index.clear_roles(),
            (ObjectEvent::Reset, 2) => index.clear_bindings(true),
            (ObjectEvent::Reset, _) => index.clear_bindings(false),
            (ObjectEvent::Deleted(o), _) => forget(&mut index, resource, &o),
            (ObjectEvent::Applied(o), _) => {
                if let Err(error) = take(&mut index, resource, &o) {
                    // What cannot be read grants nothing; the last readable state must not live on.
                    tracing::error!(%error, namespace = o.namespace(), name = o.name(), "unreadable RBAC object");
                    forget(&mut index, resource, &o);
                }
            }
        }
    }

    /// Every rule that applies to a user in a namespace (empty: cluster-wide), and what failed on the way.
    pub fn policy_rules(&self, user: &UserInfo, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        self.index.read().visit(user, namespace, |_, found| {
            match found {
                Ok(role) => rules.extend(role.iter().cloned()),
                Err(error) => errors.push(error),
            }
            true
        });
        (rules, errors)
    }
}

fn take(index: &mut Index, resource: usize, o: &Object) -> Result<(), serde_json::Error> {
    match resource {
        0 => index.put_cluster_role(o.typed()?),
        1 => index.put_role(o.typed()?),
        2 => index.put_cluster_role_binding(o.typed()?),
        _ => index.put_role_binding(o.typed()?),
    }
    Ok(())
}

fn forget(index: &mut Index, resource: usize, o: &Object) {
    match resource {
        0 => index.remove_cluster_role(o.name()),
        1 => index.remove_role(o.namespace(), o.name()),
        _ => index.remove_binding(o.namespace(), o.name()),
    }
}

fn join(errors: &[String]) -> String {
    let mut unique: Vec<&str> = Vec::new();
    for error in errors {
        if !unique.contains(&&**error) {
            unique.push(error);
        }
    }
    if unique.len() == 1 { unique[0].to_owned() } else { format!("[{}]", unique.join(", ")) }
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        let mut allowed = None;
        let mut errors = Vec::new();
        let request = rule::Request::of(attributes);
        self.index.read().visit(&attributes.user, &attributes.namespace, |grant, found| match found {
            Ok(rules) => {
                if rules.iter().any(|rule| request.allowed_by(rule)) {
                    allowed = Some(format!("RBAC: allowed by {grant}"));
                }
                allowed.is_none()
            }
            Err(error) => {
                errors.push(error);
                true
            }
        });
        match allowed {
            Some(reason) => Decision::Allow { reason },
            None if errors.is_empty() => Decision::NoOpinion { reason: String::new() },
            None => Decision::NoOpinion { reason: format!("RBAC: {}", join(&errors)) },
        }
    }

    fn covers(&self, user: &UserInfo, namespace: &str, rules: &[PolicyRule]) -> Result<(), String> {
        let (held, errors) = self.policy_rules(user, namespace);
        let missing = covers(&held, rules);
        if missing.is_empty() {
            return Ok(());
        }
        let mut message = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            go_quote(&user.name),
            go_list(&user.groups),
            describe_missing(&missing).join("\n")
        );
        if !errors.is_empty() {
            message.push_str(&format!("; resolution errors: [{}]", join(&errors)));
        }
        Err(message)
    }
}

impl RuleResolver for Rbac {
    fn rules(&self, user: &UserInfo, namespace: &str) -> Rules {
        let (rules, errors) = self.policy_rules(user, namespace);
        let mut out = Rules { errors, ..Rules::default() };
        for rule in rules {
            if let Some(resources) = rule.resources.filter(|r| !r.is_empty()) {
                out.resource.push(ResourceRule {
                    api_groups: rule.api_groups,
                    resource_names: rule.resource_names,
                    resources: Some(resources),
                    verbs: rule.verbs.clone(),
                });
            }
            if let Some(urls) = rule.non_resource_urls.filter(|u| !u.is_empty()) {
                out.non_resource.push(NonResourceRule { non_resource_urls: Some(urls), verbs: rule.verbs });
            }
        }
        out
    }
}
