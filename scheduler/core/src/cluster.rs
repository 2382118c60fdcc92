//! The cluster in dense arrays, kept current event by event. A cycle reads it as it is; nothing is copied.

use crate::facts::Facts;
use crate::labels::Pool;
use crate::node::{NodeFacts, NodeInfo};
use crate::pod::PodInfo;
use crate::shape::Shape;
use crate::tally::{Tally, TallyIndex, TallySpec};
use crate::topology::{KeyIndex, Topology};
use k8s_openapi::api::core::v1::Node;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A node's place in the arrays; stays its own until the node has gone and no pod is left on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIndex(pub usize);

/// Where the pods of one shape are, and what they count in.
struct ShapeUse {
    shape: Arc<Shape>,
    /// Living and deleted pods by node slot.
    places: HashMap<usize, (u32, u32)>,
    gives: Vec<(TallyIndex, i64)>,
}

/// Nodes, the pods on them (bound, and assumed while binding is under way), and what is counted over them.
#[derive(Default)]
pub struct Cluster {
    nodes: Vec<NodeInfo>,
    /// By slot; moves on with every change of the node or its pods.
    versions: Vec<u32>,
    by_name: HashMap<Arc<str>, NodeIndex>,
    free: Vec<NodeIndex>,
    /// Where each pod is, by UID.
    placed: HashMap<Box<str>, NodeIndex>,
    /// Pods placed by our own decision and not yet heard of as bound.
    assumed: HashMap<Box<str>, Arc<PodInfo>>,
    present: usize,
    /// On how many nodes each image is.
    image_spread: HashMap<Arc<str>, usize>,
    /// Pods that wait for room made for them, by the node where.
    nominated: HashMap<Box<str>, Vec<Arc<PodInfo>>>,
    nominated_at: HashMap<Box<str>, Box<str>>,
    /// How many pods use each claim, by `namespace/name`.
    claims: HashMap<String, u32>,
    topology: Topology,
    tallies: Vec<Option<Tally>>,
    free_tallies: Vec<TallyIndex>,
    shapes: HashMap<u128, ShapeUse>,
    /// Topology keys that terms of placed pods have ever named.
    term_keys: BTreeSet<Box<str>>,
    /// Pods whose own preemption is under way.
    pub preempting: HashSet<Box<str>>,
    pool: Pool,
    pub facts: Facts,
}

impl Cluster {
    /// Nodes whose objects exist.
    pub fn len(&self) -> usize {
        self.present
    }

    pub fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// Places, absent ones included; the bound of [`NodeIndex`].
    pub fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// By slot, a number that moves on with every change there.
    pub fn versions(&self) -> &[u32] {
        &self.versions
    }

    /// The node in a place, `None` where its object is not known.
    pub fn node(&self, index: NodeIndex) -> Option<&NodeInfo> {
        self.nodes.get(index.0).filter(|n| n.present)
    }

    pub fn index(&self, name: &str) -> Option<NodeIndex> {
        self.by_name.get(name).copied()
    }

    pub fn nodes(&self) -> impl Iterator<Item = (NodeIndex, &NodeInfo)> {
        self.nodes.iter().enumerate().filter(|(_, n)| n.present).map(|(i, n)| (NodeIndex(i), n))
    }

    pub fn image_nodes(&self, image: &str) -> usize {
        self.image_spread.get(image).copied().unwrap_or(0)
    }

    /// How many pods here use a claim (`namespace/name`).
    pub fn claim_users(&self, claim: &str) -> u32 {
        self.claims.get(claim).copied().unwrap_or(0)
    }

