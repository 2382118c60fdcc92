//! Names of the cluster domain to records: the Kubernetes DNS specification, version 1.1.0. Pure.

use crate::cluster::{Cluster, service_of};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::net::IpAddr;
use std::sync::Arc;

/// What is known of a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Records of the type asked (or the alias to follow).
    Records(Vec<Record>),
    /// The name exists, without records of that type.
    NoData,
    NoName,
    /// Not a name of this zone: ask elsewhere.
    Elsewhere,
}

pub struct Zone<C> {
    pub cluster: Arc<C>,
    pub domain: Name,
    pub ttl: u32,
}

/// An endpoint's address, and the label it is known by below its Service.
struct Host {
    label: String,
    ip: IpAddr,
}

impl<C: Cluster> Zone<C> {
    /// `name` fully qualified; letter case does not matter.
    pub fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        let name = name.to_lowercase();
        if let Ok(net) = name.parse_arpa_name() {
            return if net.prefix_len() == net.max_prefix_len() {
                self.reverse(&name, net.addr(), kind)
            } else {
                Answer::Elsewhere
            };
        }
        if !self.domain.zone_of(&name) {
            return Answer::Elsewhere;
        }
        let own = usize::from(name.num_labels() - self.domain.num_labels());
        let labels: Vec<String> =
            name.iter().take(own).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        match labels.as_slice() {
            [] | ["svc" | "pod"] => Answer::NoData,
            ["dns-version"] => {
                self.records(&name, kind, RecordType::TXT, [RData::TXT(TXT::new(vec!["1.1.0".into()]))])
            }
            [namespace, "svc" | "pod"] => self.exists(self.cluster.namespace(namespace)),
            [pod, namespace, "pod"] => self.pod(&name, pod, namespace, kind),
            [service, namespace, "svc"] => self.service(&name, service, namespace, kind),
            [port, protocol, service, namespace, "svc"]
                if port.starts_with('_') && protocol.starts_with('_') =>
            {
                self.ports(&name, &port[1..], &protocol[1..], service, namespace, kind)
            }
            [protocol, service, namespace, "svc"] if protocol.starts_with('_') => {
                self.exists(self.cluster.service(namespace, service).is_some())
            }
            [host, service, namespace, "svc"] => self.host(&name, host, service, namespace, kind),
            _ => Answer::NoName,
        }
    }

    fn exists(&self, yes: bool) -> Answer {
        if yes { Answer::NoData } else { Answer::NoName }
    }

    fn records(
        &self,
        name: &Name,
        asked: RecordType,
        have: RecordType,
        data: impl IntoIterator<Item = RData>,
    ) -> Answer {
        if asked != have && asked != RecordType::ANY {
            return Answer::NoData;
        }
        let list: Vec<Record> =
            data.into_iter().map(|d| Record::from_rdata(name.clone(), self.ttl, d)).collect();
        if list.is_empty() { Answer::NoData } else { Answer::Records(list) }
    }

    fn addresses(&self, name: &Name, kind: RecordType, ips: impl Iterator<Item = IpAddr>) -> Answer {
        let wanted = ips.filter(|ip| match kind {
            RecordType::A => ip.is_ipv4(),
            RecordType::AAAA => ip.is_ipv6(),
            RecordType::ANY => true,
            _ => false,
        });
        let data: Vec<RData> = wanted.map(address).collect();
        self.records(name, kind, kind, data)
    }

    fn service(&self, name: &Name, service: &str, namespace: &str, kind: RecordType) -> Answer {
        let Some(found) = self.cluster.service(namespace, service) else { return Answer::NoName };
        if let Some(target) = external_name(&found) {
            let Ok(target) = Name::from_utf8(format!("{}.", target.trim_end_matches('.'))) else {
                return Answer::NoData;
            };
            return Answer::Records(vec![Record::from_rdata(
                name.clone(),
                self.ttl,
                RData::CNAME(CNAME(target)),
            )]);
        }
        if !headless(&found) {
            return self.addresses(name, kind, cluster_ips(&found).into_iter());
        }
        let hosts = hosts(&self.cluster.slices(namespace, service));
        if hosts.is_empty() {
            return Answer::NoName;
        }
        self.addresses(name, kind, hosts.into_iter().map(|h| h.ip))
    }

    fn host(&self, name: &Name, host: &str, service: &str, namespace: &str, kind: RecordType) -> Answer {
        if self.cluster.service(namespace, service).is_none() {
            return Answer::NoName;
        }
        let found: Vec<IpAddr> = hosts(&self.cluster.slices(namespace, service))
            .into_iter()
            .filter(|h| h.label == host)
            .map(|h| h.ip)
            .collect();
        if found.is_empty() { Answer::NoName } else { self.addresses(name, kind, found.into_iter()) }
    }

    fn pod(&self, name: &Name, pod: &str, namespace: &str, kind: RecordType) -> Answer {
        let v4 = pod.replace('-', ".").parse::<IpAddr>().ok();
        let ip = v4.or_else(|| pod.replace('-', ":").parse().ok());
        match ip {
            Some(ip) if self.cluster.namespace(namespace) => self.addresses(name, kind, [ip].into_iter()),
            _ => Answer::NoName,
        }
    }

    fn ports(
        &self,
        name: &Name,
        port: &str,
        protocol: &str,
        service: &str,
        namespace: &str,
        kind: RecordType,
    ) -> Answer {
        let Some(found) = self.cluster.service(namespace, service) else { return Answer::NoName };
        let base = || Name::from_utf8(format!("{service}.{namespace}.svc.{}", self.domain));
        let mut data = Vec::new();
        if headless(&found) {
            for slice in self.cluster.slices(namespace, service) {
                let number = slice.ports.iter().flatten().find(|p| {
                    p.name.as_deref().unwrap_or("") == port
                        && p.protocol.as_deref().unwrap_or("TCP").eq_ignore_ascii_case(protocol)
                });
                let Some(number) = number.and_then(|p| u16::try_from(p.port?).ok()) else { continue };
                for host in hosts(std::slice::from_ref(&slice)) {
                    if let Ok(target) = base().and_then(|b| b.prepend_label(host.label.as_bytes())) {
                        data.push(RData::SRV(SRV::new(0, 100, number, target)));
                    }
                }
            }
        } else {
            let ports = found.spec.iter().flat_map(|s| s.ports.iter().flatten());
            let matching = ports.filter(|p| {
                p.name.as_deref().unwrap_or("") == port
                    && p.protocol.as_deref().unwrap_or("TCP").eq_ignore_ascii_case(protocol)
            });
            for number in matching.filter_map(|p| u16::try_from(p.port).ok()) {
                if let Ok(target) = base() {
                    data.push(RData::SRV(SRV::new(0, 100, number, target)));
                }
            }
        }
        if data.is_empty() { Answer::NoName } else { self.records(name, kind, RecordType::SRV, data) }
    }

    fn reverse(&self, name: &Name, ip: IpAddr, kind: RecordType) -> Answer {
        let mut data = Vec::new();
        for service in self.cluster.services_with_ip(ip) {
            let (Some(ns), Some(n)) = (&service.metadata.namespace, &service.metadata.name) else { continue };
            data.extend(self.pointer(format!("{n}.{ns}")));
        }
        if data.is_empty() {
            for slice in self.cluster.slices_with_ip(ip) {
                let Some((ns, service)) = service_of(&slice) else { continue };
                for host in hosts(std::slice::from_ref(&slice)).into_iter().filter(|h| h.ip == ip) {
                    data.extend(self.pointer(format!("{}.{service}.{ns}", host.label)));
                }
            }
        }
        if data.is_empty() { Answer::Elsewhere } else { self.records(name, kind, RecordType::PTR, data) }
    }

    fn pointer(&self, stem: String) -> Option<RData> {
        Name::from_utf8(format!("{stem}.svc.{}", self.domain)).ok().map(|n| RData::PTR(PTR(n)))
    }
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn external_name(service: &Service) -> Option<&str> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") { spec.external_name.as_deref() } else { None }
}

