//! The quality of service class of a pod.

use crate::kinds::prelude::*;
use crate::kinds::validate::resources::{ResourceList, parse};
use gantry_types::k8s_openapi::api::core::v1::PodSpec;
use gantry_types::quantity::Quantity;
use std::collections::BTreeMap;

/// Adds the CPU and memory above zero; whether both were there.
fn add(total: &mut BTreeMap<String, Quantity>, list: Option<&ResourceList>) -> bool {
    let mut found = 0;
    for name in ["cpu", "memory"] {
        let amount = list.and_then(|l| l.get(name)).and_then(parse).filter(|q| q.sign() > 0);
        if let Some(q) = amount {
            found += 1;
            total.entry(name.to_owned()).and_modify(|t| t.add(&q)).or_insert(q);
        }
    }
    found == 2
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by the pod's own resources where it has them, otherwise by its
/// containers'.
pub fn class(spec: &PodSpec) -> &'static str {
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut guaranteed = true;
    if let Some(own) = &spec.resources {
        add(&mut requests, own.requests.as_ref());
        if own.limits.as_ref().is_some_and(|l| !l.is_empty()) {
            guaranteed = add(&mut limits, own.limits.as_ref());
        }
    } else {
        for c in spec.containers.iter().chain(list(&spec.init_containers)) {
            let r = c.resources.as_ref();
            add(&mut requests, r.and_then(|r| r.requests.as_ref()));
            guaranteed &= add(&mut limits, r.and_then(|r| r.limits.as_ref()));
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let covered = requests.iter().all(|(name, q)| limits.get(name) == Some(q));
    if guaranteed && covered && requests.len() == limits.len() { "Guaranteed" } else { "Burstable" }
}
