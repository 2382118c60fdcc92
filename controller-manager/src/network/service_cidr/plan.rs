//! Whether a range may go, and what it says of itself.

use super::FINALIZER;
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use std::net::IpAddr;
use std::sync::Arc;

/// How long a range nobody needs stays, so that a service in the making finds it.
const GRACE: i64 = 10;

/// The `Ready` condition.
pub(super) struct Ready {
    pub status: &'static str,
    pub reason: &'static str,
    pub message: &'static str,
}

pub(super) const READY: Ready =
    Ready { status: "True", reason: "", message: "Kubernetes Service CIDR is ready" };
pub(super) const TERMINATING: Ready = Ready {
    status: "False",
    reason: "Terminating",
    message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// `hold`: the finalizer is missing.
    Keep {
        hold: bool,
    },
    InUse,
    /// In so many seconds.
    Later(u64),
    Release,
    Nothing,
}

fn ranges(cidr: &ServiceCIDR) -> Vec<IpNet> {
    cidr.spec.iter().flat_map(|s| s.cidrs.iter().flatten()).filter_map(|c| c.parse().ok()).collect()
}

/// Whether services may have the address out of the range: not its own, nor IPv4's last.
fn holds(range: &IpNet, ip: IpAddr) -> bool {
    range.contains(&ip) && range.network() != ip && !(ip.is_ipv4() && range.broadcast() == ip)
}

pub(super) fn contains(cidr: &ServiceCIDR, ip: IpAddr) -> bool {
    ranges(cidr).iter().any(|range| holds(range, ip))
}

pub(super) fn overlap(a: &ServiceCIDR, b: &ServiceCIDR) -> bool {
    let (a, b) = (ranges(a), ranges(b));
    a.iter().any(|x| b.iter().any(|y| x.contains(y) || y.contains(x)))
}

/// The address, where the apiserver gave it out.
pub(super) fn managed(address: &IPAddress) -> Option<IpAddr> {
    let labels = address.metadata.labels.as_ref()?;
    let by = labels.get("ipaddress.kubernetes.io/managed-by")?;
    (by == "ipallocator.k8s.io").then(|| address.metadata.name.as_deref()?.parse().ok())?
}

/// Whether the range says so already.
pub(super) fn says(cidr: &ServiceCIDR, wanted: &Ready) -> bool {
    let conditions = cidr.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let found = conditions.into_iter().find(|c| c.type_ == "Ready");
    found.is_some_and(|c| {
        (c.status.as_str(), c.reason.as_str(), c.message.as_str())
            == (wanted.status, wanted.reason, wanted.message)
    })
}

fn may_go(cidr: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: &[Arc<IPAddress>]) -> bool {
    let others: Vec<&Arc<ServiceCIDR>> =
        all.iter().filter(|c| c.metadata.name != cidr.metadata.name).collect();
    let own = ranges(cidr);
    if own.iter().all(|range| others.iter().any(|o| ranges(o).iter().any(|r| r.contains(range)))) {
        return true;
    }
    !addresses
        .iter()
        .filter_map(|a| managed(a))
        .any(|ip| contains(cidr, ip) && !others.iter().any(|o| contains(o, ip)))
}

pub(super) fn plan(
    cidr: &ServiceCIDR,
    all: &[Arc<ServiceCIDR>],
    addresses: &[Arc<IPAddress>],
    now: Timestamp,
) -> Plan {
    let held = cidr.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    let Some(deleted) = &cidr.metadata.deletion_timestamp else { return Plan::Keep { hold: !held } };
    if !may_go(cidr, all, addresses) {
        return Plan::InUse;
    }
    let left = GRACE - (now.as_second() - deleted.0.as_second());
    match u64::try_from(left) {
        Ok(left) if left > 0 => Plan::Later(left),
        _ if held => Plan::Release,
        _ => Plan::Nothing,
    }
}
