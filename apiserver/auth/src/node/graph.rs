//! Which node may reach which object: pods lead to what they name, volumes to their claims' nodes.

use super::refs::{Far, PodRefs, VolumeHead};
use gantry_types::reader::ObjectEvent;
use gantry_types::{GroupResource, Object};
use std::collections::{HashMap, HashSet};

/// The kinds of object the graph knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Pod,
    Secret,
    ConfigMap,
    ServiceAccount,
    Claim,
    ResourceClaim,
    Volume,
    Attachment,
    Slice,
    CertificateRequest,
}

impl Kind {
    /// The kind a followed resource holds.
    pub fn of(resource: &GroupResource) -> Option<Self> {
        match &*resource.resource {
            "pods" => Some(Self::Pod),
            "persistentvolumes" => Some(Self::Volume),
            "volumeattachments" => Some(Self::Attachment),
            "resourceslices" => Some(Self::Slice),
            "podcertificaterequests" => Some(Self::CertificateRequest),
            _ => None,
        }
    }
}

struct PodEntry {
    uid: Box<str>,
    refs: PodRefs,
}

#[derive(Default)]
struct VolumeEntry {
    claim: Option<Far>,
    secrets: Vec<Far>,
}

/// Nodes an object is reachable from, each with the number of pods that lead there.
type Nodes = HashMap<String, u32>;
/// By namespace, then name.
type ByName<T> = HashMap<String, HashMap<String, T>>;

/// The graph. Memory: a handful of small strings per scheduled pod.
#[derive(Default)]
pub struct Graph {
    pods: ByName<PodEntry>,
    volumes: HashMap<String, VolumeEntry>,
    /// What pods lead to.
    secrets: ByName<Nodes>,
    config_maps: ByName<Nodes>,
    service_accounts: ByName<Nodes>,
    claims: ByName<Nodes>,
    resource_claims: ByName<Nodes>,
    /// Secrets that volumes need, with those volumes.
    volume_secrets: ByName<HashSet<String>>,
    /// The one node of an attachment, slice or certificate request, by kind, namespace and name.
    owned: HashMap<(Kind, String), HashMap<String, String>>,
}

fn bump(to: &mut ByName<Nodes>, namespace: &str, name: &str, node: &str) {
    let nodes = to.entry(namespace.to_owned()).or_default().entry(name.to_owned()).or_default();
    *nodes.entry(node.to_owned()).or_default() += 1;
}

fn drop_one(from: &mut ByName<Nodes>, namespace: &str, name: &str, node: &str) {
    let Some(names) = from.get_mut(namespace) else { return };
    if let Some(nodes) = names.get_mut(name) {
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            names.remove(name);
        }
    }
    if names.is_empty() {
        from.remove(namespace);
    }
}

fn has(nodes: &ByName<Nodes>, namespace: &str, name: &str, node: &str) -> bool {
    nodes.get(namespace).and_then(|names| names.get(name)).is_some_and(|nodes| nodes.contains_key(node))
}

/// Whether something of a pod that may change after it was bound adds references.
fn grows(body: &[u8]) -> bool {
    ["\"ephemeralContainers\"", "\"resourceClaimStatuses\"", "\"extendedResourceClaimStatus\""]
        .iter()
        .any(|field| memchr::memmem::find(body, field.as_bytes()).is_some())
}

impl Graph {
    /// Takes in one event of a followed kind.
    ///
    /// # Errors
    /// Where the object cannot be read; it then leads nowhere.
    pub fn apply(&mut self, kind: Kind, event: &ObjectEvent) -> Result<(), serde_json::Error> {
        match (event, kind) {
            (ObjectEvent::Synced, _) => {}
            (ObjectEvent::Reset, Kind::Pod) => {
                self.pods.clear();
                for edges in [
                    &mut self.secrets,
                    &mut self.config_maps,
                    &mut self.service_accounts,
                    &mut self.claims,
                    &mut self.resource_claims,
                ] {
                    edges.clear();
                }
            }
            (ObjectEvent::Reset, Kind::Volume) => {
                self.volumes.clear();
                self.volume_secrets.clear();
            }
            (ObjectEvent::Reset, kind) => self.owned.retain(|(k, _), _| *k != kind),
            (ObjectEvent::Applied(pod), Kind::Pod) => return self.put_pod(pod),
            (ObjectEvent::Deleted(pod), Kind::Pod) => self.remove_pod(pod.namespace(), pod.name()),
            (ObjectEvent::Applied(volume), Kind::Volume) => return self.put_volume(volume),
            (ObjectEvent::Deleted(volume), Kind::Volume) => self.remove_volume(volume.name()),
            (ObjectEvent::Applied(object), kind) => {
                self.remove_owned(kind, object);
                let head: VolumeHead = object.typed()?;
                if !head.node().is_empty() {
                    let names = self.owned.entry((kind, object.namespace().to_owned())).or_default();
                    names.insert(object.name().to_owned(), head.node().to_owned());
                }
            }
            (ObjectEvent::Deleted(object), kind) => self.remove_owned(kind, object),
        }
        Ok(())
    }

