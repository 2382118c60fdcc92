//! Semantic equality: quantities by amount, absent and empty alike.

use crate::kinds::prelude::*;
use crate::kinds::validate::resources::{ResourceList, parse};
use gantry_types::k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Tree {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
}

impl Tree {
    /// Drops what Go's semantic equality holds equal to nothing: nulls, empty lists and maps of values that
    /// are not pointers.
    fn prune(self) -> Self {
        match self {
            Self::List(items) => Self::List(items.into_iter().map(Self::prune).collect()),
            Self::Map(map) => {
                let kept = map.into_iter().map(|(k, v)| (k, v.prune()));
                let empty = |k: &str, v: &Tree| match v {
                    Self::Null => true,
                    Self::List(l) => l.is_empty(),
                    Self::Map(m) => m.is_empty() && PLAIN.contains(&k),
                    Self::Text(t) => t.is_empty(),
                    Self::Bool(b) => !b && PLAIN.contains(&k),
                    _ => false,
                };
                Self::Map(kept.filter(|(k, v)| !empty(k, v)).collect())
            }
            other => other,
        }
    }
}

/// Fields whose empty value means the same as none: plain maps, structs and flags.
const PLAIN: &[&str] = &[
    "resources",
    "limits",
    "requests",
    "nodeSelector",
    "labels",
    "annotations",
    "matchLabels",
    "securityContext",
    "overhead",
    "metadata",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
    "publishNotReadyAddresses",
    "unschedulable",
    "paused",
    "status",
    "strategy",
];

fn tree<T: Serialize>(value: &T) -> Option<Tree> {
    let bytes = serde_json::to_vec(value).ok()?;
    serde_json::from_slice::<Tree>(&bytes).ok().map(Tree::prune)
}

/// Whether two values print alike once empties are dropped.
pub fn values<T: Serialize>(a: &T, b: &T) -> bool {
    tree(a) == tree(b)
}

fn canonical_list(l: &mut Option<ResourceList>) {
    for q in l.iter_mut().flat_map(BTreeMap::values_mut) {
        if let Some(amount) = parse(q) {
            // By amount, whatever the suffix.
            q.0 = format!("{}n", amount.scaled_value(-9));
        }
    }
}

fn canonical(r: &mut Option<ResourceRequirements>) {
    if let Some(r) = r {
        canonical_list(&mut r.limits);
        canonical_list(&mut r.requests);
    }
}

fn canonical_spec(spec: &PodSpec) -> PodSpec {
    let mut spec = spec.clone();
    for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        canonical(&mut c.resources);
    }
    canonical(&mut spec.resources);
    canonical_list(&mut spec.overhead);
    // The old name of the account is not part of the internal form.
    spec.service_account = None;
    spec
}

pub fn specs(a: &PodSpec, b: &PodSpec) -> bool {
    a == b || values(&canonical_spec(a), &canonical_spec(b))
}

pub fn containers(a: &Container, b: &Container) -> bool {
    let canonical = |c: &Container| {
        let mut c = c.clone();
        canonical(&mut c.resources);
        c
    };
    a == b || values(&canonical(a), &canonical(b))
}

pub fn requirements(a: Option<&ResourceRequirements>, b: Option<&ResourceRequirements>) -> bool {
    let canonical = |r: Option<&ResourceRequirements>| {
        let mut r = r.cloned();
        canonical(&mut r);
        r
    };
    a.is_some() == b.is_some() && values(&canonical(a), &canonical(b))
}

/// Times compare by instant, to the second they are stored in.
pub fn times(a: Option<&Time>, b: Option<&Time>) -> bool {
    a.map(|t| t.0.as_second()) == b.map(|t| t.0.as_second())
}
