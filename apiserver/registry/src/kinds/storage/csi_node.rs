//! `storage.k8s.io/v1` CSINode.

use crate::kinds::prelude::*;
use crate::kinds::validate::{meta, volumes::driver_name};
use crate::kinds::{go_types, print};
use gantry_types::k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver};
use std::collections::BTreeSet;

/// The drivers on a node; of a driver once there only what it can attach may change.
pub struct CSINodes;

const NODE_ID_MAX: usize = 256;

fn driver(d: &CSINodeDriver, path: &Path) -> ErrorList {
    let mut errs = driver_name(&d.name, &path.child("name"));
    let at = path.child("nodeID");
    if d.node_id.is_empty() {
        errs.push(Error::required(&at, ""));
    }
    if d.node_id.len() > NODE_ID_MAX {
        errs.push(Error::invalid(&at, &d.node_id, format!("must be {NODE_ID_MAX} characters or less")));
    }
    if let Some(n) = d.allocatable.as_ref().and_then(|a| a.count).filter(|n| *n < 0) {
        let at = path.child("allocatable").child("count");
        errs.push(Error::invalid(&at, &n, "must be greater than or equal to 0"));
    }
    let mut seen = BTreeSet::new();
    for key in list(&d.topology_keys) {
        if key.is_empty() {
            errs.push(Error::required(path, ""));
        }
        if !seen.insert(key) {
            errs.push(Error::duplicate(path, key));
        }
        errs.extend(invalid_each(path, key, names::qualified_name(key)));
    }
    errs
}

fn validate(node: &CSINode) -> ErrorList {
    let mut errs = meta::object_meta(&node.metadata, false, meta::subdomain_name);
    let mut seen = BTreeSet::new();
    for (i, d) in node.spec.drivers.iter().enumerate() {
        let at = Path::new("spec").child("drivers").index(i);
        errs.extend(driver(d, &at));
        if !seen.insert(&d.name) {
            errs.push(Error::duplicate(&at.child("name"), &d.name));
        }
    }
    errs
}

impl Strategy for CSINodes {
    type Kind = CSINode;

    fn validate_create(&self, _cx: &Context<'_>, node: &CSINode) -> ErrorList {
        validate(node)
    }

    fn validate_update(&self, _cx: &Context<'_>, node: &CSINode, old: &CSINode) -> ErrorList {
        let mut errs = validate(node);
        errs.extend(meta::object_meta_update(&node.metadata, &old.metadata));
        for had in &old.spec.drivers {
            for new in node.spec.drivers.iter().filter(|d| d.name == had.name) {
                let kept = |d: &CSINodeDriver| CSINodeDriver { allocatable: None, ..d.clone() };
                let (new, had) = (kept(new), kept(had));
                if new.node_id != had.node_id || !same(&new.topology_keys, &had.topology_keys) {
                    let printed = go_types::print("CSINodeDriver", &new);
                    errs.push(invalid_raw(&Path::new("spec").child("drivers"), printed, meta::IMMUTABLE));
                }
            }
        }
        errs
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn row(&self, node: &CSINode, now: Timestamp) -> Vec<Cell> {
        vec![
            print::name(&node.metadata),
            Cell::Int(i64::try_from(node.spec.drivers.len()).unwrap_or(i64::MAX)),
            print::age(node.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
