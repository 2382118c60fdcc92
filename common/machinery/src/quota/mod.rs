//! The arithmetic of resource quotas: what an object costs, which quotas count it, and whether it fits.
//!
//! Shared by admission, which charges a quota before an object is stored, and by the controller, which counts
//! what is there. Pure; time is an argument. Follows `k8s.io/apiserver/pkg/quota` and the evaluators of the core
//! group: pods, services and claims have measures of their own, of everything else the number counts.

mod amounts;
mod charge;
mod claim;
mod limited;
mod pod;
mod resources;
mod service;
#[cfg(test)]
mod tests;

pub use amounts::{Amounts, format, parse, same, total, write};
pub use charge::{Charge, Refusal, charge, release};
pub use limited::{Limited, Uncovered, uncovered};
pub use pod::{crosses_namespaces, is_terminating};
pub use resources::{limits, requests};

use gantry_types::GroupResource;
use gantry_types::k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, ResourceQuota, ScopedResourceSelectorRequirement, Service,
};
use gantry_types::k8s_openapi::jiff::Timestamp;

/// An object as quotas see it.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    Pod(&'a Pod),
    Service(&'a Service),
    Claim(&'a PersistentVolumeClaim),
    /// Only its being there counts.
    Other,
}

/// How a resource is measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    Pods,
    Services,
    Claims,
    /// By number, under each of these names.
    Count(Vec<String>),
}

/// `count/deployments.apps`, `count/secrets`.
pub fn count_name(resource: &GroupResource) -> String {
    match &*resource.group {
        "" => format!("count/{}", resource.resource),
        group => format!("count/{}.{group}", resource.resource),
    }
}

/// Resources of the core group that older quotas count under their bare name.
const ALIASED: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

impl Measure {
    pub fn of(resource: &GroupResource) -> Self {
        match (&*resource.group, &*resource.resource) {
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::Claims,
            ("", name) if ALIASED.contains(&name) => Self::Count(vec![count_name(resource), name.to_owned()]),
            _ => Self::Count(vec![count_name(resource)]),
        }
    }

    /// Whether a quota's resource is one this measure speaks of.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Pods => pod::covers(name),
            Self::Services => service::RESOURCES.contains(&name),
            Self::Claims => claim::covers(name),
            Self::Count(names) => names.iter().any(|n| n == name),
        }
    }

    /// What an object costs.
    pub fn usage(&self, item: Item<'_>, now: Timestamp) -> Amounts {
        match (self, item) {
            (Self::Pods, Item::Pod(pod)) => pod::usage(pod, now),
            (Self::Services, Item::Service(service)) => service::usage(service),
            (Self::Claims, Item::Claim(claim)) => claim::usage(claim),
            (Self::Count(names), _) => names.iter().map(|n| (n.clone(), amounts::one())).collect(),
            _ => Amounts::new(),
        }
    }

    /// Whether an object is in a scope; what has no scopes is in none.
    fn in_scope(&self, scope: &ScopedResourceSelectorRequirement, item: Item<'_>) -> bool {
        match item {
            Item::Pod(pod) => pod::in_scope(pod, scope),
            Item::Claim(claim) => claim::in_scope(claim, scope),
            _ => false,
        }
    }

    /// Whether an object is in all scopes of a quota.
    pub fn in_scopes(&self, quota: &ResourceQuota, item: Item<'_>) -> bool {
        scopes(quota).iter().all(|scope| self.in_scope(scope, item))
    }

    /// Whether a quota, as its status has it, counts an object.
    pub fn matches(&self, quota: &ResourceQuota, item: Item<'_>) -> bool {
        let hard = quota.status.as_ref().and_then(|s| s.hard.as_ref());
        hard.into_iter().flatten().any(|(name, _)| self.covers(name)) && self.in_scopes(quota, item)
    }
}

/// The scopes of a quota, the plain ones as "exists".
fn scopes(quota: &ResourceQuota) -> Vec<ScopedResourceSelectorRequirement> {
    let Some(spec) = &quota.spec else { return Vec::new() };
    let plain = spec.scopes.iter().flatten().map(|scope| ScopedResourceSelectorRequirement {
        scope_name: scope.clone(),
        operator: "Exists".to_owned(),
        values: None,
    });
    let terms = spec.scope_selector.iter().flat_map(|s| s.match_expressions.iter().flatten());
    plain.chain(terms.cloned()).collect()
}

/// Whether one of the names an object goes by fits a scope's values.
fn names_fit(scope: &ScopedResourceSelectorRequirement, names: &[&str]) -> bool {
    let values = scope.values.as_deref().unwrap_or_default();
    let listed = |name: &&str| values.iter().any(|v| v == name);
    match scope.operator.as_str() {
        "Exists" => !names.is_empty(),
        "DoesNotExist" => names.is_empty(),
        "In" => names.iter().any(listed),
        "NotIn" => names.is_empty() || names.iter().any(|n| !listed(n)),
        _ => false,
    }
}
