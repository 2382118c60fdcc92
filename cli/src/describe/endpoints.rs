//! Endpoints and endpoint slices.

use super::text::{Text, or_none, or_unset};
use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::EndpointSlice;

fn addresses(all: Option<&Vec<EndpointAddress>>) -> String {
    let ips: Vec<&str> = all.into_iter().flatten().map(|a| a.ip.as_str()).collect();
    or_none(&ips.join(",")).to_owned()
}

pub fn endpoints(t: &mut Text, e: &Endpoints) {
    t.head(&e.metadata);
    t.line(0, "Subsets:");
    for s in e.subsets.iter().flatten() {
        t.pair(1, "Addresses", addresses(s.addresses.as_ref()));
        t.pair(1, "NotReadyAddresses", addresses(s.not_ready_addresses.as_ref()));
        let ports = s.ports.as_deref().unwrap_or_default();
        if !ports.is_empty() {
            t.line(1, "Ports:");
            t.line(2, "Name\tPort\tProtocol");
            t.line(2, "----\t----\t--------");
        }
        for p in ports {
            let name = p.name.as_deref().filter(|n| !n.is_empty()).unwrap_or("<unset>");
            t.line(2, &format!("{name}\t{}\t{}", p.port, p.protocol.as_deref().unwrap_or_default()));
        }
        t.line(0, "");
    }
}

pub fn slice(t: &mut Text, s: &EndpointSlice) {
    t.head(&s.metadata);
    t.pair(0, "AddressType", &s.address_type);
    let ports = s.ports.as_deref().unwrap_or_default();
    if ports.is_empty() {
        t.line(0, "Ports: <unset>");
    } else {
        t.line(0, "Ports:");
        t.line(1, "Name\tPort\tProtocol");
        t.line(1, "----\t----\t--------");
    }
    for p in ports {
        let name = p.name.as_deref().filter(|n| !n.is_empty()).unwrap_or("<unset>");
        t.line(1, &format!("{name}\t{}\t{}", or_unset(p.port), p.protocol.as_deref().unwrap_or_default()));
    }
    let all = s.endpoints.as_deref().unwrap_or_default();
    t.line(0, if all.is_empty() { "Endpoints: <none>" } else { "Endpoints:" });
    for e in all {
        t.pair(1, "- Addresses", or_none(&e.addresses.join(", ")));
        t.line(2, "Conditions:");
        t.pair(3, "Ready", or_unset(e.conditions.as_ref().and_then(|c| c.ready)));
        t.pair(2, "Hostname", or_unset(e.hostname.as_ref()));
        if let Some(target) = &e.target_ref {
            let (kind, name) = (target.kind.as_deref(), target.name.as_deref());
            t.pair(2, "TargetRef", format!("{}/{}", kind.unwrap_or_default(), name.unwrap_or_default()));
        }
        t.pair(2, "NodeName", or_unset(e.node_name.as_ref()));
        t.pair(2, "Zone", or_unset(e.zone.as_ref()));
    }
}