    fn slot(&mut self, name: &str) -> NodeIndex {
        if let Some(index) = self.index(name) {
            return index;
        }
        let name: Arc<str> = self.pool.text(name);
        let fresh = NodeInfo { name: name.clone(), ..NodeInfo::default() };
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index.0] = fresh;
                index
            }
            None => {
                self.nodes.push(fresh);
                self.versions.push(0);
                NodeIndex(self.nodes.len() - 1)
            }
        };
        self.by_name.insert(name, index);
        index
    }

    fn release(&mut self, index: NodeIndex) {
        let node = &self.nodes[index.0];
        if !node.present && node.pods.is_empty() {
            self.by_name.remove(&node.name);
            self.nodes[index.0] = NodeInfo::default();
            self.touch(index);
            self.free.push(index);
        }
    }

    fn touch(&mut self, index: NodeIndex) {
        self.versions[index.0] = self.versions[index.0].wrapping_add(1);
    }

    fn count_images(&mut self, index: NodeIndex, add: bool) {
        for (image, _) in &self.nodes[index.0].images {
            let count = self.image_spread.entry(image.clone()).or_default();
            *count = if add { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.image_spread.remove(image);
            }
        }
    }

    /// Counts a node and its pods into every tally, or out of it.
    fn tally_node(&mut self, index: NodeIndex, add: bool) {
        let node = &self.nodes[index.0];
        for tally in self.tallies.iter_mut().flatten() {
            let value = self.topology.value(tally.key(), index.0);
            if add {
                tally.set_node(index.0, value, Some(node).filter(|n| n.present));
            }
        }
        for pod in &node.pods {
            if let Some(shape) = self.shapes.get(&pod.id) {
                give(
                    &mut self.tallies,
                    &self.topology,
                    shape,
                    index.0,
                    pod.deleting,
                    if add { 1 } else { -1 },
                );
            }
        }
        if !add {
            for tally in self.tallies.iter_mut().flatten() {
                tally.unset_node(index.0, self.topology.value(tally.key(), index.0));
            }
        }
    }

    /// Takes a Node as it is now. What it was before: `None` where it was not known.
    pub fn set_node(&mut self, node: &Node) -> (NodeIndex, Option<NodeFacts>) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let index = self.slot(name);
        let before = self.node(index).map(NodeInfo::facts);
        self.count_images(index, false);
        let mut fresh = std::mem::take(&mut self.nodes[index.0]);
        fresh.update(node, &mut self.pool);
        let same_place =
            before.as_ref().is_some_and(|b| b.labels == fresh.labels && b.taints == fresh.taints);
        if same_place {
            self.nodes[index.0] = fresh;
        } else {
            // Count it out as it was: labels and presence come from the columns, pods from the node.
            let pods = std::mem::take(&mut fresh.pods);
            self.nodes[index.0].pods = pods;
            self.tally_node(index, false);
            fresh.pods = std::mem::take(&mut self.nodes[index.0].pods);
            self.topology.set(index.0, Some(&fresh.labels));
            self.nodes[index.0] = fresh;
            self.tally_node(index, true);
        }
        self.count_images(index, true);
        self.present += usize::from(before.is_none());
        self.touch(index);
        (index, before)
    }

    /// What the node was, where it was known.
    pub fn remove_node(&mut self, name: &str) -> Option<NodeFacts> {
        let index = self.index(name)?;
        let facts = self.node(index)?.facts();
        self.count_images(index, false);
        self.tally_node(index, false);
        self.topology.set(index.0, None);
        let node = &mut self.nodes[index.0];
        (node.present, node.images) = (false, Box::default());
        self.present -= 1;
        self.touch(index);
        self.release(index);
        Some(facts)
    }

    /// Counts a pod where it is. Undone by [`Cluster::lift`].
    pub fn put(&mut self, pod: Arc<PodInfo>, index: NodeIndex) {
        let shape = self.shapes.entry(pod.id).or_insert_with(|| {
            let known = self.term_keys.len();
            if let Ok(terms) = &pod.terms {
                let lists = [&terms.affinity, &terms.anti, &terms.preferred, &terms.preferred_anti];
                self.term_keys.extend(lists.into_iter().flatten().map(|t| t.key.clone()));
            }
            if self.term_keys.len() > known {
                self.facts.moved_on();
            }
            let weigh = |(i, t): (usize, &Option<Tally>)| {
                let weight = (t.as_ref()?.spec.weigh)(&pod.shape);
                (weight != 0).then(|| (TallyIndex(u32::try_from(i).unwrap_or(u32::MAX)), weight))
            };
            let gives = self.tallies.iter().enumerate().filter_map(weigh).collect();
            ShapeUse { shape: pod.shape.clone(), places: HashMap::new(), gives }
        });
        let place = shape.places.entry(index.0).or_default();
        *(if pod.deleting { &mut place.1 } else { &mut place.0 }) += 1;
        give(&mut self.tallies, &self.topology, shape, index.0, pod.deleting, 1);
        for claim in &pod.volumes.claims {
            *self.claims.entry(format!("{}/{}", pod.namespace, claim.name)).or_default() += 1;
        }
        self.nodes[index.0].add_pod(pod);
        self.touch(index);
    }

    /// Takes a pod out of all counts; the pod, where it was there.
    pub fn lift(&mut self, uid: &str, index: NodeIndex) -> Option<Arc<PodInfo>> {
        let pod = self.nodes.get_mut(index.0)?.remove_pod(uid)?;
        self.touch(index);
        for claim in &pod.volumes.claims {
            let key = format!("{}/{}", pod.namespace, claim.name);
            if let Some(users) = self.claims.get_mut(&key) {
                *users -= 1;
                if *users == 0 {
                    self.claims.remove(&key);
                }
            }
        }
        if let Some(shape) = self.shapes.get_mut(&pod.id) {
            give(&mut self.tallies, &self.topology, shape, index.0, pod.deleting, -1);
            if let Some(place) = shape.places.get_mut(&index.0) {
                *(if pod.deleting { &mut place.1 } else { &mut place.0 }) -= 1;
                if *place == (0, 0) {
                    shape.places.remove(&index.0);
                }
            }
            if shape.places.is_empty() {
                self.shapes.remove(&pod.id);
            }
        }
        Some(pod)
    }

    /// A pod is known to be bound, or to have changed where it is. What it was before.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) -> Option<Arc<PodInfo>> {
        if let Some(known) = self.known(&pod) {
            // Counted as it is already; only the binding may have been confirmed.
            self.assumed.remove(&pod.uid);
            return Some(known);
        }
        let before = self.remove_pod(&pod.uid);
        if !pod.finished && !pod.node.is_empty() {
            let index = self.slot(&pod.node);
            self.placed.insert(pod.uid.clone(), index);
            self.put(pod, index);
        }
        before
    }

    /// The pod as it is counted, where nothing of it has changed that anybody here looks at.
    fn known(&self, pod: &PodInfo) -> Option<Arc<PodInfo>> {
        let node = &self.nodes[self.placed.get(&pod.uid)?.0];
        let known = node.pods.iter().find(|p| p.uid == pod.uid)?;
        let told = |p: &PodInfo| (p.id, p.priority, p.started, p.deleting, p.preempted, p.finished);
        (node.name == pod.node && told(known) == told(pod)).then(|| known.clone())
    }

    /// The pod, where it held anything.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.assumed.remove(uid);
        let index = self.placed.remove(uid)?;
        let held = self.lift(uid, index);
        self.release(index);
        held
    }

    /// Counts a pod on a node before its binding is known to have succeeded.
    pub fn assume(&mut self, pod: &Arc<PodInfo>, index: NodeIndex) {
        let mut placed = PodInfo::clone(pod);
        placed.node = self.nodes[index.0].name.clone();
        let placed = Arc::new(placed);
        self.placed.insert(pod.uid.clone(), index);
        self.assumed.insert(pod.uid.clone(), placed.clone());
        self.put(placed, index);
    }

    /// Pods that are counted, assumed ones included; and how many shapes they have.
    pub fn placed(&self) -> (usize, usize) {
        (self.placed.len(), self.shapes.len())
    }

    /// Counts kept over pods by domain.
    pub fn counting(&self) -> usize {
        self.tallies.len() - self.free_tallies.len()
    }

    pub fn is_assumed(&self, uid: &str) -> bool {
        self.assumed.contains_key(uid)
    }

    /// Where a pod is, bound or assumed.
    pub fn place(&self, uid: &str) -> Option<NodeIndex> {
        self.placed.get(uid).copied()
    }

    /// Remembers that room was made for a pod on a node.
    pub fn nominate(&mut self, pod: &Arc<PodInfo>, node: &str) {
        self.denominate(&pod.uid);
        self.nominated.entry(node.into()).or_default().push(pod.clone());
        self.nominated_at.insert(pod.uid.clone(), node.into());
    }

    pub fn denominate(&mut self, uid: &str) {
        let Some(node) = self.nominated_at.remove(uid) else { return };
        if let Some(pods) = self.nominated.get_mut(&node) {
            pods.retain(|p| *p.uid != *uid);
            if pods.is_empty() {
                self.nominated.remove(&node);
            }
        }
    }

    /// Pods with room made for them on a node, which those of lower priority must leave free.
    pub fn nominated_on(&self, node: &str) -> &[Arc<PodInfo>] {
        self.nominated.get(node).map_or(&[], Vec::as_slice)
    }

    /// The node where room was made for a pod.
    pub fn nomination(&self, uid: &str) -> Option<&str> {
        self.nominated_at.get(uid).map(|n| &**n)
    }

    /// Whether room was made for anybody.
    pub fn has_nominations(&self) -> bool {
        !self.nominated.is_empty()
    }

    /// The column of a topology key.
    pub fn key(&mut self, key: &str) -> KeyIndex {
        let nodes = self.nodes.iter().map(|n| n.present.then_some(&n.labels));
        self.topology.key(key, nodes)
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    pub fn tally(&self, index: TallyIndex) -> Option<&Tally> {
        self.tallies.get(index.0 as usize)?.as_ref()
    }

    /// Begins to count, with what is there. Ends with [`Cluster::forget_tally`].
    pub fn count(&mut self, spec: TallySpec) -> TallyIndex {
        let index = self.free_tallies.pop().unwrap_or_else(|| {
            self.tallies.push(None);
            TallyIndex(u32::try_from(self.tallies.len() - 1).unwrap_or(u32::MAX))
        });
        let mut tally = Tally::new(spec);
        if tally.spec.eligible.is_some() {
            for (slot, node) in self.nodes.iter().enumerate().filter(|(_, n)| n.present) {
                tally.set_node(slot, self.topology.value(tally.key(), slot), Some(node));
            }
        }
        for shape in self.shapes.values_mut() {
            let weight = (tally.spec.weigh)(&shape.shape);
            if weight == 0 {
                continue;
            }
            shape.gives.push((index, weight));
            for (slot, (living, deleted)) in &shape.places {
                let pods = if tally.spec.living { *living } else { living + deleted };
                if pods > 0 {
                    tally.add(*slot, self.topology.value(tally.key(), *slot), weight * i64::from(pods));
                }
            }
        }
        self.tallies[index.0 as usize] = Some(tally);
        index
    }

    pub fn forget_tally(&mut self, index: TallyIndex) {
        if self.tallies.get_mut(index.0 as usize).and_then(Option::take).is_some() {
            for shape in self.shapes.values_mut() {
                shape.gives.retain(|(i, _)| *i != index);
            }
            self.free_tallies.push(index);
        }
    }

    /// Topology keys that affinity terms of placed pods name, or once named.
    pub fn term_keys(&self) -> &BTreeSet<Box<str>> {
        &self.term_keys
    }
}

fn give(
    tallies: &mut [Option<Tally>],
    topology: &Topology,
    shape: &ShapeUse,
    slot: usize,
    deleting: bool,
    sign: i64,
) {
    for (index, weight) in &shape.gives {
        if let Some(tally) = &mut tallies[index.0 as usize]
            && !(deleting && tally.spec.living)
        {
            tally.add(slot, topology.value(tally.key(), slot), sign * weight);
        }
    }
}
