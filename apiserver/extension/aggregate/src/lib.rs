//! API aggregation as pure decisions: which APIServices this server registers for itself ([`registration`]),
//! the order of groups and versions in discovery ([`order`]), where requests of a remote group version go and
//! whether it is available ([`availability`]).
//!
//! Owns no task and no channel: everything is a function of APIServices, Services and EndpointSlices. Refuses
//! connections, clocks and the registry; the apiserver's shell has those.

pub mod availability;
pub mod order;
pub mod registration;

use gantry_types::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceCondition, APIServiceSpec, ServiceReference,
};

/// The type of the one condition there is.
pub const AVAILABLE: &str = "Available";

/// The spec of an APIService; absent only in objects written by hand into the store.
pub fn spec(service: &APIService) -> Option<&APIServiceSpec> {
    service.spec.as_ref()
}

/// The service behind a remote APIService; `None` where this server serves it.
pub fn backing(service: &APIService) -> Option<&ServiceReference> {
    spec(service).and_then(|s| s.service.as_ref())
}

/// Group and version it is about.
pub fn group_version(service: &APIService) -> (&str, &str) {
    spec(service).map_or(("", ""), |s| {
        (s.group.as_deref().unwrap_or_default(), s.version.as_deref().unwrap_or_default())
    })
}

/// Its condition of type `Available`.
pub fn condition(service: &APIService) -> Option<&APIServiceCondition> {
    let all = service.status.iter().flat_map(|s| s.conditions.iter().flatten());
    all.into_iter().find(|c| c.type_ == AVAILABLE)
}

/// Whether requests may go there.
pub fn is_available(service: &APIService) -> bool {
    condition(service).is_some_and(|c| c.status == "True")
}

#[cfg(test)]
mod tests;
