//! What decides where a pod may go, shared by all pods that are equal in it.

use crate::labels::{LabelSet, Pool};
use crate::resource::{PodRequests, Resources, pod_requests};
use crate::volume::PodVolumes;
use gantry_machinery::selector::{NodeSelector, PreferredTerms, Selector, SelectorError};
use gantry_types::field::Path;
use k8s_openapi::api::core::v1::{
    NodeAffinity, Pod, PodAffinityTerm, PodSpec, Taint, Toleration, TopologySpreadConstraint,
};
use serde::Serialize;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// A port the pod wants on its node itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub protocol: Box<str>,
    /// `None`: every address.
    pub ip: Option<IpAddr>,
    pub port: u16,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip.is_none() || other.ip.is_none() || self.ip == other.ip)
    }
}

/// One term of pod affinity or anti-affinity.
#[derive(Clone, Debug)]
pub struct Term {
    pub key: Box<str>,
    pub selector: Selector,
    pub namespaces: BTreeSet<String>,
    pub namespace_selector: Selector,
    /// 0 for required terms.
    pub weight: i64,
}

impl Term {
    /// Whether a pod of these labels, in a namespace with those, is meant.
    pub fn matches(&self, namespace: &str, labels: &LabelSet, namespace_labels: Option<&LabelSet>) -> bool {
        let there = self.namespaces.contains(namespace)
            || match namespace_labels {
                Some(found) => self.namespace_selector.matches(found),
                None => self.namespace_selector.matches(&LabelSet::default()),
            };
        there && self.selector.matches(labels)
    }
}

/// The four lists of pod affinity terms.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub affinity: Vec<Term>,
    pub anti: Vec<Term>,
    pub preferred: Vec<Term>,
    pub preferred_anti: Vec<Term>,
}

impl Terms {
    pub fn is_empty(&self) -> bool {
        let lists = [&self.affinity, &self.anti, &self.preferred, &self.preferred_anti];
        lists.iter().all(|l| l.is_empty())
    }
}

/// The controller a pod belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
}

/// Everything about a pod that filters and scores read and that its equals have, too.
#[derive(Debug)]
pub struct Shape {
    /// Equal shapes have equal ids.
    pub id: u128,
    pub namespace: Arc<str>,
    pub labels: LabelSet,
    pub requests: Resources,
    /// CPU and memory as nodes count them for scoring.
    pub scoring: (i64, i64),
    /// CPU and memory as scoring counts the pod's wish.
    pub wish: (i64, i64),
    pub ports: Box<[HostPort]>,
    pub tolerations: Box<[Toleration]>,
    pub node_selector: LabelSet,
    pub affinity: Option<NodeSelector>,
    /// The only nodes the affinity allows, where all of its terms name them.
    pub named: Option<BTreeSet<String>>,
    pub preferred: Result<PreferredTerms, SelectorError>,
    pub terms: Result<Terms, SelectorError>,
    pub spread: Box<[TopologySpreadConstraint]>,
    /// One a container or image volume, init containers included.
    pub images: Box<[Box<str>]>,
    /// Containers, init containers included.
    pub containers: usize,
    pub volumes: PodVolumes,
    /// It names claims of devices.
    pub claims_devices: bool,
    pub owner: Option<Owner>,
}

/// Two hashes of what is written to it.
struct Digest(DefaultHasher, DefaultHasher);

impl std::io::Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes);
        self.1.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Digest {
    fn part(&mut self, part: &impl Serialize) {
        // Writing to a hasher does not fail, and these types have string keys only.
        let _ = serde_json::to_writer(&mut *self, part);
        self.0.write_u8(0xff);
        self.1.write_u8(0xff);
    }
}

/// What makes the pod's shape, as one number.
pub fn identify(pod: &Pod, requests: &PodRequests) -> u128 {
    let mut digest = Digest(DefaultHasher::new(), DefaultHasher::new());
    digest.1.write_u8(1);
    digest.part(&(&pod.metadata.namespace, &pod.metadata.labels));
    let owner = controller(pod);
    digest.part(&owner.as_ref().map(|o| (&*o.api_version, &*o.kind, &*o.name)));
    if let Some(spec) = &pod.spec {
        digest.part(&(
            &spec.node_selector,
            &spec.affinity,
            &spec.tolerations,
            &spec.topology_spread_constraints,
        ));
        digest.part(&(&spec.volumes, &spec.resource_claims));
        if spec.volumes.as_ref().is_some_and(|v| v.iter().any(|v| v.ephemeral.is_some())) {
            // Claims of ephemeral volumes carry the pod's name.
            digest.part(&(&pod.metadata.name, &pod.metadata.uid));
        }
        for c in spec.init_containers.iter().flatten().chain(&spec.containers) {
            digest.part(&(&c.image, &c.ports, &c.restart_policy));
        }
    }
    (&requests.requests, requests.scoring, requests.wish).hash(&mut digest.0);
    (&requests.requests, requests.scoring, requests.wish).hash(&mut digest.1);
    u128::from(digest.0.finish()) << 64 | u128::from(digest.1.finish())
}

fn controller(pod: &Pod) -> Option<Owner> {
    let owner = pod.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true))?;
    Some(Owner {
        api_version: owner.api_version.as_str().into(),
        kind: owner.kind.as_str().into(),
        name: owner.name.as_str().into(),
    })
}

/// The amounts of a pod; running ones may be in the midst of a resize.
pub fn amounts(pod: &Pod) -> PodRequests {
    let empty = PodSpec::default();
    pod_requests(pod.spec.as_ref().unwrap_or(&empty), pod.status.as_ref())
}

