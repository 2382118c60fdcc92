//! What is left in a namespace, and what its conditions say of it.

use crate::discovery::ApiResource;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long finalizers are given before another look.
const FINALIZER_SECONDS: i64 = 15;

/// What one resource still has after its deletion was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remaining {
    pub count: usize,
    /// The longest time a pod was given to end.
    pub grace_seconds: i64,
    /// The finalizers of all objects, repeated as they come.
    pub finalizers: Vec<String>,
}

/// The result of emptying a namespace once.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub discovery_error: Option<String>,
    pub discovery_failed: Vec<String>,
    errors: Vec<String>,
    remaining: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    wait_seconds: i64,
}

impl Findings {
    pub(super) fn add(&mut self, resource: &ApiResource, result: Result<Remaining, String>, namespace: &str) {
        let remaining = match result {
            Ok(remaining) => remaining,
            Err(words) => {
                self.errors.push(words);
                return;
            }
        };
        if remaining.count == 0 {
            return;
        }
        let name = format!("{}.{}", resource.resource, resource.group);
        if remaining.grace_seconds == 0 && remaining.finalizers.is_empty() && resource.resource != "pods" {
            let (group, version, plural) = (&resource.group, &resource.version, &resource.resource);
            self.errors.push(format!(
                "unexpected items still remain in namespace: {namespace} for gvr: {group}/{version}, Resource={plural}"
            ));
        }
        self.remaining.insert(name, remaining.count);
        let wait = if remaining.grace_seconds > 0 { remaining.grace_seconds } else { FINALIZER_SECONDS };
        self.wait_seconds = self.wait_seconds.max(wait);
        for finalizer in remaining.finalizers {
            *self.finalizers.entry(finalizer).or_default() += 1;
        }
    }

    pub(super) fn anything_left(&self) -> bool {
        !self.remaining.is_empty()
    }

    /// Why another try must follow soon.
    pub(super) fn failure(&self) -> Option<String> {
        if let Some(error) = &self.discovery_error {
            return Some(error.clone());
        }
        if !self.discovery_failed.is_empty() {
            return Some(self.discovery_message());
        }
        (!self.errors.is_empty()).then(|| self.errors.join(", "))
    }

    /// How long to give what is left.
    pub(super) fn wait(&self) -> Option<Duration> {
        // Half of the estimate and a second, as upstream: most things go sooner.
        self.anything_left().then(|| Duration::from_secs((self.wait_seconds / 2 + 1).unsigned_abs()))
    }

    fn discovery_message(&self) -> String {
        let failed = &self.discovery_failed;
        format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
            failed.len(),
            failed.join(", ")
        )
    }
}

/// Brings the five deletion conditions up to date; whether any changed.
pub(super) fn update_conditions(status: &mut NamespaceStatus, findings: &Findings, now: Timestamp) -> bool {
    let listed = |map: &BTreeMap<String, usize>, between: &str, suffix: &str| {
        let parts: Vec<_> = map.iter().map(|(name, n)| format!("{name} {between} {n} {suffix}")).collect();
        parts.join(", ")
    };
    let mut errors = findings.errors.clone();
    errors.sort_unstable();
    let discovery = findings
        .discovery_error
        .clone()
        .or_else(|| (!findings.discovery_failed.is_empty()).then(|| findings.discovery_message()));
    let failed = (!errors.is_empty()).then(|| {
        format!("Failed to delete all resource types, {} remaining: {}", errors.len(), errors.join(", "))
    });
    let remaining = (!findings.remaining.is_empty()).then(|| {
        format!("Some resources are remaining: {}", listed(&findings.remaining, "has", "resource instances"))
    });
    let finalizers = (!findings.finalizers.is_empty()).then(|| {
        let list = listed(&findings.finalizers, "in", "resource instances");
        format!("Some content in the namespace has finalizers remaining: {list}")
    });
    let rows: [(&str, Option<String>, &str, &str, &str); 5] = [
        (
            "NamespaceDeletionDiscoveryFailure",
            discovery,
            "DiscoveryFailed",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            "GroupVersionParsingFailed",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            failed,
            "ContentDeletionFailed",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            remaining,
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            finalizers,
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ];
    let conditions = status.conditions.get_or_insert_default();
    let mut changed = false;
    for (kind, trouble, bad, good, fine) in rows {
        let (state, reason, message) = match trouble {
            Some(message) => ("True", bad, message),
            None => ("False", good, fine.to_owned()),
        };
        let new = NamespaceCondition {
            type_: kind.into(),
            status: state.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        };
        match conditions.iter_mut().find(|c| c.type_ == kind) {
            None => {
                conditions.push(new);
                changed = true;
            }
            Some(old)
                if old.status != new.status || old.reason != new.reason || old.message != new.message =>
            {
                let since = if old.status == new.status {
                    old.last_transition_time.clone()
                } else {
                    new.last_transition_time.clone()
                };
                *old = NamespaceCondition { last_transition_time: since, ..new };
                changed = true;
            }
            Some(_) => {}
        }
    }
    changed
}
