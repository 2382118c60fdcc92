//! What the scheduler knows of the cluster besides its nodes and pods.

use crate::labels::{LabelSet, Pool};
use crate::shape::Shape;
use gantry_machinery::selector::{NodeSelector, Selector};
use gantry_types::field::Path;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// A volume, with its node affinity compiled.
#[derive(Debug)]
pub struct Volume {
    pub object: Arc<PersistentVolume>,
    affinity: Option<NodeSelector>,
}

impl Volume {
    fn new(object: Arc<PersistentVolume>) -> Self {
        let required = object.spec.as_ref().and_then(|s| s.node_affinity.as_ref()?.required.as_ref());
        let affinity = required.map(|r| NodeSelector::new(r, &Path::root()));
        Self { object, affinity }
    }

    /// Whether a node of these labels can have it.
    pub fn reaches(&self, labels: &LabelSet) -> bool {
        self.affinity.as_ref().is_none_or(|a| a.matches("", labels))
    }

    pub fn class(&self) -> &str {
        let beta = annotation(&self.object.metadata, BETA_CLASS);
        beta.or_else(|| self.object.spec.as_ref()?.storage_class_name.as_deref()).unwrap_or_default()
    }
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The class a claim asks for; empty for none.
pub fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    let beta = annotation(&claim.metadata, BETA_CLASS);
    beta.or_else(|| claim.spec.as_ref()?.storage_class_name.as_deref()).unwrap_or_default()
}

/// The volume a claim names; empty for none.
pub fn claim_volume(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default()
}

/// Whether claim and volume are bound to each other.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !claim_volume(claim).is_empty() && annotation(&claim.metadata, BIND_COMPLETED).is_some()
}

/// Labels that make a pod's equals: its services' and its controller's.
#[derive(Default)]
struct Workloads {
    services: HashMap<Box<str>, BTreeMap<Box<str>, LabelSet>>,
    owners: HashMap<(&'static str, String), Selector>,
}

/// Everything besides nodes and pods. Keys of namespaced objects are `namespace/name`.
#[derive(Default)]
pub struct Facts {
    namespaces: BTreeMap<Box<str>, LabelSet>,
    workloads: Workloads,
    /// Moves on when namespaces or workloads change.
    epoch: u64,
    pub claims: HashMap<String, Arc<PersistentVolumeClaim>>,
    pub volumes: BTreeMap<String, Volume>,
    pub classes: HashMap<String, Arc<StorageClass>>,
    pub csi_nodes: HashMap<String, Arc<CSINode>>,
    pub csi_drivers: HashMap<String, Arc<CSIDriver>>,
    pub capacities: BTreeMap<String, Arc<CSIStorageCapacity>>,
    /// By node, then by name.
    pub attachments: HashMap<String, HashMap<String, Arc<VolumeAttachment>>>,
    pub budgets: BTreeMap<String, (Selector, Arc<PodDisruptionBudget>)>,
    /// Volumes given to a claim by our own decision and not yet heard of as such.
    given: HashMap<String, String>,
    /// Nodes chosen for claims by our own decision and not yet heard of as such.
    chosen: HashMap<String, String>,
    pool: Pool,
}

/// `namespace/name`.
pub fn key(meta: &ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    match meta.namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

impl Facts {
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn set_namespace(&mut self, object: &Namespace, gone: bool) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let labels = self.pool.labels(object.metadata.labels.as_ref());
        let before = if gone {
            self.namespaces.remove(name)
        } else {
            self.namespaces.insert(name.into(), labels.clone())
        };
        if gone || before.as_ref() != Some(&labels) {
            self.epoch += 1;
        }
    }

    /// A namespace's labels, where it is known.
    pub fn namespace(&self, name: &str) -> Option<&LabelSet> {
        self.namespaces.get(name)
    }

    /// The namespaces a selector matches.
    pub fn namespaces(&self, selector: &Selector) -> impl Iterator<Item = &str> {
        self.namespaces.iter().filter(|(_, l)| selector.matches(*l)).map(|(n, _)| &**n)
    }

    pub fn set_service(&mut self, object: &Service, gone: bool) {
        let meta = &object.metadata;
        let list = self.workloads.services.entry(meta.namespace.as_deref().unwrap_or_default().into());
        let name = meta.name.as_deref().unwrap_or_default();
        // Services without a selector match nothing.
        let selector = object.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|_| !gone);
        let list = list.or_default();
        let changed = match selector {
            None => list.remove(name).is_some(),
            Some(selector) => {
                let labels = self.pool.labels(Some(selector));
                list.insert(name.into(), labels.clone()).as_ref() != Some(&labels)
            }
        };
        self.epoch += u64::from(changed);
    }