impl Shape {
    /// Reads a pod. Malformed parts never stop it: they match nothing, or say so.
    pub fn new(pod: &Pod, amounts: PodRequests, id: u128, pool: &mut Pool) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let node_affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        let required =
            node_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        let preferred =
            node_affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
        let at = Path::new("spec").child("affinity").child("nodeAffinity");
        let volumes = PodVolumes::new(pod);
        let images = (spec.init_containers.iter().flatten().chain(&spec.containers))
            .map(|c| normal_image(c.image.as_deref().unwrap_or_default()))
            .chain(volumes.images.iter().map(|i| normal_image(i)))
            .collect();
        Self {
            id,
            namespace: pool.text(namespace),
            labels: pool.labels(pod.metadata.labels.as_ref()),
            requests: amounts.requests,
            scoring: amounts.scoring,
            wish: amounts.wish,
            ports: host_ports(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default().into(),
            node_selector: pool.labels(spec.node_selector.as_ref()),
            affinity: required
                .map(|r| NodeSelector::new(r, &at.child("requiredDuringSchedulingIgnoredDuringExecution"))),
            named: node_affinity.and_then(named_nodes),
            preferred: preferred.map_or(Ok(PreferredTerms::default()), |p| {
                PreferredTerms::new(p, &at.child("preferredDuringSchedulingIgnoredDuringExecution"))
            }),
            terms: terms(spec, namespace),
            spread: spec.topology_spread_constraints.clone().unwrap_or_default().into(),
            images,
            containers: spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len),
            volumes,
            claims_devices: spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty()),
            owner: controller(pod),
        }
    }

    /// Whether a node's taint with this effect does not keep the pod away.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|t| tolerates(t, taint))
    }

    /// Whether the pod tolerates a taint of this key and effect without a value.
    pub fn tolerates_key(&self, key: &str, effect: &str) -> bool {
        self.tolerates(&Taint { key: key.into(), effect: effect.into(), ..Taint::default() })
    }

    /// Whether a node of these labels is one the pod's selector and required affinity allow.
    pub fn selects(&self, node: &str, labels: &LabelSet) -> bool {
        labels.contains(&self.node_selector) && self.affinity.as_ref().is_none_or(|a| a.matches(node, labels))
    }
}

fn named_nodes(affinity: &NodeAffinity) -> Option<BTreeSet<String>> {
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let mut all = BTreeSet::new();
    for term in terms {
        let fields = term.match_fields.iter().flatten();
        let by_name = fields.filter(|f| f.key == "metadata.name" && f.operator == "In");
        let sets = by_name.map(|f| f.values.iter().flatten().cloned().collect::<BTreeSet<_>>());
        all.extend(sets.reduce(|a, b| a.intersection(&b).cloned().collect())?);
    }
    (!terms.is_empty()).then_some(all)
}

fn terms(spec: &PodSpec, namespace: &str) -> Result<Terms, SelectorError> {
    let read = |t: &PodAffinityTerm, weight: i32| {
        let own = t.namespaces.as_ref().is_none_or(Vec::is_empty) && t.namespace_selector.is_none();
        let named = t.namespaces.iter().flatten().cloned();
        Ok(Term {
            key: t.topology_key.as_str().into(),
            selector: Selector::from_struct(t.label_selector.as_ref())?,
            namespaces: own.then(|| namespace.to_owned()).into_iter().chain(named).collect(),
            namespace_selector: Selector::from_struct(t.namespace_selector.as_ref())?,
            weight: weight.into(),
        })
    };
    let (mut out, Some(affinity)) = (Terms::default(), &spec.affinity) else { return Ok(Terms::default()) };
    if let Some(a) = &affinity.pod_affinity {
        let required = a.required_during_scheduling_ignored_during_execution.iter().flatten();
        out.affinity = required.map(|t| read(t, 0)).collect::<Result<_, _>>()?;
        let preferred = a.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        out.preferred = preferred.map(|t| read(&t.pod_affinity_term, t.weight)).collect::<Result<_, _>>()?;
    }
    if let Some(a) = &affinity.pod_anti_affinity {
        let required = a.required_during_scheduling_ignored_during_execution.iter().flatten();
        out.anti = required.map(|t| read(t, 0)).collect::<Result<_, _>>()?;
        let preferred = a.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        out.preferred_anti =
            preferred.map(|t| read(&t.pod_affinity_term, t.weight)).collect::<Result<_, _>>()?;
    }
    Ok(out)
}

/// Whether a toleration covers a taint.
pub fn tolerates(t: &Toleration, taint: &Taint) -> bool {
    let (effect, key) = (t.effect.as_deref().unwrap_or(""), t.key.as_deref().unwrap_or(""));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match t.operator.as_deref().unwrap_or("") {
        "" | "Equal" => t.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""),
        "Exists" => true,
        _ => false,
    }
}

fn host_ports(spec: &PodSpec) -> Box<[HostPort]> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            let port = u16::try_from(p.host_port?).ok().filter(|p| *p != 0)?;
            let ip = p.host_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
            let ip = ip.filter(|ip| !ip.is_unspecified());
            Some(HostPort { protocol: p.protocol.as_deref().unwrap_or("TCP").into(), ip, port })
        })
        .collect()
}

/// An image's name as nodes report it: with a tag.
pub fn normal_image(name: &str) -> Box<str> {
    if name.rfind(':') <= name.rfind('/') { format!("{name}:latest").into() } else { name.into() }
}
