//! The smallest nftables transaction between two rulesets, and the connections a change leaves stale.

use crate::rules::{Ruleset, TABLE};
use crate::services::{Protocol, ServiceMap};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// The text for `nft -f` that turns `old` into `new`; empty when they are equal. One transaction: the kernel
/// takes all of it or nothing.
pub fn diff(old: &Ruleset, new: &Ruleset) -> String {
    let mut s = String::new();
    // Sets before the chains that use them, chains before the verdicts that name them. An affinity set whose
    // timeout changed is made anew; its chains change with it only in name, so it keeps its elements.
    for (set, timeout) in &new.affinity_sets {
        if !old.affinity_sets.contains_key(set) {
            let _ = writeln!(
                s,
                "add set {TABLE} {set} {{ type ipv4_addr; flags dynamic,timeout; timeout {timeout}s; }}"
            );
        }
    }
    let changed: Vec<_> =
        new.chains.iter().filter(|(name, rules)| old.chains.get(*name) != Some(rules)).collect();
    for (chain, _) in &changed {
        let _ = writeln!(s, "add chain {TABLE} {chain}");
        if old.chains.contains_key(*chain) {
            let _ = writeln!(s, "flush chain {TABLE} {chain}");
        }
    }
    for (chain, rules) in &changed {
        for rule in *rules {
            let _ = writeln!(s, "add rule {TABLE} {chain} {rule}");
        }
    }
    let none = BTreeMap::new();
    for (map, elements) in &new.maps {
        let before = old.maps.get(map).unwrap_or(&none);
        let gone = before.iter().filter(|(k, v)| elements.get(*k) != Some(v)).map(|(k, _)| k.clone());
        write_elements(&mut s, "delete", map, gone);
        let fresh =
            elements.iter().filter(|(k, v)| before.get(*k) != Some(v)).map(|(k, v)| format!("{k} : {v}"));
        write_elements(&mut s, "add", map, fresh);
    }
    let gone: Vec<_> = old.chains.keys().filter(|c| !new.chains.contains_key(*c)).collect();
    for chain in &gone {
        let _ = writeln!(s, "flush chain {TABLE} {chain}");
    }
    for chain in &gone {
        let _ = writeln!(s, "delete chain {TABLE} {chain}");
    }
    for set in old.affinity_sets.keys().filter(|set| !new.affinity_sets.contains_key(*set)) {
        let _ = writeln!(s, "delete set {TABLE} {set}");
    }
    s
}

fn write_elements(s: &mut String, verb: &str, map: &str, elements: impl Iterator<Item = String>) {
    let list: Vec<String> = elements.collect();
    for part in list.chunks(200) {
        let _ = writeln!(s, "{verb} element {TABLE} {map} {{ {} }}", part.join(", "));
    }
}

/// Tracked UDP connections a change leaves pointing nowhere; nothing else would end them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staleness {
    /// Address the client used, and the endpoint that no longer serves.
    pub endpoints: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Addresses that had no endpoint and have one now.
    pub addresses: Vec<Ipv4Addr>,
    /// Node ports likewise.
    pub node_ports: Vec<u16>,
}

pub fn staleness(old: &ServiceMap, new: &ServiceMap) -> Staleness {
    let mut out = Staleness::default();
    for (name, before) in old.iter().filter(|(_, p)| p.protocol == Protocol::Udp) {
        let after = new.get(name);
        let still =
            |ip: Ipv4Addr| after.is_some_and(|a| a.cluster.iter().chain(&a.external).any(|e| e.ip == ip));
        let mut gone: Vec<Ipv4Addr> =
            before.cluster.iter().chain(&before.external).map(|e| e.ip).filter(|ip| !still(*ip)).collect();
        gone.sort();
        gone.dedup();
        let addresses = [before.cluster_ip].into_iter().chain(before.external_ips.iter().copied());
        for address in addresses.chain(before.load_balancer_ips.iter().copied()) {
            out.endpoints.extend(gone.iter().map(|ip| (address, *ip)));
        }
    }
    for (name, after) in new.iter().filter(|(_, p)| p.protocol == Protocol::Udp && p.any_endpoints) {
        if old.get(name).is_none_or(|before| !before.any_endpoints) {
            out.addresses.push(after.cluster_ip);
            out.addresses.extend(after.external_ips.iter().chain(&after.load_balancer_ips));
            if after.node_port != 0 {
                out.node_ports.push(after.node_port);
            }
        }
    }
    out
}