    /// Takes the selector of a controller of pods; `None` where it is gone.
    pub fn set_owner(&mut self, kind: &'static str, meta: &ObjectMeta, selector: Option<Selector>) {
        let key = (kind, key(meta));
        let before = match selector.clone() {
            Some(selector) => self.workloads.owners.insert(key, selector),
            None => self.workloads.owners.remove(&key),
        };
        self.epoch += u64::from(before != selector);
    }

    /// The selector of a pod's equals, from its services and its controller; everything where there are none.
    pub fn equals(&self, pod: &Shape) -> Selector {
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        if let Some(services) = self.workloads.services.get(&*pod.namespace) {
            for selector in services.values().filter(|s| pod.labels.contains(s)) {
                labels.extend(selector.iter().map(|(k, v)| (k.to_owned(), v.to_owned())));
            }
        }
        let mut out = Selector::from_set(&labels);
        let Some(owner) = &pod.owner else { return out };
        let kind = match (&*owner.api_version, &*owner.kind) {
            ("v1", "ReplicationController") => "ReplicationController",
            ("apps/v1", "ReplicaSet") => "ReplicaSet",
            ("apps/v1", "StatefulSet") => "StatefulSet",
            _ => return out,
        };
        let key = (kind, format!("{}/{}", pod.namespace, owner.name));
        if let Some(selector) = self.workloads.owners.get(&key) {
            out = Selector::of(out.requirements().iter().chain(selector.requirements()).cloned().collect());
        }
        out
    }

    pub fn set_volume(&mut self, object: Arc<PersistentVolume>, gone: bool) {
        let name = key(&object.metadata);
        if gone {
            self.given.remove(&name);
            self.volumes.remove(&name);
            return;
        }
        if object.spec.as_ref().is_some_and(|s| s.claim_ref.is_some()) {
            self.given.remove(&name);
        }
        self.volumes.insert(name, Volume::new(object));
    }

    pub fn set_claim(&mut self, object: Arc<PersistentVolumeClaim>, gone: bool) {
        let key = key(&object.metadata);
        if gone {
            self.chosen.remove(&key);
            self.claims.remove(&key);
            return;
        }
        if annotation(&object.metadata, SELECTED_NODE).is_some() || is_bound(&object) {
            self.chosen.remove(&key);
        }
        self.claims.insert(key, object);
    }

    pub fn set_budget(&mut self, object: Arc<PodDisruptionBudget>, gone: bool) {
        let key = key(&object.metadata);
        if gone {
            self.budgets.remove(&key);
            return;
        }
        let selector = object.spec.as_ref().and_then(|s| s.selector.as_ref());
        // Malformed ones match nothing.
        let selector = Selector::from_struct(selector).unwrap_or_else(|_| Selector::nothing());
        self.budgets.insert(key, (selector, object));
    }

    pub fn set_attachment(&mut self, object: Arc<VolumeAttachment>, gone: bool) {
        let (node, name) = (object.spec.node_name.clone(), key(&object.metadata));
        let there = self.attachments.entry(node.clone()).or_default();
        if gone {
            there.remove(&name);
            if there.is_empty() {
                self.attachments.remove(&node);
            }
        } else {
            there.insert(name, object);
        }
    }

    /// Volumes given to a claim by our own decision.
    pub fn given_to<'a>(&'a self, claim: &'a str) -> impl Iterator<Item = &'a str> {
        self.given.iter().filter(move |(_, c)| *c == claim).map(|(v, _)| v.as_str())
    }

    /// The node chosen for a claim by our own decision.
    pub fn chosen(&self, claim: &str) -> Option<&str> {
        self.chosen.get(claim).map(String::as_str)
    }

    /// What a plan may rest on has changed.
    pub(crate) fn moved_on(&mut self) {
        self.epoch += 1;
    }

    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(&format!("{namespace}/{name}"))
    }

    /// The node a claim's volume is to be made for, as far as that is settled.
    pub fn selected_node<'a>(&'a self, claim: &'a PersistentVolumeClaim) -> Option<&'a str> {
        let ours = self.chosen.get(&key(&claim.metadata)).map(String::as_str);
        ours.or_else(|| annotation(&claim.metadata, SELECTED_NODE))
    }

    /// The claim a volume has been given to by our own decision.
    pub fn given(&self, volume: &str) -> Option<&str> {
        self.given.get(volume).map(String::as_str)
    }

    pub fn give(&mut self, volume: &str, claim: &str) {
        self.given.insert(volume.to_owned(), claim.to_owned());
    }

    pub fn take_back(&mut self, volume: &str) {
        self.given.remove(volume);
    }

    pub fn choose(&mut self, claim: &str, node: &str) {
        self.chosen.insert(claim.to_owned(), node.to_owned());
    }

    pub fn unchoose(&mut self, claim: &str) {
        self.chosen.remove(claim);
    }
}
