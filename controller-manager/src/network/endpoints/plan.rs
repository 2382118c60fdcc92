//! The endpoints a service should have.

use crate::network::endpointslice::endpoint;
use crate::network::subsets::{count, repack};
use gantry_reconcile::conditions;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most addresses one object holds.
const MOST: usize = 1000;

const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const OVER: &str = "endpoints.kubernetes.io/over-capacity";
const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Whether an old leader election lives in it: nobody's endpoints.
pub(super) fn elects(endpoints: &Endpoints) -> bool {
    endpoints.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER))
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut out = service.metadata.labels.clone().unwrap_or_default();
    let ip = service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()).unwrap_or("");
    if ip.is_empty() || ip == "None" {
        out.insert(HEADLESS.to_owned(), String::new());
    } else {
        out.remove(HEADLESS);
    }
    out.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    out
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let family = *endpoint::families(service).first()?;
    let found = endpoint::endpoint(service, pod, family, None)?;
    Some(EndpointAddress {
        ip: found.addresses.first()?.clone(),
        hostname: found.hostname,
        node_name: found.node_name,
        target_ref: found.target_ref.map(|t| ObjectReference { api_version: None, ..t }),
    })
}

fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let spec = service.spec.as_ref();
    let publish = spec.and_then(|s| s.publish_not_ready_addresses).unwrap_or(false);
    let portless = spec.is_none_or(|s| s.ports.as_ref().is_none_or(Vec::is_empty));
    let headless = spec.and_then(|s| s.cluster_ip.as_deref()) == Some("None");
    let mut out = Vec::new();
    for pod in pods.iter().filter(|p| endpoint::belongs(p)) {
        if pod.metadata.deletion_timestamp.is_some() && !publish {
            continue;
        }
        let Some(address) = address(service, pod) else { continue };
        let ready = publish || conditions::is_ready(pod);
        let mut add = |port: Option<EndpointPort>| {
            let (yes, no) =
                if ready { (Some(vec![address.clone()]), None) } else { (None, Some(vec![address.clone()])) };
            out.push(EndpointSubset {
                addresses: yes,
                not_ready_addresses: no,
                ports: port.map(|p| vec![p]),
            });
        };
        if portless {
            if headless {
                add(None);
            }
            continue;
        }
        for port in endpoint::ports(service, pod) {
            add(Some(EndpointPort {
                name: port.name.filter(|n| !n.is_empty()),
                port: port.port.unwrap_or(0),
                protocol: port.protocol,
                app_protocol: port.app_protocol,
            }));
        }
    }
    repack(&out)
}

/// Cuts to capacity: the ready first, each subset in proportion. Whether anything was cut.
fn truncate(all: &mut [EndpointSubset]) -> bool {
    let (ready, waiting) = count(all);
    if ready + waiting <= MOST {
        return false;
    }
    let cut_ready = ready > MOST;
    let (room, of) = if cut_ready { (MOST, ready) } else { (MOST - ready, waiting) };
    let mut left = room;
    for subset in all {
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let has = list.as_ref().map_or(0, Vec::len);
        let share = (has * room).div_ceil(of).min(left);
        left -= share;
        if let Some(list) = list {
            list.truncate(share);
        }
        if cut_ready {
            subset.not_ready_addresses = None;
        }
        for list in [&mut subset.addresses, &mut subset.not_ready_addresses] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                *list = None;
            }
        }
    }
    true
}

/// What is to be written; `None` where what is there is right.
pub(super) fn plan(service: &Service, pods: &[Arc<Pod>], present: Option<&Endpoints>) -> Option<Endpoints> {
    let mut wanted = subsets(service, pods);
    let over = truncate(&mut wanted);
    let labels = labels(service);
    if let Some(present) = present {
        let has = present.subsets.as_deref().unwrap_or_default();
        let marked = present.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(OVER));
        // Upstream orders by hashes: brought into our order before comparing.
        let same = has == wanted.as_slice() || repack(has) == wanted;
        if same && present.metadata.labels.as_ref() == Some(&labels) && marked == over {
            return None;
        }
    }
    let mut out = present.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        ..Endpoints::default()
    });
    out.subsets = (!wanted.is_empty()).then_some(wanted);
    out.metadata.labels = Some(labels);
    let annotations = out.metadata.annotations.get_or_insert_default();
    if over {
        annotations.insert(OVER.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER);
    }
    Some(out)
}

/// Says what change a write answers to.
pub(super) fn stamp(endpoints: &mut Endpoints, trigger: Option<Timestamp>) {
    let annotations = endpoints.metadata.annotations.get_or_insert_default();
    match trigger {
        Some(at) => _ = annotations.insert(TRIGGER.to_owned(), at.to_string()),
        None => _ = annotations.remove(TRIGGER),
    }
}
