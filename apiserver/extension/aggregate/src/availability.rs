//! Where a remote group version is served, and whether it is.

use crate::{AVAILABLE, condition};
use gantry_types::field::go_quote;
use gantry_types::k8s_openapi::api::core::v1::Service;
use gantry_types::k8s_openapi::api::discovery::v1::EndpointSlice;
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceCondition, ServiceReference,
};

/// The port of a reference without one.
pub const HTTPS: i32 = 443;
/// The label an EndpointSlice names its service by.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What a look at an APIService found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub available: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Finding {
    fn not(reason: &'static str, message: String) -> Self {
        Self { available: false, reason, message }
    }

    /// Everything is well.
    pub fn passed() -> Self {
        Self { available: true, reason: "Passed", message: "all checks passed".into() }
    }

    /// This server serves it itself.
    pub fn local() -> Self {
        let message = "Local APIServices are always available".into();
        Self { available: true, reason: "Local", message }
    }

    /// The backend does not answer as it must.
    pub fn failed(error: impl Into<String>) -> Self {
        Self::not("FailedDiscoveryCheck", error.into())
    }
}

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

fn text(s: &Option<String>) -> &str {
    s.as_deref().unwrap_or_default()
}

/// The parts of a reference: namespace, name, port.
pub fn parts(reference: &ServiceReference) -> (&str, &str, i32) {
    (text(&reference.namespace), text(&reference.name), reference.port.unwrap_or(HTTPS))
}

/// The name a backend's certificate must carry.
pub fn server_name(reference: &ServiceReference) -> String {
    let (namespace, name, _) = parts(reference);
    format!("{name}.{namespace}.svc")
}

/// What can be told without asking the backend. `slices` are the service's own.
///
/// # Errors
/// What is missing, as the condition says it.
pub fn check(
    reference: &ServiceReference,
    service: Option<&Service>,
    slices: &[EndpointSlice],
) -> Result<(), Finding> {
    let (namespace, name, port) = parts(reference);
    let what = format!("service/{name} in {}", go_quote(namespace));
    let Some(service) = service else {
        return Err(Finding::not("ServiceNotFound", format!("{what} is not present")));
    };
    let spec = service.spec.clone().unwrap_or_default();
    if !matches!(text(&spec.type_), "" | "ClusterIP") {
        return Ok(());
    }
    let Some(found) = spec.ports.iter().flatten().find(|p| p.port == port) else {
        return Err(Finding::not("ServicePortError", format!("{what} is not listening on port {port}")));
    };
    if slices.is_empty() {
        let why = format!("cannot find endpointslices for {what}");
        return Err(Finding::not("EndpointsNotFound", why));
    }
    let port_name = text(&found.name);
    if !slices.iter().any(|slice| usable(slice, port_name).next().is_some()) {
        let quoted = go_quote(port_name);
        let why = format!("endpointslices for {what} have no addresses with port name {quoted}");
        return Err(Finding::not("MissingEndpoints", why));
    }
    Ok(())
}

/// The ready addresses of a slice that has the port.
fn usable<'a>(slice: &'a EndpointSlice, port_name: &'a str) -> impl Iterator<Item = Address> + 'a {
    let ports = slice.ports.iter().flatten().filter(move |p| text(&p.name) == port_name);
    let port = ports.filter_map(|p| u16::try_from(p.port?).ok()).next();
    port.into_iter().flat_map(move |port| {
        let ready = slice
            .endpoints
            .iter()
            .flatten()
            .filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
        ready.filter_map(move |e| Some(Address { host: e.addresses.first()?.clone(), port }))
    })
}

/// The places a request may go to, those of the service's first address family first.
///
/// # Errors
/// Why there is none, as upstream's resolver says it.
pub fn resolve(
    reference: &ServiceReference,
    service: Option<&Service>,
    slices: &[EndpointSlice],
) -> Result<Vec<Address>, String> {
    let (_, name, port) = parts(reference);
    let Some(service) = service else {
        return Err(format!("service {} not found", go_quote(name)));
    };
    let spec = service.spec.clone().unwrap_or_default();
    match text(&spec.type_) {
        "ExternalName" => {
            let port = u16::try_from(port).map_err(|e| e.to_string())?;
            return Ok(vec![Address { host: text(&spec.external_name).to_owned(), port }]);
        }
        "" | "ClusterIP" | "LoadBalancer" | "NodePort" => {}
        other => return Err(format!("unsupported service type {}", go_quote(other))),
    }
    let Some(found) = spec.ports.iter().flatten().find(|p| p.port == port) else {
        return Err(format!("no service port {port} found for service {}", go_quote(name)));
    };
    let family = spec.ip_families.iter().flatten().next();
    let (first, rest): (Vec<_>, Vec<_>) =
        slices.iter().partition(|s| family.is_none_or(|f| *f == s.address_type));
    let chosen = [first, rest].into_iter().map(|slices| {
        let mut all: Vec<Address> = slices.into_iter().flat_map(|s| usable(s, text(&found.name))).collect();
        all.sort();
        all.dedup();
        all
    });
    match chosen.into_iter().find(|all| !all.is_empty()) {
        Some(all) => Ok(all),
        None => Err(format!("no endpoints available for service {}", go_quote(name))),
    }
}

/// The conditions as they are to be written; `None` where nothing changes but the time of looking.
pub fn conditions(service: &APIService, found: &Finding, now: Timestamp) -> Option<Vec<APIServiceCondition>> {
    let status = if found.available { "True" } else { "False" };
    let before = condition(service);
    let since = match before.filter(|c| c.status == status) {
        Some(same) if text(&same.reason) == found.reason && text(&same.message) == found.message => {
            return None;
        }
        Some(same) => same.last_transition_time.clone(),
        None => Some(Time(now)),
    };
    let new = APIServiceCondition {
        type_: AVAILABLE.into(),
        status: status.into(),
        reason: Some(found.reason.into()),
        message: Some(found.message.clone()),
        last_transition_time: since,
    };
    let mut all: Vec<_> =
        service.status.iter().flat_map(|s| s.conditions.iter().flatten()).cloned().collect();
    match all.iter_mut().find(|c| c.type_ == AVAILABLE) {
        Some(place) => *place = new,
        None => all.push(new),
    }
    Some(all)
}
