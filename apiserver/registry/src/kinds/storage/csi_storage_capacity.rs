//! `storage.k8s.io/v1` CSIStorageCapacity.

use crate::kinds::core::pod_warnings::deprecated_label;
use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::validate::{meta, resources, selector};
use gantry_types::k8s_openapi::api::storage::v1::CSIStorageCapacity;
use gantry_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What a class can still provide in a part of the cluster; which class and which part never change.
pub struct CSIStorageCapacities;

fn canonical(q: &mut Option<Quantity>) {
    if let Some(q) = q
        && let Some(amount) = resources::parse(q)
    {
        q.0 = amount.to_string();
    }
}

fn validate(capacity: &CSIStorageCapacity, options: selector::Options) -> ErrorList {
    let mut errs = meta::object_meta(&capacity.metadata, true, meta::subdomain_name);
    let topology = capacity.node_topology.as_ref();
    errs.extend(selector::label_selector(topology, options, &Path::new("nodeTopology")));
    let class = &capacity.storage_class_name;
    errs.extend(invalid_each(&Path::new("storageClassName"), class, meta::subdomain_name(class, false)));
    if let Some(amount) = capacity.capacity.as_ref().and_then(resources::parse).filter(|q| q.sign() < 0) {
        let at = Path::new("capacity");
        errs.push(Error::invalid(&at, &amount.to_string(), resources::NOT_NEGATIVE));
    }
    errs
}

impl Strategy for CSIStorageCapacities {
    type Kind = CSIStorageCapacity;

    fn default(&self, capacity: &mut CSIStorageCapacity) {
        canonical(&mut capacity.capacity);
        canonical(&mut capacity.maximum_volume_size);
    }

    fn validate_create(&self, _cx: &Context<'_>, capacity: &CSIStorageCapacity) -> ErrorList {
        validate(capacity, selector::Options::default())
    }

    fn validate_update(
        &self,
        _cx: &Context<'_>,
        capacity: &CSIStorageCapacity,
        old: &CSIStorageCapacity,
    ) -> ErrorList {
        let at = Path::new("nodeTopology");
        let strict = selector::Options::default();
        let had_bad = !selector::label_selector(old.node_topology.as_ref(), strict, &at).is_empty();
        let mut errs = validate(capacity, selector::Options { allow_invalid_values: had_bad });
        errs.extend(meta::object_meta_update(&capacity.metadata, &old.metadata));
        if capacity.node_topology != old.node_topology {
            let printed = selector::go_json(capacity.node_topology.as_ref());
            errs.push(invalid_raw(&at, printed, meta::IMMUTABLE));
        }
        let at = Path::new("storageClassName");
        errs.extend(meta::immutable(&capacity.storage_class_name, &old.storage_class_name, &at));
        errs
    }

    fn warnings(
        &self,
        _cx: &Context<'_>,
        capacity: &CSIStorageCapacity,
        _old: Option<&CSIStorageCapacity>,
    ) -> Vec<String> {
        let Some(topology) = &capacity.node_topology else { return Vec::new() };
        let at = Path::new("nodeTopology");
        let mut out = Vec::new();
        for (i, r) in list(&topology.match_expressions).iter().enumerate() {
            if let Some(m) = deprecated_label(&r.key) {
                out.push(format!("{}: {} is {m}", at.child("matchExpressions").index(i).child("key"), r.key));
            }
        }
        for key in topology.match_labels.iter().flatten().map(|(k, _)| k) {
            out.extend(deprecated_label(key).map(|m| format!("{}: {m}", at.child("matchLabels").child(key))));
        }
        out
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn row(&self, capacity: &CSIStorageCapacity, _now: Timestamp) -> Vec<Cell> {
        let created = capacity.metadata.creation_timestamp.as_ref();
        let created = created.map_or(Cell::Null, |t| t.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
        vec![print::name(&capacity.metadata), created]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
