//! What a quota's status should say.

use gantry_machinery::quota::{self, Amounts, Item, Measure, count_name};
use gantry_types::GroupResource;
use gantry_types::quantity::Quantity;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is in the quota's namespace; what is not known is `None`.
#[derive(Default)]
pub(super) struct Snapshot {
    pub pods: Vec<Arc<Pod>>,
    pub services: Option<Vec<Arc<Service>>>,
    pub claims: Option<Vec<Arc<PersistentVolumeClaim>>>,
    /// Objects by the resource they are counted as; a resource that is not counted yet is not there.
    pub counts: BTreeMap<GroupResource, i64>,
    /// Taken from the quota so lately that what it was taken for may not be seen yet.
    pub recent: Amounts,
}

/// What to do about a quota.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// The status to write; `None` where it is right.
    pub status: Option<ResourceQuotaStatus>,
    /// When something will have changed without anybody saying so.
    pub due: Option<Timestamp>,
}

/// The resources of the core group that count under their bare name too.
const ALIASED: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// The resource a quota's name counts, where it only counts.
pub(super) fn counted(name: &str) -> Option<GroupResource> {
    let full = match name.strip_prefix("count/") {
        Some(rest) => rest,
        None if ALIASED.contains(&name) => name,
        None => return None,
    };
    let (plural, group) = full.split_once('.').unwrap_or((full, ""));
    let measured = group.is_empty() && ["pods", "services", "persistentvolumeclaims"].contains(&plural);
    (!measured).then(|| GroupResource { group: group.to_owned().into(), resource: plural.to_owned().into() })
}

/// The names a quota limits.
pub(super) fn names(quota: &ResourceQuota) -> impl Iterator<Item = &str> {
    quota.spec.iter().flat_map(|s| s.hard.iter().flatten()).map(|(name, _)| name.as_str())
}

fn sum<'a>(
    quota: &ResourceQuota,
    measure: &Measure,
    items: impl Iterator<Item = Item<'a>>,
    now: Timestamp,
) -> Amounts {
    let mut total: Amounts =
        names(quota).filter(|n| measure.covers(n)).map(|n| (n.to_owned(), Quantity::default())).collect();
    for item in items.filter(|item| measure.in_scopes(quota, *item)) {
        let usage = measure.usage(item, now);
        total.iter_mut().for_each(|(name, q)| usage.get(name).into_iter().for_each(|cost| q.add(cost)));
    }
    total
}

/// What is used of everything the snapshot knows about.
fn usage(quota: &ResourceQuota, snapshot: &Snapshot, now: Timestamp) -> Amounts {
    let mut used = sum(quota, &Measure::Pods, snapshot.pods.iter().map(|p| Item::Pod(p)), now);
    if let Some(services) = &snapshot.services {
        used.extend(sum(quota, &Measure::Services, services.iter().map(|s| Item::Service(s)), now));
    }
    if let Some(claims) = &snapshot.claims {
        used.extend(sum(quota, &Measure::Claims, claims.iter().map(|c| Item::Claim(c)), now));
    }
    for (resource, count) in &snapshot.counts {
        let measure = Measure::of(resource);
        // What has no scopes is in none.
        let count = if measure.in_scopes(quota, Item::Other) { *count } else { 0 };
        let covered = names(quota).filter(|n| measure.covers(n));
        used.extend(covered.map(|n| (n.to_owned(), Quantity::from_int(count))));
    }
    used
}

/// When a pod that is going stops counting though it is still there.
fn overdue(pods: &[Arc<Pod>], now: Timestamp) -> Option<Timestamp> {
    let at = |pod: &Arc<Pod>| {
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds?);
        pod.metadata.deletion_timestamp.as_ref()?.0.checked_add(grace).ok()
    };
    pods.iter().filter_map(at).filter(|at| *at >= now).min()
}

pub(super) fn plan(quota: &ResourceQuota, snapshot: &Snapshot, now: Timestamp) -> Plan {
    let status = quota.status.clone().unwrap_or_default();
    let hard = quota::parse(quota.spec.as_ref().and_then(|s| s.hard.as_ref()));
    let before = quota::parse(status.used.as_ref());
    let mut used = before.clone();
    for (name, counted) in usage(quota, snapshot, now) {
        let mut most = counted.clone();
        if let Some(recent) = snapshot.recent.get(&name) {
            most.add(recent);
        }
        // Less than what was taken: what was taken a moment ago stays taken.
        let kept = before.get(&name).filter(|b| **b > counted).map(|b| b.min(&most).clone());
        used.insert(name, kept.unwrap_or(counted));
    }
    used.retain(|name, _| hard.contains_key(name));
    let known = quota::parse(status.hard.as_ref());
    let right = status.hard.is_some() && status.used.is_some();
    let changed = !right || !quota::same(&known, &hard) || !quota::same(&before, &used);
    let status = ResourceQuotaStatus { hard: Some(quota::write(&hard)), used: Some(quota::write(&used)) };
    let measures_pods = names(quota).any(|n| Measure::Pods.covers(n));
    Plan {
        status: changed.then_some(status),
        due: measures_pods.then(|| overdue(&snapshot.pods, now)).flatten(),
    }
}

/// By how much a quota's use grew between two of its states.
pub(super) fn taken(old: &ResourceQuota, new: &ResourceQuota) -> Amounts {
    let used = |q: &ResourceQuota| quota::parse(q.status.as_ref().and_then(|s| s.used.as_ref()));
    let (old, new) = (used(old), used(new));
    // What was not counted before was not taken.
    new.into_iter()
        .filter_map(|(name, mut amount)| {
            amount.sub(old.get(&name)?);
            (amount.sign() > 0).then_some((name, amount))
        })
        .collect()
}

/// A resource as `count/…` names it, for logs.
pub(super) fn label(resource: &GroupResource) -> String {
    count_name(resource)
}
