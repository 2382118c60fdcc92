//! A node as the scheduler sees it: what it has, what is used, who runs there.

use crate::labels::{LabelSet, Pool};
use crate::pod::PodInfo;
use crate::resource::{self, Resources};
use crate::shape::{HostPort, normal_image};
use k8s_openapi::api::core::v1::{Node, Taint};
use std::sync::Arc;

/// One node and the sums over its pods.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub name: Arc<str>,
    /// Whether the Node object is known; pods may be heard of first.
    pub present: bool,
    pub labels: LabelSet,
    pub taints: Box<[Taint]>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    pub allowed_pods: i64,
    pub requested: Resources,
    /// CPU and memory as scoring counts them.
    pub scoring: (i64, i64),
    pub pods: Vec<Arc<PodInfo>>,
    pub ports: Vec<HostPort>,
    /// Bytes by name, sorted by name.
    pub images: Box<[(Arc<str>, i64)]>,
}

/// What of a node can change what pods it suits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    pub name: Arc<str>,
    pub labels: LabelSet,
    pub taints: Box<[Taint]>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    pub allowed_pods: i64,
}

impl NodeInfo {
    /// Takes the object's own facts; pods and sums stay.
    pub fn update(&mut self, node: &Node, pool: &mut Pool) {
        let status = node.status.as_ref();
        let allocatable = status.and_then(|s| s.allocatable.as_ref());
        self.present = true;
        self.labels = pool.labels(node.metadata.labels.as_ref());
        self.taints = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default().into();
        self.unschedulable = node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
        self.allocatable = Resources::from_list(allocatable);
        self.allowed_pods = resource::pods(allocatable);
        let mut images: Vec<(Arc<str>, i64)> = status
            .and_then(|s| s.images.as_ref())
            .into_iter()
            .flatten()
            .flat_map(|i| i.names.iter().flatten().map(move |n| (n, i.size_bytes.unwrap_or(0))))
            .map(|(n, size)| (pool.text(&normal_image(n)), size))
            .collect();
        images.sort();
        images.dedup_by(|a, b| a.0 == b.0);
        self.images = images.into();
    }

    pub fn facts(&self) -> NodeFacts {
        NodeFacts {
            name: self.name.clone(),
            labels: self.labels.clone(),
            taints: self.taints.clone(),
            unschedulable: self.unschedulable,
            allocatable: self.allocatable.clone(),
            allowed_pods: self.allowed_pods,
        }
    }

    /// An image's bytes, where it is here.
    pub fn image(&self, name: &str) -> Option<i64> {
        self.images.binary_search_by(|(n, _)| (**n).cmp(name)).ok().map(|at| self.images[at].1)
    }

    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scoring.0 += pod.scoring.0;
        self.scoring.1 += pod.scoring.1;
        self.ports.extend(pod.ports.iter().cloned());
        self.pods.push(pod);
    }

    /// The pod, where it was here.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|p| *p.uid == *uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.sub(&pod.requests);
        self.scoring.0 -= pod.scoring.0;
        self.scoring.1 -= pod.scoring.1;
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
        Some(pod)
    }
}
