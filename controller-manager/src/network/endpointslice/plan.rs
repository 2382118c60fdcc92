//! Which slices a service should have, changing as few as possible.

use super::MANAGER;
use super::endpoint::{self, Family};
use super::hints::{self, Shares, Told};
use gantry_reconcile::{Effect, ownership};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const HEADLESS: &str = "service.kubernetes.io/headless";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const RESERVED: &[&str] = &[HEADLESS, SERVICE_NAME, MANAGED_BY];

pub(super) struct Snapshot<'a> {
    pub service: &'a Service,
    /// The pods it selects.
    pub pods: &'a [Arc<Pod>],
    /// Its slices that we manage.
    pub slices: &'a [Arc<EndpointSlice>],
    /// A node's zone, empty where it has none; `None` where there is no such node.
    pub zones: &'a dyn Fn(&str) -> Option<String>,
    /// The zones' shares of the cluster's processors.
    pub shares: &'a Shares,
    pub max: usize,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
    /// What became of hints by topology, a word a family.
    pub told: Vec<Told>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }

    /// The writes, creations first so that nothing is missing meanwhile. `trigger` says what change they
    /// answer to.
    pub(super) fn effects(mut self, trigger: Option<Timestamp>) -> Vec<Effect> {
        for slice in self.create.iter_mut().chain(&mut self.update) {
            match trigger {
                Some(at) => {
                    slice.metadata.annotations.get_or_insert_default().insert(TRIGGER.into(), at.to_string());
                }
                None => {
                    if let Some(annotations) = &mut slice.metadata.annotations {
                        annotations.remove(TRIGGER);
                    }
                }
            }
        }
        let created = self.create.iter().map(Effect::create);
        let updated = self.update.iter().map(Effect::update);
        created.chain(updated).chain(self.delete.iter().map(|s| Effect::delete(&**s))).collect()
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|name, _| !RESERVED.contains(&name.as_str()));
    let ip = service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()).unwrap_or("");
    if ip.is_empty() || ip == "None" {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn fresh(service: &Service, family: Family, ports: Vec<EndpointPort>) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or("");
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            owner_references: Some(vec![ownership::controller_ref(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.as_str().into(),
        endpoints: Some(Vec::new()),
        ports: Some(ports),
    }
}

fn owned(slice: &EndpointSlice, service: &Service) -> bool {
    slice
        .metadata
        .owner_references
        .iter()
        .flatten()
        .any(|r| Some(&r.uid) == service.metadata.uid.as_ref() && r.kind == "Service")
}

/// Ports as a key: their order does not matter.
fn port_key(ports: &[EndpointPort]) -> String {
    let mut keys: Vec<String> = ports
        .iter()
        .map(|p| {
            let text = |o: &Option<String>| o.clone().unwrap_or_default();
            format!(
                "{}/{}/{}/{}",
                text(&p.name),
                p.port.unwrap_or(0),
                text(&p.protocol),
                text(&p.app_protocol)
            )
        })
        .collect();
    keys.sort_unstable();
    keys.join(",")
}

fn ports_of(slice: &EndpointSlice) -> &[EndpointPort] {
    slice.ports.as_deref().unwrap_or(&[])
}

fn endpoints_of(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or(&[])
}

/// The same endpoint in an old and a new form: same pod, addresses and node.
fn same_endpoint(a: &Endpoint, b: &Endpoint) -> bool {
    let uid = |e: &Endpoint| e.target_ref.as_ref().and_then(|t| t.uid.clone());
    let (mut x, mut y) = (a.addresses.clone(), b.addresses.clone());
    x.sort_unstable();
    y.sort_unstable();
    x == y && uid(a) == uid(b) && a.hostname == b.hostname && a.node_name == b.node_name
}

pub(super) fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let families = endpoint::families(snapshot.service);
    let mut plan = Plan::default();
    for family in &families {
        let part = one_family(snapshot, *family);
        plan.create.extend(part.create);
        plan.update.extend(part.update);
        plan.delete.extend(part.delete);
        plan.told.extend(part.told);
    }
    let served = |s: &&Arc<EndpointSlice>| families.iter().any(|f| f.as_str() == s.address_type);
    plan.delete.extend(snapshot.slices.iter().filter(|s| !served(s)).cloned());
    if snapshot.service.metadata.deletion_timestamp.is_some() {
        plan.create.clear();
    }
    plan
}

fn one_family(snapshot: &Snapshot<'_>, family: Family) -> Plan {
    let service = snapshot.service;
    let mut wanted: BTreeMap<String, (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
    let publish = service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses).unwrap_or(false);
    for pod in snapshot.pods.iter().filter(|p| endpoint::belongs(p)) {
        let ports = endpoint::ports(service, pod);
        let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("");
        let zone = (snapshot.zones)(node);
        let entry = wanted.entry(port_key(&ports)).or_insert_with(|| (ports, Vec::new()));
        if zone.is_none() && !publish {
            continue;
        }
        entry.1.extend(endpoint::endpoint(service, pod, family, zone.as_deref()));
    }
    let existing: Vec<_> =
        snapshot.slices.iter().filter(|s| s.address_type == family.as_str()).cloned().collect();
    let told = add_hints(snapshot, family, &existing, &mut wanted);
    let mut plan = Plan { told: told.into_iter().collect(), ..Plan::default() };
    let mut by_ports: BTreeMap<String, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in &existing {
        if owned(slice, service) {
            by_ports.entry(port_key(ports_of(slice))).or_default().push(slice.clone());
        } else {
            plan.delete.push(slice.clone());
        }
    }
    for (key, (ports, endpoints)) in wanted {
        let slices = by_ports.remove(&key).unwrap_or_default();
        one_port_set(service, family, ports, endpoints, slices, snapshot.max, &mut plan);
    }
    plan.delete.extend(by_ports.into_values().flatten());
    if existing.len() == plan.delete.len() && plan.create.is_empty() {
        placeholder(service, family, &mut plan);
    }
    reuse_deleted(service, &mut plan);
    plan
}

/// A service with no endpoints keeps one empty slice, so that it is known to have none.
fn placeholder(service: &Service, family: Family, plan: &mut Plan) {
    let empty = fresh(service, family, Vec::new());
    let same = |s: &EndpointSlice| {
        endpoints_of(s).is_empty()
            && ports_of(s).is_empty()
            && s.metadata.labels == empty.metadata.labels
            && owned(s, service)
    };
    match plan.delete.as_slice() {
        [only] if same(only) => plan.delete.clear(),
        _ => plan.create.push(empty),
    }
}

/// A slice to delete takes on the contents of one to create: one write instead of two.
fn reuse_deleted(service: &Service, plan: &mut Plan) {
    let mut kept = Vec::new();
    for slice in std::mem::take(&mut plan.delete) {
        if !owned(&slice, service) || plan.create.is_empty() {
            kept.push(slice);
            continue;
        }
        if let Some(mut new) = plan.create.pop() {
            let old = &slice.metadata;
            new.metadata.generate_name = old.generate_name.clone();
            new.metadata.name = old.name.clone();
            new.metadata.uid = old.uid.clone();
            new.metadata.resource_version = old.resource_version.clone();
            plan.update.push(new);
        }
    }
    plan.delete = kept;
}

/// Keeps endpoints where they are, fills slices that change anyway, then the fullest that has room for all
/// the rest, then new ones.
fn one_port_set(
    service: &Service,
    family: Family,
    ports: Vec<EndpointPort>,
    mut missing: Vec<Endpoint>,
    slices: Vec<Arc<EndpointSlice>>,
    max: usize,
    plan: &mut Plan,
) {
    let labels = labels(service);
    let (mut changed, mut unchanged) = (Vec::new(), Vec::new());
    for slice in slices {
        let mut new = EndpointSlice::clone(&slice);
        let mut kept = Vec::new();
        for old in endpoints_of(&slice) {
            if let Some(at) = missing.iter().position(|e| same_endpoint(e, old)) {
                kept.push(missing.swap_remove(at));
            }
        }
        new.metadata.labels = Some(labels.clone());
        let same = kept == endpoints_of(&slice);
        if kept.is_empty() && !same {
            plan.delete.push(slice);
        } else if !same || new.metadata.labels != slice.metadata.labels {
            new.endpoints = Some(kept);
            changed.push(new);
        } else {
            unchanged.push(new);
        }
    }
    missing.reverse();
    changed.sort_by_key(|s| std::cmp::Reverse(endpoints_of(s).len()));
    for slice in &mut changed {
        fill(slice, &mut missing, max);
    }
    while !missing.is_empty() {
        let roomiest = unchanged
            .iter()
            .enumerate()
            .filter(|(_, s)| missing.len() < max && endpoints_of(s).len() + missing.len() <= max)
            .max_by_key(|(_, s)| endpoints_of(s).len())
            .map(|(at, _)| at);
        match roomiest {
            Some(at) => {
                let mut slice = unchanged.swap_remove(at);
                fill(&mut slice, &mut missing, max);
                changed.push(slice);
            }
            None => {
                let mut slice = fresh(service, family, ports.clone());
                fill(&mut slice, &mut missing, max);
                plan.create.push(slice);
            }
        }
    }
    plan.update.extend(changed);
}

fn fill(slice: &mut EndpointSlice, missing: &mut Vec<Endpoint>, max: usize) {
    let endpoints = slice.endpoints.get_or_insert_default();
    while endpoints.len() < max
        && let Some(endpoint) = missing.pop()
    {
        endpoints.push(endpoint);
    }
}

/// Says for whom endpoints are. What became of it, where topology decides.
fn add_hints(
    snapshot: &Snapshot<'_>,
    family: Family,
    existing: &[Arc<EndpointSlice>],
    wanted: &mut BTreeMap<String, (Vec<EndpointPort>, Vec<Endpoint>)>,
) -> Option<Told> {
    let endpoints = wanted.values_mut().flat_map(|(_, endpoints)| endpoints);
    if !hints::wants_topology(snapshot.service) {
        hints::by_distribution(snapshot.service, endpoints);
        return None;
    }
    let had = |e: &Endpoint| {
        let old = existing.iter().flat_map(|s| endpoints_of(s)).find(|old| same_endpoint(e, old))?;
        Some(old.hints.as_ref()?.for_zones.as_ref()?.first()?.name.clone())
    };
    let mut all: Vec<&mut Endpoint> = endpoints.collect();
    let with_family = |what: &str| format!("{what}, addressType: {}", family.as_str());
    Some(match hints::by_topology(snapshot.shares, &mut all, &had) {
        Ok(()) => Told::Enabled(with_family("Topology Aware Hints has been enabled")),
        Err(why) => Told::Disabled(with_family(&why)),
    })
}
