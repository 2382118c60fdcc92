//! A node as the scheduler sees it: what it has, what is used, who runs there.

use crate::pod::{HostPort, PodInfo};
use crate::resource::{self, Resources};
use k8s_openapi::api::core::v1::{Node, Taint};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One node and the sums over its pods.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub name: Box<str>,
    /// Whether the Node object is known; pods may be heard of first.
    pub present: bool,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    pub allowed_pods: i64,
    pub requested: Resources,
    /// CPU and memory as scoring counts them.
    pub scoring: (i64, i64),
    pub pods: Vec<Arc<PodInfo>>,
    pub ports: Vec<HostPort>,
    /// Bytes by name.
    pub images: HashMap<Box<str>, i64>,
}

impl NodeInfo {
    /// Takes the object's own facts; pods and sums stay.
    pub fn update(&mut self, node: &Node) {
        let status = node.status.as_ref();
        let allocatable = status.and_then(|s| s.allocatable.as_ref());
        self.present = true;
        self.labels = node.metadata.labels.clone().unwrap_or_default();
        self.taints = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
        self.unschedulable = node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
        self.allocatable = Resources::from_list(allocatable);
        self.allowed_pods = resource::pods(allocatable);
        self.images = status
            .and_then(|s| s.images.as_ref())
            .into_iter()
            .flatten()
            .flat_map(|i| {
                let size = i.size_bytes.unwrap_or(0);
                i.names.iter().flatten().map(move |n| (crate::pod::normal_image(n), size))
            })
            .collect();
    }

    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scoring.0 += pod.scoring.0;
        self.scoring.1 += pod.scoring.1;
        self.ports.extend(pod.ports.iter().cloned());
        self.pods.push(pod);
    }

    /// Whether the pod was there.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(at) = self.pods.iter().position(|p| *p.uid == *uid) else { return false };
        let pod = self.pods.swap_remove(at);
        self.requested.sub(&pod.requests);
        self.scoring.0 -= pod.scoring.0;
        self.scoring.1 -= pod.scoring.1;
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
        true
    }
}
