//! `networking.k8s.io`.

pub mod ip_address;
pub mod service_cidr;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "IPAddress" => erase(ip_address::IpAddresses),
        "ServiceCIDR" => erase(service_cidr::ServiceCidrs),
        _ => return None,
    })
}
