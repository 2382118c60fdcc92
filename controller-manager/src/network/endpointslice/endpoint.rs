//! From a pod to its endpoint.

use gantry_reconcile::conditions;
use k8s_openapi::api::core::v1::{Container, ContainerPort, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::network) enum Family {
    V4,
    V6,
}

impl Family {
    pub(in crate::network) fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn of(ip: &str) -> Self {
        if ip.contains(':') { Self::V6 } else { Self::V4 }
    }
}

/// Whether a pod has an address that may be published.
pub(in crate::network) fn belongs(pod: &Pod) -> bool {
    !conditions::is_terminal(pod)
        && pod.status.as_ref().is_some_and(|s| s.pod_ips.as_ref().is_some_and(|ips| !ips.is_empty()))
}

/// Whether a change of a pod shows in no endpoint.
pub(in crate::network) fn same_for_endpoints(old: &Pod, new: &Pod) -> bool {
    let ips = |p: &Pod| p.status.as_ref().and_then(|s| s.pod_ips.clone());
    let host =
        |p: &Pod| p.spec.as_ref().map(|s| (s.node_name.clone(), s.hostname.clone(), s.subdomain.clone()));
    old.metadata.labels == new.metadata.labels
        && old.metadata.deletion_timestamp.is_some() == new.metadata.deletion_timestamp.is_some()
        && conditions::is_terminal(old) == conditions::is_terminal(new)
        && conditions::is_ready(old) == conditions::is_ready(new)
        && ips(old) == ips(new)
        && host(old) == host(new)
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

/// The ports a service has on this pod; those it names and the pod does not have are left out.
pub(in crate::network) fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(number(port, pod)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let wanted = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let named = |p: &&ContainerPort| {
        p.name.as_deref() == Some(wanted) && p.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    let spec = pod.spec.as_ref()?;
    let sidecar = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten().filter(sidecar))
        .flat_map(|c| c.ports.iter().flatten())
        .find(named)
        .map(|p| p.container_port)
}

/// The endpoint; `None` where the pod has no address of the family.
pub(in crate::network) fn endpoint(
    service: &Service,
    pod: &Pod,
    family: Family,
    zone: Option<&str>,
) -> Option<Endpoint> {
    let addresses: Vec<String> = pod
        .status
        .iter()
        .flat_map(|s| s.pod_ips.iter().flatten())
        .filter(|ip| Family::of(&ip.ip) == family)
        .map(|ip| ip.ip.clone())
        .collect();
    if addresses.is_empty() {
        return None;
    }
    let serving = conditions::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let publish = service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses).unwrap_or(false);
    let spec = pod.spec.as_ref();
    let named = |s: &k8s_openapi::api::core::v1::PodSpec| {
        let hostname = s.hostname.as_deref().unwrap_or("");
        !hostname.is_empty()
            && s.subdomain.as_deref() == service.metadata.name.as_deref()
            && service.metadata.namespace == pod.metadata.namespace
    };
    Some(Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        deprecated_topology: None,
        hints: None,
        hostname: spec.filter(|s| named(s)).and_then(|s| s.hostname.clone()),
        node_name: spec.and_then(|s| s.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: zone.filter(|z| !z.is_empty()).map(str::to_owned),
    })
}

/// The families a service publishes.
pub(in crate::network) fn families(service: &Service) -> Vec<Family> {
    let spec = service.spec.as_ref();
    let listed: Vec<Family> = spec
        .iter()
        .flat_map(|s| s.ip_families.iter().flatten())
        .map(|f| if f == "IPv6" { Family::V6 } else { Family::V4 })
        .collect();
    if !listed.is_empty() {
        return listed;
    }
    match spec.and_then(|s| s.cluster_ip.as_deref()).filter(|ip| !ip.is_empty()) {
        Some(ip) if !is_headless(service) => vec![Family::of(ip)],
        _ => vec![Family::V4, Family::V6],
    }
}
