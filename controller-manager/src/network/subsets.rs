//! Subsets of `Endpoints` in their one form: addresses that share ports together, everything in order.

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A port as a key that sorts.
type PortKey = (String, i32, String, Option<String>);
/// Whose address it is, sorted by the address itself, and whether it is ready.
type Address = (Option<IpAddr>, String, String, bool);

fn port_key(p: &EndpointPort) -> PortKey {
    let text = |o: &Option<String>| o.clone().unwrap_or_default();
    (text(&p.name), p.port, text(&p.protocol), p.app_protocol.clone())
}

fn key(a: &EndpointAddress, ready: bool) -> Address {
    let uid = a.target_ref.as_ref().and_then(|t| t.uid.clone()).unwrap_or_default();
    (a.ip.parse().ok(), a.ip.clone(), uid, ready)
}

/// Groups addresses by the ports they have: each port is with the addresses that have it, each set of
/// addresses appears once with all its ports. Addresses without any port stay among themselves.
pub(super) fn repack(subsets: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let mut addresses: BTreeMap<Address, EndpointAddress> = BTreeMap::new();
    let mut by_port: BTreeMap<Option<PortKey>, (Option<EndpointPort>, BTreeSet<Address>)> = BTreeMap::new();
    for subset in subsets {
        let of = |list: &Option<Vec<EndpointAddress>>, ready| {
            let all = list.iter().flatten();
            all.map(|a| (key(a, ready), a.clone())).collect::<Vec<_>>()
        };
        let mut members = of(&subset.not_ready_addresses, false);
        members.extend(of(&subset.addresses, true));
        let ports: Vec<Option<&EndpointPort>> = match subset.ports.as_deref() {
            None | Some([]) => vec![None],
            Some(ports) => ports.iter().map(Some).collect(),
        };
        for port in ports {
            let entry = by_port.entry(port.map(port_key)).or_insert_with(|| (port.cloned(), BTreeSet::new()));
            entry.1.extend(members.iter().map(|(k, _)| k.clone()));
        }
        addresses.extend(members);
    }
    let mut by_addresses: BTreeMap<(bool, BTreeSet<Address>), Vec<EndpointPort>> = BTreeMap::new();
    for (port, members) in by_port.into_values() {
        by_addresses.entry((port.is_some(), members)).or_default().extend(port);
    }
    let mut out: Vec<EndpointSubset> = by_addresses
        .into_iter()
        .filter(|((_, members), _)| !members.is_empty())
        .map(|((_, members), ports)| {
            let pick = |ready: bool| {
                let all = members.iter().filter(|m| m.3 == ready);
                let found: Vec<_> = all.filter_map(|m| addresses.get(m).cloned()).collect();
                (!found.is_empty()).then_some(found)
            };
            EndpointSubset {
                addresses: pick(true),
                not_ready_addresses: pick(false),
                ports: (!ports.is_empty()).then_some(ports),
            }
        })
        .collect();
    out.sort_by_cached_key(|s| s.ports.iter().flatten().map(port_key).collect::<Vec<_>>());
    out
}

/// How many addresses there are in all, ready and not.
pub(super) fn count(subsets: &[EndpointSubset]) -> (usize, usize) {
    let of = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let each = subsets.iter().map(|s| (of(&s.addresses), of(&s.not_ready_addresses)));
    each.fold((0, 0), |(a, b), (x, y)| (a + x, b + y))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ready not-ready ports`, each a comma-separated list.
    fn subset(line: &str) -> EndpointSubset {
        let fields: Vec<&str> = line.split(' ').collect();
        let items = |at: usize| fields.get(at).into_iter().flat_map(|f| f.split(',')).filter(|i| *i != "-");
        let address = |ip: &str| EndpointAddress { ip: ip.to_owned(), ..EndpointAddress::default() };
        let port = |p: &str| EndpointPort {
            name: Some(format!("p{p}")),
            port: p.parse().unwrap(),
            ..EndpointPort::default()
        };
        EndpointSubset {
            addresses: Some(items(0).map(address).collect()),
            not_ready_addresses: Some(items(1).map(address).collect()),
            ports: Some(items(2).map(port).collect()),
        }
    }

    fn print(s: &EndpointSubset) -> String {
        let ips = |l: &Option<Vec<EndpointAddress>>| {
            let all: Vec<_> = l.iter().flatten().map(|a| a.ip.clone()).collect();
            if all.is_empty() { "-".to_owned() } else { all.join(",") }
        };
        let ports: Vec<_> = s.ports.iter().flatten().map(|p| p.port.to_string()).collect();
        let ports = if ports.is_empty() { "-".to_owned() } else { ports.join(",") };
        format!("{} {} {ports}", ips(&s.addresses), ips(&s.not_ready_addresses))
    }

    #[test]
    fn addresses_are_grouped_by_their_ports() {
        let check = |lines: &[&str], want: &[&str]| {
            let subsets: Vec<_> = lines.iter().map(|l| subset(l)).collect();
            let packed = repack(&subsets);
            assert_eq!(packed.iter().map(print).collect::<Vec<_>>(), want);
            assert_eq!(repack(&packed), packed, "stays as it is");
        };
        check(&[], &[]);
        check(&["- - 80"], &[]);
        check(&["1.1.1.1 - 80", "1.1.1.2 - 80"], &["1.1.1.1,1.1.1.2 - 80"]);
        check(&["1.1.1.1 - 80", "1.1.1.1 - 81"], &["1.1.1.1 - 80,81"]);
        check(&["1.1.1.1 - 80", "- 1.1.1.2 80", "1.1.1.1 - 81"], &["1.1.1.1 1.1.1.2 80", "1.1.1.1 - 81"]);
        check(&["1.1.1.10 - -", "1.1.1.9 - -"], &["1.1.1.9,1.1.1.10 - -"]);
        check(&["1.1.1.1 - -", "1.1.1.1 - 80"], &["1.1.1.1 - -", "1.1.1.1 - 80"]);
    }
}
