//! `discovery.k8s.io/v1` EndpointSlice.

use crate::kinds::core::equal;
use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::validate::{containers, ip, meta};
use gantry_types::k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointPort, EndpointSlice};
use std::collections::BTreeSet;

/// The address type never changes; old fields of a topology of labels are dropped.
pub struct EndpointSlices;

fn fqdn(name: &str, path: &Path) -> Option<Error> {
    if name.is_empty() {
        return Some(Error::required(path, ""));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let messages = names::dns1123_subdomain(name);
    if !messages.is_empty() {
        return Some(Error::invalid(path, name, messages.join(",")));
    }
    if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        return Some(Error::invalid(path, name, why));
    }
    name.split('.').find_map(|label| {
        let messages = names::dns1123_label(label);
        (!messages.is_empty()).then(|| Error::invalid(path, label, messages.join(",")))
    })
}

fn address(value: &str, kind: &str, at: &Path, all: &Path) -> ErrorList {
    let (found, right, why) = match kind {
        "IPv4" => (
            ip::legacy(value, at, &[]),
            ip::parse_sloppy(value).is_some_and(|a| a.is_ipv4()),
            "must be an IPv4 address",
        ),
        "IPv6" => (
            ip::strict(value, at),
            ip::parse_sloppy(value).is_some_and(|a| a.is_ipv6()),
            "must be an IPv6 address",
        ),
        "FQDN" => return fqdn(value, at).into_iter().collect(),
        _ => return ErrorList::new(),
    };
    if !found.is_empty() {
        return found;
    }
    let mut errs = ErrorList::new();
    if !right {
        errs.push(Error::invalid(all, value, why));
    }
    errs.extend(ip::endpoint(value, at));
    errs
}

fn hints(h: &EndpointHints, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let zones: Vec<&str> = list(&h.for_zones).iter().map(|z| z.name.as_str()).collect();
    let nodes: Vec<&str> = list(&h.for_nodes).iter().map(|n| n.name.as_str()).collect();
    let node_name: fn(&str) -> Vec<String> = |n| meta::subdomain_name(n, false);
    let label_value: fn(&str) -> Vec<String> = names::label_value;
    for (field, all, check) in [("forZones", zones, label_value), ("forNodes", nodes, node_name)] {
        let at = path.child(field);
        if all.len() > 8 {
            errs.push(Error::too_many(&at, all.len(), 8));
            return errs;
        }
        let mut seen = BTreeSet::new();
        for (i, name) in all.into_iter().enumerate() {
            let at = at.index(i).child("name");
            if !seen.insert(name) {
                errs.push(Error::duplicate(&at, name));
            }
            errs.extend(invalid_each(&at, name, check(name)));
        }
    }
    errs
}

fn endpoints(all: &[Endpoint], kind: &str) -> ErrorList {
    let path = Path::new("endpoints");
    if all.len() > 1000 {
        return vec![Error::too_many(&path, all.len(), 1000)];
    }
    let mut errs = ErrorList::new();
    for (i, e) in all.iter().enumerate() {
        let at = path.index(i);
        let addresses = at.child("addresses");
        match e.addresses.len() {
            0 => errs.push(Error::required(&addresses, "must contain at least 1 address")),
            n if n > 100 => errs.push(Error::too_many(&addresses, n, 100)),
            _ => {}
        }
        for (j, a) in e.addresses.iter().enumerate() {
            errs.extend(address(a, kind, &addresses.index(j), &addresses));
        }
        if let Some(node) = &e.node_name {
            errs.extend(invalid_each(&at.child("nodeName"), node, meta::subdomain_name(node, false)));
        }
        let topology = at.child("deprecatedTopology");
        let count = e.deprecated_topology.as_ref().map_or(0, |t| t.len());
        if count > 16 {
            errs.push(Error::too_many(&topology, count, 16));
        }
        errs.extend(meta::labels(e.deprecated_topology.as_ref(), &topology));
        if let Some(host) = &e.hostname {
            errs.extend(invalid_each(&at.child("hostname"), host, names::dns1123_label(host)));
        }
        if let Some(h) = &e.hints {
            errs.extend(hints(h, &at.child("hints")));
        }
    }
    errs
}