    fn remove_owned(&mut self, kind: Kind, object: &Object) {
        let key = (kind, object.namespace().to_owned());
        if let Some(names) = self.owned.get_mut(&key) {
            names.remove(object.name());
            if names.is_empty() {
                self.owned.remove(&key);
            }
        }
    }

    fn put_pod(&mut self, pod: &Object) -> Result<(), serde_json::Error> {
        let node = pod.field("spec.nodeName");
        if node == Some("") {
            return Ok(());
        }
        let known = self.pods.get(pod.namespace()).and_then(|names| names.get(pod.name()));
        // Most events of a bound pod are status reports, which change no reference.
        if known.is_some_and(|known| *known.uid == *pod.uid() && node.is_none_or(|n| n == known.refs.node))
            && !grows(pod.body())
        {
            return Ok(());
        }
        self.remove_pod(pod.namespace(), pod.name());
        let refs = PodRefs::read(pod.body())?;
        if refs.node.is_empty() {
            return Ok(());
        }
        for (edges, names) in self.edges(&refs) {
            for name in names {
                bump(edges, pod.namespace(), name, &refs.node);
            }
        }
        let entry = PodEntry { uid: pod.uid().into(), refs };
        self.pods.entry(pod.namespace().to_owned()).or_default().insert(pod.name().to_owned(), entry);
        Ok(())
    }

    fn edges<'a, 'r>(&'a mut self, refs: &'r PodRefs) -> [(&'a mut ByName<Nodes>, &'r [String]); 5] {
        [
            (&mut self.secrets, &refs.secrets),
            (&mut self.config_maps, &refs.config_maps),
            (&mut self.service_accounts, &refs.service_accounts),
            (&mut self.claims, &refs.claims),
            (&mut self.resource_claims, &refs.resource_claims),
        ]
    }

    fn remove_pod(&mut self, namespace: &str, name: &str) {
        let Some(names) = self.pods.get_mut(namespace) else { return };
        let Some(old) = names.remove(name) else { return };
        if names.is_empty() {
            self.pods.remove(namespace);
        }
        for (edges, names) in self.edges(&old.refs) {
            for name in names {
                drop_one(edges, namespace, name, &old.refs.node);
            }
        }
    }

    fn put_volume(&mut self, volume: &Object) -> Result<(), serde_json::Error> {
        self.remove_volume(volume.name());
        let head: VolumeHead = volume.typed()?;
        let Some(claim) = head.claim() else { return Ok(()) };
        let entry = VolumeEntry { claim: Some(claim), secrets: head.secrets() };
        for (namespace, name) in &entry.secrets {
            let volumes = self.volume_secrets.entry(namespace.clone()).or_default();
            volumes.entry(name.clone()).or_default().insert(volume.name().to_owned());
        }
        self.volumes.insert(volume.name().to_owned(), entry);
        Ok(())
    }

    fn remove_volume(&mut self, name: &str) {
        let Some(old) = self.volumes.remove(name) else { return };
        for (namespace, secret) in &old.secrets {
            let Some(names) = self.volume_secrets.get_mut(namespace) else { continue };
            if let Some(volumes) = names.get_mut(secret) {
                volumes.remove(name);
                if volumes.is_empty() {
                    names.remove(secret);
                }
            }
            if names.is_empty() {
                self.volume_secrets.remove(namespace);
            }
        }
    }

    fn volume_reaches(&self, name: &str, node: &str) -> bool {
        let claim = self.volumes.get(name).and_then(|volume| volume.claim.as_ref());
        claim.is_some_and(|(namespace, claim)| has(&self.claims, namespace, claim, node))
    }

    /// Whether a path leads from the object to the node.
    pub fn reaches(&self, kind: Kind, namespace: &str, name: &str, node: &str) -> bool {
        match kind {
            Kind::Pod => self
                .pods
                .get(namespace)
                .and_then(|names| names.get(name))
                .is_some_and(|pod| pod.refs.node == node),
            Kind::ConfigMap => has(&self.config_maps, namespace, name, node),
            Kind::ServiceAccount => has(&self.service_accounts, namespace, name, node),
            Kind::Claim => has(&self.claims, namespace, name, node),
            Kind::ResourceClaim => has(&self.resource_claims, namespace, name, node),
            Kind::Volume => self.volume_reaches(name, node),
            Kind::Secret => {
                has(&self.secrets, namespace, name, node)
                    || self
                        .volume_secrets
                        .get(namespace)
                        .and_then(|names| names.get(name))
                        .is_some_and(|volumes| volumes.iter().any(|v| self.volume_reaches(v, node)))
            }
            Kind::Attachment | Kind::Slice | Kind::CertificateRequest => self
                .owned
                .get(&(kind, namespace.to_owned()))
                .and_then(|names| names.get(name))
                .is_some_and(|owner| owner == node),
        }
    }
}
