//! Services and EndpointSlices to a map of service ports, each with the endpoints that serve it now.

use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort};
use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv4Addr;

/// The label that ties a slice to its Service.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// A Service with this label is somebody else's to proxy.
pub const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("UDP") => Self::Udp,
            Some("SCTP") => Self::Sctp,
            _ => Self::Tcp,
        }
    }
}

impl fmt::Display for Protocol {
    /// As nftables names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One address and port that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub ip: Ipv4Addr,
    pub port: u16,
}

/// A Service port's name: `namespace/name:port`, the port's name empty where it has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortName {
    pub namespace: String,
    pub name: String,
    pub port: String,
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if self.port.is_empty() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// One port of one Service, ready to be turned into rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub protocol: Protocol,
    pub cluster_ip: Ipv4Addr,
    pub port: u16,
    /// 0: none.
    pub node_port: u16,
    /// `spec.externalIPs`.
    pub external_ips: Vec<Ipv4Addr>,
    /// Addresses of `status.loadBalancer` in VIP mode.
    pub load_balancer_ips: Vec<Ipv4Addr>,
    /// `spec.loadBalancerSourceRanges`; empty: everyone.
    pub source_ranges: Vec<String>,
    /// Seconds a client keeps its endpoint; `None`: no affinity.
    pub affinity_seconds: Option<u32>,
    /// Endpoints for clients inside the cluster, after `internalTrafficPolicy`.
    pub cluster: BTreeSet<Endpoint>,
    /// Endpoints for clients outside, after `externalTrafficPolicy`.
    pub external: BTreeSet<Endpoint>,
    /// `externalTrafficPolicy: Local`: sources are kept, and only this node's endpoints serve.
    pub external_local: bool,
    /// Whether any endpoint serves anywhere; tells "drop" from "reject" where none is local.
    pub any_endpoints: bool,
    /// 0: none.
    pub health_check_node_port: u16,
    /// Ready endpoints on this node, for the health check port.
    pub local_ready: usize,
}

pub type ServiceMap = BTreeMap<PortName, ServicePort>;

/// Builds the map for one node. Slices of other address families than IPv4 and malformed addresses are
/// passed over; they never stop the rest.
pub fn service_map<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    node: &str,
) -> ServiceMap {
    let mut by_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        if let (Some(ns), Some(name)) = (&slice.metadata.namespace, labels.and_then(|l| l.get(SERVICE_LABEL)))
            && slice.address_type == "IPv4"
        {
            by_service.entry((ns, name)).or_default().push(slice);
        }
    }
    let mut map = ServiceMap::new();
    for service in services.into_iter().filter(|s| proxied(s)) {
        let (Some(ns), Some(name)) = (&service.metadata.namespace, &service.metadata.name) else { continue };
        let slices = by_service.get(&(ns.as_str(), name.as_str())).map_or(&[][..], Vec::as_slice);
        for port in service.spec.iter().flat_map(|s| s.ports.iter().flatten()) {
            if let Some(ready) = service_port(service, port, slices, node) {
                let port = port.name.clone().unwrap_or_default();
                map.insert(PortName { namespace: ns.clone(), name: name.clone(), port }, ready);
            }
        }
    }
    map
}

fn proxied(service: &Service) -> bool {
    let labels = service.metadata.labels.as_ref();
    let has = |label: &str| labels.is_some_and(|l| l.contains_key(label));
    let external_name = service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("ExternalName");
    !external_name && !has(PROXY_NAME_LABEL) && !has(HEADLESS_LABEL)
}

fn service_port(
    service: &Service,
    port: &ApiPort,
    slices: &[&EndpointSlice],
    node: &str,
) -> Option<ServicePort> {
    let spec = service.spec.as_ref()?;
    let ips = spec.cluster_ips.iter().flatten().chain(spec.cluster_ip.iter());
    let cluster_ip = ips.filter_map(|ip| ip.parse::<Ipv4Addr>().ok()).next()?;
    let number = u16::try_from(port.port).ok()?;
    let found = endpoints(slices, port.name.as_deref().unwrap_or(""), node);
    let internal_local = spec.internal_traffic_policy.as_deref() == Some("Local");
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let affinity = spec.session_affinity.as_deref() == Some("ClientIP");
    let timeout = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()?.timeout_seconds);
    let parse = |list: &Option<Vec<String>>| list.iter().flatten().filter_map(|ip| ip.parse().ok()).collect();
    Some(ServicePort {
        protocol: Protocol::parse(port.protocol.as_deref()),
        cluster_ip,
        port: number,
        node_port: port.node_port.and_then(|p| u16::try_from(p).ok()).unwrap_or(0),
        external_ips: parse(&spec.external_ips),
        load_balancer_ips: load_balancer_ips(service),
        source_ranges: spec.load_balancer_source_ranges.clone().unwrap_or_default(),
        affinity_seconds: affinity.then(|| timeout.and_then(|t| u32::try_from(t).ok()).unwrap_or(10_800)),
        cluster: usable(found.iter().filter(|e| !internal_local || e.local)),
        external: usable(found.iter().filter(|e| !external_local || e.local)),
        external_local,
        any_endpoints: !usable(found.iter()).is_empty(),
        health_check_node_port: spec.health_check_node_port.and_then(|p| u16::try_from(p).ok()).unwrap_or(0),
        local_ready: found.iter().filter(|e| e.local && e.ready).count(),
    })
}

fn load_balancer_ips(service: &Service) -> Vec<Ipv4Addr> {
    let ingress = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()?.ingress.as_ref());
    let vip = ingress.into_iter().flatten().filter(|i| i.ip_mode.as_deref() != Some("Proxy"));
    vip.filter_map(|i| i.ip.as_ref()?.parse().ok()).collect()
}

struct Found {
    endpoint: Endpoint,
    ready: bool,
    serving: bool,
    terminating: bool,
    local: bool,
}

fn endpoints(slices: &[&EndpointSlice], port_name: &str, node: &str) -> Vec<Found> {
    let mut out = Vec::new();
    for slice in slices {
        let named = slice.ports.iter().flatten().find(|p| p.name.as_deref().unwrap_or("") == port_name);
        let Some(port) = named.and_then(|p| u16::try_from(p.port?).ok()) else { continue };
        for e in slice.endpoints.iter().flatten() {
            let Some(ip) = e.addresses.first().and_then(|a| a.parse().ok()) else { continue };
            let (ready, serving, terminating) = conditions(e);
            let local = e.node_name.as_deref() == Some(node);
            out.push(Found { endpoint: Endpoint { ip, port }, ready, serving, terminating, local });
        }
    }
    out
}

/// Ready, serving, terminating; an absent condition means what the API says it means.
fn conditions(e: &ApiEndpoint) -> (bool, bool, bool) {
    let c = e.conditions.as_ref();
    let ready = c.and_then(|c| c.ready).unwrap_or(true);
    let serving = c.and_then(|c| c.serving).unwrap_or(ready);
    (ready, serving, c.and_then(|c| c.terminating).unwrap_or(false))
}

/// The ready ones; where there are none, those that still serve while they terminate (KEP-1669).
fn usable<'a>(found: impl Iterator<Item = &'a Found> + Clone) -> BTreeSet<Endpoint> {
    let ready: BTreeSet<Endpoint> = found.clone().filter(|e| e.ready).map(|e| e.endpoint).collect();
    if !ready.is_empty() {
        return ready;
    }
    found.filter(|e| e.serving && e.terminating).map(|e| e.endpoint).collect()
}