fn ports(all: &[EndpointPort]) -> ErrorList {
    let path = Path::new("ports");
    if all.len() > 20000 {
        return vec![Error::too_many(&path, all.len(), 20000)];
    }
    let mut errs = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, p) in all.iter().enumerate() {
        let at = path.index(i);
        let name = text(&p.name);
        if !name.is_empty() {
            errs.extend(invalid_each(&at.child("name"), name, names::dns1123_label(name)));
        }
        if !seen.insert(name) {
            errs.push(Error::duplicate(&at.child("name"), name));
        }
        match p.protocol.as_deref() {
            None => errs.push(Error::required(&at.child("protocol"), "")),
            Some("") => {
                let all = ["SCTP", "TCP", "UDP"];
                errs.push(Error::not_supported(&at.child("protocol"), "", &all));
            }
            Some(p) => errs.extend(containers::protocol(p, &at.child("protocol"))),
        }
        if let Some(app) = &p.app_protocol {
            errs.extend(invalid_each(&at.child("appProtocol"), app, names::qualified_name(app)));
        }
    }
    errs
}

fn validate(slice: &EndpointSlice, old: Option<&EndpointSlice>) -> ErrorList {
    const TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
    let mut errs = meta::object_meta(&slice.metadata, true, meta::subdomain_name);
    let kind = slice.address_type.as_str();
    let at = Path::new("addressType");
    if kind.is_empty() {
        errs.push(Error::required(&at, ""));
    } else if !TYPES.contains(&kind) {
        errs.push(Error::not_supported(&at, kind, TYPES));
    }
    errs.extend(ports(list(&slice.ports)));
    if !old.is_some_and(|o| equal::values(&o.endpoints, &slice.endpoints)) {
        errs.extend(endpoints(list(&slice.endpoints), kind));
    }
    errs
}

fn drop_topology(slice: &mut EndpointSlice) {
    for e in slice.endpoints.iter_mut().flatten() {
        e.deprecated_topology = None;
    }
}

impl Strategy for EndpointSlices {
    type Kind = EndpointSlice;

    fn default(&self, slice: &mut EndpointSlice) {
        for e in slice.endpoints.iter_mut().flatten() {
            e.conditions.get_or_insert_default();
        }
        for p in slice.ports.iter_mut().flatten() {
            p.name.get_or_insert_default();
            p.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, slice: &mut EndpointSlice) {
        slice.metadata.generation = Some(1);
        drop_topology(slice);
    }

    fn prepare_update(&self, _cx: &Context<'_>, slice: &mut EndpointSlice, old: &EndpointSlice) {
        if !equal::values(&slice.endpoints, &old.endpoints) {
            drop_topology(slice);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, slice: &EndpointSlice) -> ErrorList {
        validate(slice, None)
    }

    fn validate_update(&self, _cx: &Context<'_>, slice: &EndpointSlice, old: &EndpointSlice) -> ErrorList {
        let mut errs = validate(slice, Some(old));
        errs.extend(meta::immutable(&slice.address_type, &old.address_type, &Path::new("addressType")));
        errs
    }

    fn warnings(&self, _cx: &Context<'_>, slice: &EndpointSlice, old: Option<&EndpointSlice>) -> Vec<String> {
        let mut out = Vec::new();
        if old.is_none() && slice.address_type == "FQDN" {
            out.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        let by = slice.metadata.labels.as_ref().and_then(|l| l.get("endpointslice.kubernetes.io/managed-by"));
        const OURS: [&str; 2] =
            ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
        if by.is_some_and(|by| OURS.contains(&by.as_str())) {
            return out;
        }
        let path = Path::new("endpoints");
        for (i, e) in list(&slice.endpoints).iter().enumerate() {
            for (j, a) in e.addresses.iter().enumerate() {
                out.extend(ip::warning(a, &path.index(i).child("addresses").index(j)));
            }
        }
        out
    }

    fn spec_changed(&self, slice: &EndpointSlice, old: &EndpointSlice) -> Option<bool> {
        let labels = same(&slice.metadata.labels, &old.metadata.labels);
        let rest = slice.address_type == old.address_type
            && equal::values(&slice.endpoints, &old.endpoints)
            && equal::values(&slice.ports, &old.ports);
        Some(!labels || !rest)
    }

    fn row(&self, slice: &EndpointSlice, now: Timestamp) -> Vec<Cell> {
        let ports: Vec<String> = list(&slice.ports)
            .iter()
            .map(|p| match (p.port, &p.name) {
                (Some(n), _) => n.to_string(),
                (None, Some(name)) => name.clone(),
                (None, None) => "*".to_owned(),
            })
            .collect();
        let addresses: Vec<String> =
            list(&slice.endpoints).iter().flat_map(|e| e.addresses.clone()).collect();
        vec![
            print::name(&slice.metadata),
            slice.address_type.as_str().into(),
            print::first_three(&ports).into(),
            print::first_three(&addresses).into(),
            print::age(slice.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
