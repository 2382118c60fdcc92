//! A service map as nftables objects: two verdict maps looked up once a packet, a chain a service port, a
//! chain an endpoint.

use crate::services::{Endpoint, PortName, ServiceMap, ServicePort};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The table everything lives in, upstream's name.
pub const TABLE: &str = "ip kube-proxy";
/// The packet mark of "masquerade this", upstream's bit 14.
pub const MASQUERADE_MARK: u32 = 1 << 14;

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Sources inside this range talk to cluster addresses without masquerading; empty: never masquerade.
    pub cluster_cidr: Option<String>,
    pub masquerade_all: bool,
    /// Addresses node ports answer on, as an nftables expression list; empty: all local ones.
    pub node_port_addresses: Vec<String>,
}

/// Everything in the table that changes with Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Chain name to its rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Map name to its elements, key to verdict.
    pub maps: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// Affinity sets: name to timeout in seconds.
    pub affinity_sets: BTreeMap<String, u32>,
}

pub const SERVICE_IPS: &str = "service-ips";
pub const SERVICE_NODE_PORTS: &str = "service-nodeports";
pub const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
pub const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";

/// The fixed part of the table: sent once, before anything else; it replaces whatever was there.
pub fn skeleton(options: &Options) -> String {
    let mut s = String::new();
    let node_ports = if options.node_port_addresses.is_empty() {
        "fib daddr type local ip daddr != 127.0.0.0/8".to_owned()
    } else {
        format!("ip daddr {{ {} }}", options.node_port_addresses.join(", "))
    };
    // Writing to a string cannot fail.
    let _ = write!(
        s,
        r#"add table {TABLE}
delete table {TABLE}
table {TABLE} {{
  comment "rules for Kubernetes Services";
  map {SERVICE_IPS} {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map {SERVICE_NODE_PORTS} {{ type inet_proto . inet_service : verdict; }}
  map {NO_ENDPOINT_SERVICES} {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map {NO_ENDPOINT_NODE_PORTS} {{ type inet_proto . inet_service : verdict; }}
  chain mark-for-masquerade {{ meta mark set meta mark or {MASQUERADE_MARK:#x}; }}
  chain reject-chain {{ reject; }}
  chain masquerading {{
    meta mark & {MASQUERADE_MARK:#x} == 0 return;
    meta mark set meta mark xor {MASQUERADE_MARK:#x};
    masquerade fully-random;
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @{SERVICE_IPS};
    {node_ports} meta l4proto . th dport vmap @{SERVICE_NODE_PORTS};
  }}
  chain service-endpoints-check {{
    ip daddr . meta l4proto . th dport vmap @{NO_ENDPOINT_SERVICES};
    {node_ports} meta l4proto . th dport vmap @{NO_ENDPOINT_NODE_PORTS};
  }}
  chain filter-input {{ type filter hook input priority -110; ct state new jump service-endpoints-check; }}
  chain filter-forward {{ type filter hook forward priority -110; ct state new jump service-endpoints-check; }}
  chain filter-output {{ type filter hook output priority -110; ct state new jump service-endpoints-check; }}
  chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority 100; jump masquerading; }}
}}
"#
    );
    s
}

/// The rules of a service map.
pub fn ruleset(map: &ServiceMap, options: &Options) -> Ruleset {
    let mut rules = Ruleset::default();
    for name in [SERVICE_IPS, SERVICE_NODE_PORTS, NO_ENDPOINT_SERVICES, NO_ENDPOINT_NODE_PORTS] {
        rules.maps.insert(name, BTreeMap::new());
    }
    for (name, port) in map {
        Builder { rules: &mut rules, name, port, options, id: chain_id(name, port) }.build();
    }
    rules
}

struct Builder<'a> {
    rules: &'a mut Ruleset,
    name: &'a PortName,
    port: &'a ServicePort,
    options: &'a Options,
    id: String,
}

impl Builder<'_> {
    fn build(&mut self) {
        let p = self.port;
        let has_external = p.node_port != 0 || !p.external_ips.is_empty() || !p.load_balancer_ips.is_empty();
        let cluster_chain = format!("service-{}", self.id);
        let external_chain = format!("external-{}", self.id);

        if p.cluster.is_empty() {
            self.unreachable(p.cluster_ip.to_string(), p.any_endpoints);
        } else {
            let mut rules = Vec::new();
            if self.options.masquerade_all {
                rules.push("jump mark-for-masquerade".to_owned());
            } else if let Some(cidr) = &self.options.cluster_cidr {
                rules.push(format!("ip saddr != {cidr} ip daddr {} jump mark-for-masquerade", p.cluster_ip));
            }
            rules.extend(self.balance(&p.cluster));
            self.rules.chains.insert(cluster_chain.clone(), rules);
            self.element(SERVICE_IPS, ip_key(&p.cluster_ip.to_string(), p), format!("goto {cluster_chain}"));
        }
        if !has_external {
            return;
        }
        if p.external.is_empty() {
            for ip in p.external_ips.iter().chain(&p.load_balancer_ips) {
                self.unreachable(ip.to_string(), p.any_endpoints);
            }
            if p.node_port != 0 {
                let verdict = if p.any_endpoints { "drop" } else { "goto reject-chain" };
                self.element(NO_ENDPOINT_NODE_PORTS, port_key(p), verdict.to_owned());
            }
            return;
        }
        let mut rules = Vec::new();
        if !p.external_local {
            rules.push("jump mark-for-masquerade".to_owned());
        } else if let Some(cidr) = &self.options.cluster_cidr
            && !p.cluster.is_empty()
        {
            // Pods and the node itself reach every endpoint through external addresses, too.
            rules.push(format!("ip saddr {cidr} goto {cluster_chain}"));
            rules.push("fib saddr type local jump mark-for-masquerade".to_owned());
            rules.push(format!("fib saddr type local goto {cluster_chain}"));
        }
        rules.extend(self.balance(&p.external));
        self.rules.chains.insert(external_chain.clone(), rules);
        let to_external = format!("goto {external_chain}");
        for ip in &p.external_ips {
            self.element(SERVICE_IPS, ip_key(&ip.to_string(), p), to_external.clone());
        }
        let balancer = if p.source_ranges.is_empty() {
            to_external.clone()
        } else {
            let chain = format!("firewall-{}", self.id);
            let allow = format!("ip saddr {{ {} }} goto {external_chain}", p.source_ranges.join(", "));
            self.rules.chains.insert(chain.clone(), vec![allow, "drop".to_owned()]);
            format!("goto {chain}")
        };
        for ip in &p.load_balancer_ips {
            self.element(SERVICE_IPS, ip_key(&ip.to_string(), p), balancer.clone());
        }
        if p.node_port != 0 {
            self.element(SERVICE_NODE_PORTS, port_key(p), to_external);
        }
    }

    /// The rules that choose one of `endpoints`, after affinity.
    fn balance(&mut self, endpoints: &BTreeSet<Endpoint>) -> Vec<String> {
        let mut rules = Vec::new();
        let chains: Vec<String> = endpoints.iter().map(|e| self.endpoint(*e)).collect();
        if self.port.affinity_seconds.is_some() {
            for (endpoint, chain) in endpoints.iter().zip(&chains) {
                rules.push(format!("ip saddr @{} goto {chain}", self.affinity_set(*endpoint)));
            }
        }
        let targets: Vec<String> =
            chains.iter().enumerate().map(|(i, c)| format!("{i} : goto {c}")).collect();
        rules.push(format!("numgen random mod {} vmap {{ {} }}", chains.len(), targets.join(", ")));
        rules
    }

    fn endpoint(&mut self, endpoint: Endpoint) -> String {
        let p = self.port;
        let chain = format!("endpoint-{}-{}-{}", self.id, dashed(endpoint), endpoint.port);
        let mut rules = vec![format!("ip saddr {} jump mark-for-masquerade", endpoint.ip)];
        if let Some(seconds) = p.affinity_seconds {
            let set = self.affinity_set(endpoint);
            rules.push(format!("update @{set} {{ ip saddr }}"));
            self.rules.affinity_sets.insert(set, seconds);
        }
        rules.push(format!("meta l4proto {} dnat to {}:{}", p.protocol, endpoint.ip, endpoint.port));
        self.rules.chains.insert(chain.clone(), rules);
        chain
    }

    fn affinity_set(&self, endpoint: Endpoint) -> String {
        format!("affinity-{}-{}-{}", self.id, dashed(endpoint), endpoint.port)
    }

    /// No endpoint for this address: dropped where others serve but none is local, rejected otherwise.
    fn unreachable(&mut self, ip: String, any: bool) {
        let verdict = if any { "drop" } else { "goto reject-chain" };
        self.element(NO_ENDPOINT_SERVICES, ip_key(&ip, self.port), verdict.to_owned());
    }

    /// The first Service to claim an address and port keeps it.
    fn element(&mut self, map: &'static str, key: String, verdict: String) {
        let entry = self.rules.maps.entry(map).or_default().entry(key);
        debug_assert!(!self.name.name.is_empty());
        entry.or_insert(verdict);
    }
}

fn ip_key(ip: &str, p: &ServicePort) -> String {
    format!("{ip} . {} . {}", p.protocol, p.port)
}

fn port_key(p: &ServicePort) -> String {
    format!("{} . {}", p.protocol, p.node_port)
}

fn dashed(e: Endpoint) -> String {
    e.ip.to_string().replace('.', "-")
}

/// A short name of a service port, stable across restarts, within nftables' 128 bytes.
fn chain_id(name: &PortName, port: &ServicePort) -> String {
    let digest = Sha256::digest(format!("{name}/{}", port.protocol));
    let hash: String = digest.iter().take(5).map(|b| format!("{b:02x}")).collect();
    let mut readable = format!("{}-{}", name.namespace, name.name);
    readable.truncate(48);
    format!("{hash}-{readable}-{}", port.protocol)
}
