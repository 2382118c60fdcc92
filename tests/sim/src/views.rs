//! Objects as the invariants look at them.

use crate::virtual_world::elapsed;
use gantry_types::quantity::Quantity;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What all objects have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct View {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub generation: i64,
    pub owner_references: Vec<OwnerReference>,
    pub finalizers: Vec<String>,
    #[serde(rename = "deletionTimestamp", deserialize_with = "is_there")]
    pub deleting: bool,
}

fn is_there<'de, D: serde::Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(from).map(|_| true)
}

#[derive(Deserialize)]
struct Whole {
    metadata: View,
}

impl View {
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Whole>(value).ok().map(|w| w.metadata)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub kind: String,
    pub name: String,
    pub uid: String,
}

/// A pod.
#[derive(Clone, Debug, Default)]
pub struct PodView {
    pub key: String,
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub owner: Option<Owner>,
    /// Empty where it is on none.
    pub node: String,
    /// The node a daemon is meant for.
    pub meant_for: String,
    pub phase: String,
    pub ready: bool,
    /// Since when, where it is ready.
    pub ready_since: Option<Duration>,
    pub deleting: bool,
    pub finalizers: Vec<String>,
    /// Requested, in millicores.
    pub cpu: i64,
    pub restarts_always: bool,
    /// Whoever made it never heard that it was made.
    pub unsure: bool,
}

fn meant_for(pod: &Pod) -> Option<&str> {
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let field = terms.first()?.match_fields.as_ref()?.first()?;
    field.values.as_ref()?.first().map(String::as_str)
}

/// Thousandths of a unit.
pub fn millis(text: &str) -> i64 {
    text.parse::<Quantity>().map_or(0, |q| q.milli_value())
}

impl PodView {
    pub fn read(key: &str, value: &[u8], before: Option<&Self>) -> Option<Self> {
        let pod: Pod = serde_json::from_slice(value).ok()?;
        let meta = &pod.metadata;
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref());
        let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true));
        let requests =
            spec.containers.iter().filter_map(|c| c.resources.as_ref()?.requests.as_ref()?.get("cpu"));
        let uid = meta.uid.clone().unwrap_or_default();
        let was = before.filter(|b| b.uid == uid && b.ready).and_then(|b| b.ready_since);
        Some(Self {
            key: key.to_owned(),
            name: meta.name.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            uid,
            labels: meta.labels.clone().unwrap_or_default(),
            owner: owner.map(|o| Owner { kind: o.kind.clone(), name: o.name.clone(), uid: o.uid.clone() }),
            node: spec.node_name.clone().unwrap_or_default(),
            meant_for: meant_for(&pod).unwrap_or_default().to_owned(),
            phase: status.and_then(|s| s.phase.clone()).unwrap_or_default(),
            ready,
            ready_since: ready.then(|| was.unwrap_or_else(elapsed)),
            deleting: meta.deletion_timestamp.is_some(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            cpu: requests.map(|q| millis(&q.0)).sum(),
            restarts_always: spec.restart_policy.as_deref() == Some("Always"),
            unsure: before.is_some_and(|b| b.unsure),
        })
    }

    pub fn terminal(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Neither ended nor going.
    pub fn active(&self) -> bool {
        !self.terminal() && !self.deleting
    }

    pub fn owned_by(&self, kind: &str) -> bool {
        self.owner.as_ref().is_some_and(|o| o.kind == kind)
    }

    /// The number at the end of a stateful pod's name.
    pub fn ordinal(&self) -> Option<i32> {
        self.name.rsplit_once('-')?.1.parse().ok()
    }

    pub fn revision(&self) -> &str {
        self.labels.get("controller-revision-hash").map_or("", String::as_str)
    }
}

impl fmt::Display for PodView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = self.owner.as_ref().map(|o| format!("{}/{}", o.kind, o.name)).unwrap_or_default();
        let ready = if self.ready { " ready" } else { "" };
        let uid = self.uid.get(..8).unwrap_or(&self.uid);
        write!(f, "[{uid} of {owner} on {:?} {}{ready}]", self.node, self.phase)
    }
}

pub fn ready_pods<'a>(pods: impl Iterator<Item = &'a PodView>) -> i32 {
    i32::try_from(pods.filter(|p| p.ready && !p.deleting).count()).unwrap_or(i32::MAX)
}
