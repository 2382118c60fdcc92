//! Charging a quota for an object that is about to be stored.

use super::amounts::{self, Amounts, growth, mask};
use super::{Item, Measure, pod};
use gantry_types::k8s_openapi::api::core::v1::ResourceQuota;
use gantry_types::k8s_openapi::jiff::Timestamp;

/// A write as quotas see it.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    pub measure: &'a Measure,
    pub item: Item<'a>,
    /// What it replaces.
    pub old: Option<Item<'a>>,
    /// A report of what is; it is counted and never refused.
    pub report: bool,
    pub now: Timestamp,
}

/// Why an object may not be stored, in upstream's words.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("failed quota: {quota}: {why}")]
    Unstated { quota: String, why: String },
    #[error("status unknown for quota: {quota}, resources: {resources}")]
    Unknown { quota: String, resources: String },
    #[error("quota usage is negative for resource(s): {resources}")]
    Negative { resources: String },
    #[error("exceeded quota: {quota}, requested: {requested}, used: {used}, limited: {limited}")]
    Exceeded { quota: String, requested: String, used: String, limited: String },
}

fn names(amounts: &Amounts) -> String {
    amounts.keys().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// The amounts a quota's `status.used` grows by for this write: empty where it does not count.
///
/// # Errors
/// Where the object may not be stored.
pub fn charge(quota: &ResourceQuota, rq: &Charge<'_>) -> Result<Amounts, Refusal> {
    let name = || quota.metadata.name.clone().unwrap_or_default();
    if !rq.measure.matches(quota, rq.item) {
        return Ok(Amounts::new());
    }
    let status = quota.status.as_ref();
    let hard = amounts::parse(status.and_then(|s| s.hard.as_ref()));
    let used = amounts::parse(status.and_then(|s| s.used.as_ref()));
    let limited = mask(&hard, |n| rq.measure.covers(n));
    if let Item::Pod(pod) = rq.item {
        let limited: Vec<&str> = limited.keys().map(String::as_str).collect();
        if let Some(why) = pod::unstated(pod, &limited) {
            return Err(Refusal::Unstated { quota: name(), why });
        }
    }
    if limited.keys().any(|n| !used.contains_key(n)) {
        return Err(Refusal::Unknown { quota: name(), resources: names(&limited) });
    }
    let mut delta = rq.measure.usage(rq.item, rq.now);
    let negative = delta.iter().filter(|(_, q)| q.sign() < 0).map(|(n, q)| (n.clone(), q.clone()));
    let negative: Amounts = negative.collect();
    if !negative.is_empty() {
        return Err(Refusal::Negative { resources: names(&negative) });
    }
    if let Some(old) = rq.old.filter(|old| rq.measure.matches(quota, *old)) {
        delta = growth(&delta, &rq.measure.usage(old, rq.now));
    }
    delta.retain(|n, q| !q.is_zero() && hard.contains_key(n));
    let wanted = amounts::total(&mask(&used, |n| delta.contains_key(n)), &delta);
    let exceeds = |n: &str| wanted.get(n).zip(hard.get(n)).is_some_and(|(new, most)| new > most);
    if !rq.report && wanted.keys().any(|n| exceeds(n)) {
        let shown = |list: &Amounts| amounts::format(&mask(list, exceeds));
        return Err(Refusal::Exceeded {
            quota: name(),
            requested: shown(&delta),
            used: shown(&used),
            limited: shown(&hard),
        });
    }
    Ok(delta)
}

/// What is left of `used` when a charge is taken back.
pub fn release(used: &Amounts, charged: &Amounts) -> Amounts {
    let mut out = used.clone();
    for (name, amount) in charged {
        if let Some(q) = out.get_mut(name) {
            q.sub(amount);
            if q.sign() < 0 {
                *q = gantry_types::quantity::Quantity::default();
            }
        }
    }
    out
}
