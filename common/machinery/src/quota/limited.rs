//! Resources nobody may use without a quota that covers them: the `limitedResources` of the ResourceQuota
//! admission plugin's configuration.

use super::amounts::{Amounts, growth};
use super::{Charge, scopes};
use gantry_types::GroupResource;
use gantry_types::k8s_openapi::api::core::v1::{ResourceQuota, ScopedResourceSelectorRequirement};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;

/// One rule of the configuration.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limited {
    #[serde(default)]
    pub api_group: String,
    /// The plural name, `pods`.
    #[serde(default)]
    pub resource: String,
    /// Amounts of objects of this resource that contain one of these need a quota that limits them.
    #[serde(default)]
    pub match_contains: Vec<String>,
    /// Objects, of any resource, in one of these scopes need a quota that has a scope of its name.
    #[serde(default)]
    pub match_scopes: Vec<ScopedResourceSelectorRequirement>,
}

/// What no quota covers, in upstream's words.
#[derive(Clone, Debug, PartialEq)]
pub enum Uncovered {
    Amounts(BTreeSet<String>),
    Scopes(Vec<ScopedResourceSelectorRequirement>),
}

impl fmt::Display for Uncovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amounts(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                write!(f, "insufficient quota to consume: {}", names.join(","))
            }
            Self::Scopes(scopes) => {
                let one = |s: &ScopedResourceSelectorRequirement| {
                    let values = s.values.as_deref().unwrap_or_default().join(" ");
                    format!("{{{} {} [{values}]}}", s.scope_name, s.operator)
                };
                let all: Vec<String> = scopes.iter().map(one).collect();
                write!(f, "insufficient quota to match these scopes: [{}]", all.join(" "))
            }
        }
    }
}

/// Whether the write makes anything grow, as the quotas that count it see it, or none where none does.
fn grows(quotas: &[ResourceQuota], rq: &Charge<'_>, usage: &Amounts) -> bool {
    let grown = |old| !growth(usage, &rq.measure.usage(old, rq.now)).is_empty();
    let mut counting = quotas.iter().filter(|q| rq.measure.matches(q, rq.item)).peekable();
    let Some(old) = rq.old else { return !usage.is_empty() };
    if counting.peek().is_none() {
        return grown(old);
    }
    // Where a quota did not count what was, all of it is new.
    counting.any(|q| if rq.measure.matches(q, old) { grown(old) } else { !usage.is_empty() })
}

/// What of the write needs a quota and has none. `quotas`: all of its namespace.
pub fn uncovered(
    limited: &[Limited],
    resource: &GroupResource,
    quotas: &[ResourceQuota],
    rq: &Charge<'_>,
) -> Option<Uncovered> {
    let usage = rq.measure.usage(rq.item, rq.now);
    if limited.is_empty() || !grows(quotas, rq, &usage) {
        return None;
    }
    let rules =
        || limited.iter().filter(|l| l.api_group == resource.group && l.resource == resource.resource);
    let named = |name: &str| rules().flat_map(|l| &l.match_contains).any(|part| name.contains(part.as_str()));
    let counting = || quotas.iter().filter(|q| rq.measure.matches(q, rq.item));
    let covered = |name: &String| {
        let hard = |q: &ResourceQuota| {
            q.status.as_ref().and_then(|s| s.hard.as_ref()).is_some_and(|h| h.contains_key(name))
        };
        rq.measure.covers(name) && counting().any(hard)
    };
    let amounts = usage.iter().filter(|(name, q)| q.sign() > 0 && named(name) && !covered(name));
    let amounts: BTreeSet<String> = amounts.map(|(name, _)| name.clone()).collect();
    if !amounts.is_empty() {
        return Some(Uncovered::Amounts(amounts));
    }
    let held: Vec<ScopedResourceSelectorRequirement> =
        quotas.iter().flat_map(scopes).filter(|scope| rq.measure.in_scope(scope, rq.item)).collect();
    let missing = limited
        .iter()
        .flat_map(|l| &l.match_scopes)
        .filter(|scope| rq.measure.in_scope(scope, rq.item))
        .filter(|scope| !held.iter().any(|h| h.scope_name == scope.scope_name));
    let missing: Vec<_> = missing.cloned().collect();
    (!missing.is_empty()).then_some(Uncovered::Scopes(missing))
}