fn headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let Some(spec) = service.spec.as_ref() else { return Vec::new() };
    let all: Vec<IpAddr> = spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect();
    if all.is_empty() { spec.cluster_ip.iter().filter_map(|ip| ip.parse().ok()).collect() } else { all }
}

/// The ready endpoints of slices, each with its host name, or its address with dashes.
fn hosts(slices: &[Arc<EndpointSlice>]) -> Vec<Host> {
    let endpoints = slices.iter().flat_map(|s| s.endpoints.iter().flatten());
    let mut out: Vec<Host> = endpoints.filter(|e| ready(e)).flat_map(of_endpoint).collect();
    // One address may stand in several slices, once for each set of ports.
    out.sort_by(|a, b| (a.ip, &a.label).cmp(&(b.ip, &b.label)));
    out.dedup_by(|a, b| a.ip == b.ip && a.label == b.label);
    out
}

fn ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
}

fn of_endpoint(endpoint: &Endpoint) -> Vec<Host> {
    let host_name = endpoint.hostname.as_deref().filter(|h| !h.is_empty());
    let ips = endpoint.addresses.iter().filter_map(|a| a.parse::<IpAddr>().ok());
    ips.map(|ip| {
        let label = host_name.map_or_else(|| ip.to_string().replace(['.', ':'], "-"), str::to_owned);
        Host { label, ip }
    })
    .collect()
}
