//! One slice for each family and set of ports of an `Endpoints`.

use crate::network::subsets::repack;
use gantry_reconcile::{Effect, ownership};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: (&str, &str) =
    ("endpointslice.kubernetes.io/managed-by", "endpointslicemirroring-controller.k8s.io");
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that say something of the `Endpoints` alone.
const OWN: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

pub(super) fn should_mirror(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    meta.labels.as_ref().and_then(|l| l.get(SKIP)).is_none_or(|s| s != "true")
        && !meta.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER))
}

pub(super) fn ours(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.as_ref().and_then(|l| l.get(MANAGED_BY.0)).is_some_and(|m| m == MANAGED_BY.1)
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub effects: Vec<Effect>,
    /// Addresses that are none.
    pub invalid: usize,
    /// Addresses beyond the most a subset may have copied.
    pub skipped: usize,
}

type Key = (&'static str, Vec<String>);

fn port_key(kind: &'static str, ports: &[EndpointPort]) -> Key {
    let mut keys: Vec<String> = ports
        .iter()
        .map(|p| {
            let text = |o: &Option<String>| o.clone().unwrap_or_default();
            let number = p.port.unwrap_or(0);
            format!("{}/{number}/{}/{}", text(&p.name), text(&p.protocol), text(&p.app_protocol))
        })
        .collect();
    keys.sort_unstable();
    (kind, keys)
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let all = subset.ports.iter().flatten();
    all.map(|p| EndpointPort {
        name: Some(p.name.clone().unwrap_or_default()),
        port: Some(p.port),
        protocol: p.protocol.clone(),
        app_protocol: p.app_protocol.clone(),
    })
    .collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let ip = ip.to_canonical();
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: address.hostname.clone().filter(|h| !h.is_empty()),
        ..Endpoint::default()
    };
    Some((if ip.is_ipv4() { "IPv4" } else { "IPv6" }, endpoint))
}

fn slice(endpoints: &Endpoints, kind: &str, ports: Vec<EndpointPort>, all: Vec<Endpoint>) -> EndpointSlice {
    let meta = &endpoints.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN.contains(&key.as_str()));
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![ownership::controller_ref(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: kind.to_owned(),
        endpoints: Some(all),
        ports: Some(ports),
    }
}

fn sorted(slice: &EndpointSlice) -> Vec<&Endpoint> {
    let mut all: Vec<&Endpoint> = slice.endpoints.iter().flatten().collect();
    all.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    all
}

/// Whether a slice says what it should.
fn same(has: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let (a, b) = (&has.metadata, &wanted.metadata);
    let empty = BTreeMap::new();
    let owners =
        |m: &ObjectMeta| m.owner_references.iter().flatten().map(|o| o.uid.clone()).collect::<Vec<_>>();
    a.labels == b.labels
        && a.annotations.as_ref().unwrap_or(&empty) == b.annotations.as_ref().unwrap_or(&empty)
        && owners(a) == owners(b)
        && sorted(has) == sorted(wanted)
}

/// `most`: how many addresses of a subset are copied.
pub(super) fn plan(endpoints: &Endpoints, slices: &[Arc<EndpointSlice>], most: usize) -> Plan {
    let mut plan = Plan::default();
    let mut wanted: BTreeMap<Key, (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
    for subset in repack(endpoints.subsets.as_deref().unwrap_or_default()) {
        let ports = ports(&subset);
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let waiting = subset.not_ready_addresses.iter().flatten().map(|a| (a, false));
        let mut added = 0;
        for (address, ready) in ready.chain(waiting) {
            if added >= most {
                plan.skipped += 1;
                continue;
            }
            let Some((kind, endpoint)) = endpoint(address, ready) else {
                plan.invalid += 1;
                continue;
            };
            added += 1;
            let entry = wanted.entry(port_key(kind, &ports)).or_insert_with(|| (ports.clone(), Vec::new()));
            entry.1.push(endpoint);
        }
    }
    let mut present: BTreeMap<Key, Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        let kind = if slice.address_type == "IPv6" { "IPv6" } else { "IPv4" };
        let key = port_key(kind, slice.ports.as_deref().unwrap_or_default());
        present.entry(key).or_default().push(slice);
    }
    let (mut create, mut update, mut delete) = (Vec::new(), Vec::new(), Vec::new());
    for (key, (ports, all)) in wanted {
        let new = slice(endpoints, key.0, ports, all);
        let mut has = present.remove(&key).unwrap_or_default().into_iter();
        match has.next() {
            None => create.push(new),
            Some(first) if same(first, &new) => {}
            Some(first) => update.push((first, new)),
        }
        delete.extend(has);
    }
    delete.extend(present.into_values().flatten());
    // A slice that is to go takes on what is to be made, where it is of the same family.
    create.retain(|new| {
        let reusable = delete.iter().position(|old| old.address_type == new.address_type);
        reusable.map(|at| update.push((delete.swap_remove(at), new.clone()))).is_none()
    });
    if endpoints.metadata.deletion_timestamp.is_none() {
        plan.effects.extend(create.iter().map(Effect::create));
    }
    for (old, mut new) in update {
        new.metadata.generate_name = old.metadata.generate_name.clone();
        new.metadata.name = old.metadata.name.clone();
        new.metadata.uid = old.metadata.uid.clone();
        new.metadata.resource_version = old.metadata.resource_version.clone();
        plan.effects.push(Effect::update(&new));
    }
    plan.effects.extend(delete.iter().map(|s| Effect::delete(&***s)));
    plan
}
