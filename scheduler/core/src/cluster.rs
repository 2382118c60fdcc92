//! The cluster in dense arrays, kept current event by event. A cycle reads it as it is; nothing is copied.

use crate::framework::Change;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::Node;
use std::collections::HashMap;
use std::sync::Arc;

/// A node's place in the arrays; stays its own until the node has gone and no pod is left on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIndex(pub usize);

/// Nodes, and the pods on them (bound, and assumed while binding is under way).
#[derive(Default)]
pub struct Cluster {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<Box<str>, NodeIndex>,
    free: Vec<NodeIndex>,
    /// Where each pod is, by UID.
    placed: HashMap<Box<str>, NodeIndex>,
    /// Pods placed by our own decision and not yet heard of as bound.
    assumed: HashMap<Box<str>, Arc<PodInfo>>,
    present: usize,
    /// On how many nodes each image is.
    image_spread: HashMap<Box<str>, usize>,
    /// Pods that wait for room made for them, by the node where.
    nominated: HashMap<Box<str>, Vec<Arc<PodInfo>>>,
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

    fn slot(&mut self, name: &str) -> NodeIndex {
        if let Some(index) = self.index(name) {
            return index;
        }
        let fresh = NodeInfo { name: name.into(), ..NodeInfo::default() };
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index.0] = fresh;
                index
            }
            None => {
                self.nodes.push(fresh);
                NodeIndex(self.nodes.len() - 1)
            }
        };
        self.by_name.insert(name.into(), index);
        index
    }

    fn release(&mut self, index: NodeIndex) {
        let node = &self.nodes[index.0];
        if !node.present && node.pods.is_empty() {
            self.by_name.remove(&node.name);
            self.nodes[index.0] = NodeInfo::default();
            self.free.push(index);
        }
    }

    fn count_images(&mut self, index: NodeIndex, add: bool) {
        for image in self.nodes[index.0].images.keys() {
            let count = self.image_spread.entry(image.clone()).or_default();
            *count = if add { *count + 1 } else { count.saturating_sub(1) };
        }
        self.image_spread.retain(|_, n| *n > 0);
    }

    /// Takes a Node as it is now. What changed, for those who wait; `None` where nothing that could help did.
    pub fn set_node(&mut self, node: &Node) -> Option<Change> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let index = self.slot(name);
        self.count_images(index, false);
        let info = &mut self.nodes[index.0];
        let (was, before) = (info.present, (info.labels.clone(), info.taints.clone(), info.unschedulable));
        let had = (info.allocatable.clone(), info.allowed_pods);
        info.update(node);
        let change = if !was {
            Some(Change::NodeAdded(index))
        } else if before != (info.labels.clone(), info.taints.clone(), info.unschedulable)
            || had != (info.allocatable.clone(), info.allowed_pods)
        {
            Some(Change::NodeChanged(index))
        } else {
            None
        };
        self.count_images(index, true);
        if !was {
            self.present += 1;
        }
        change
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(index) = self.index(name) else { return };
        if self.nodes[index.0].present {
            self.count_images(index, false);
            self.nodes[index.0].present = false;
            self.present -= 1;
        }
        self.release(index);
    }

    /// A pod is known to be bound, or to have changed where it is.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) {
        self.remove_pod(&pod.uid);
        if pod.finished || pod.node.is_empty() {
            return;
        }
        let index = self.slot(&pod.node);
        self.placed.insert(pod.uid.clone(), index);
        self.nodes[index.0].add_pod(pod);
    }

    /// Whether the pod held anything.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        self.assumed.remove(uid);
        let Some(index) = self.placed.remove(uid) else { return false };
        let held = self.nodes[index.0].remove_pod(uid);
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
        self.nodes[index.0].add_pod(placed);
    }

    pub fn is_assumed(&self, uid: &str) -> bool {
        self.assumed.contains_key(uid)
    }

    /// The binding was confirmed by an event, or failed and [`Cluster::remove_pod`] follows.
    pub fn settle(&mut self, uid: &str) {
        self.assumed.remove(uid);
    }

    /// Remembers that room was made for a pod on a node.
    pub fn nominate(&mut self, pod: &Arc<PodInfo>, node: &str) {
        self.denominate(&pod.uid);
        self.nominated.entry(node.into()).or_default().push(pod.clone());
    }

    pub fn denominate(&mut self, uid: &str) {
        self.nominated.retain(|_, pods| {
            pods.retain(|p| *p.uid != *uid);
            !pods.is_empty()
        });
    }

    /// Pods with room made for them on a node, which those of lower priority must leave free.
    pub fn nominated_on(&self, node: &str) -> &[Arc<PodInfo>] {
        self.nominated.get(node).map_or(&[], Vec::as_slice)
    }
}
