//! What every task of the kubelet shares.

use crate::config::Config;
use crate::images::Images;
use crate::objects::Objects;
use crate::statuses::Statuses;
use gantry_client::{EventType, Recorder};
use gantry_kubelet_core::{fields, pods, resources};
use gantry_kubelet_cri::Runtime;
use gantry_kubelet_host::cgroup::Cgroups;
use gantry_kubelet_volumes::Volumes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use parking_lot::RwLock;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Set once at start, read everywhere.
pub struct Ctx {
    pub config: Config,
    pub client: Option<kube::Client>,
    pub runtime: Arc<dyn Runtime>,
    /// The scheme of container IDs.
    pub runtime_name: String,
    pub recorder: Recorder,
    pub objects: Arc<Objects>,
    pub volumes: Volumes,
    pub images: Images,
    pub statuses: Statuses,
    pub cgroups: Cgroups,
    pub memory_capacity: i64,
    pub started: Timestamp,
    pub stop: CancellationToken,
    /// The node as the API holds it, as far as we know.
    pub node: RwLock<Option<Arc<Node>>>,
    pub allocatable: RwLock<resources::ResourceList>,
}

impl Ctx {
    pub fn host_ips(&self) -> Vec<String> {
        self.config.node_ips.iter().map(ToString::to_string).collect()
    }

    /// What downward API fields may refer to beyond the pod.
    pub fn field_facts(&self, pod_ips: &[String]) -> fields::Node {
        fields::Node {
            host_ips: self.host_ips(),
            pod_ips: pod_ips.to_vec(),
            allocatable: self.allocatable.read().clone(),
        }
    }

    /// An event about a pod, or about one of its containers.
    pub fn event(&self, pod: &Pod, container: Option<&str>, kind: EventType, reason: &str, message: String) {
        self.recorder.event(&reference(pod, container), kind, reason, message);
    }

    pub fn normal(&self, pod: &Pod, container: &str, reason: &str, message: impl Into<String>) {
        self.event(pod, Some(container), EventType::Normal, reason, message.into());
    }

    pub fn warn(&self, pod: &Pod, container: &str, reason: &str, message: impl Into<String>) {
        self.event(pod, Some(container), EventType::Warning, reason, message.into());
    }

    /// The pod's cgroup, or nothing where pods have none of their own.
    pub fn pod_cgroup(&self, pod: &Pod) -> Option<String> {
        if !self.config.cgroups_per_qos {
            return None;
        }
        let root = self.config.pods_cgroup();
        let class = resources::qos(pod).cgroup().map(|c| format!("/{c}")).unwrap_or_default();
        Some(format!("{root}{class}/pod{}", pods::uid(pod)))
    }

    /// `<namespace>_<name>_<uid>` below the pod log directory.
    pub fn log_dir(&self, pod: &Pod) -> std::path::PathBuf {
        let name = format!("{}_{}_{}", pods::namespace(pod), pods::name(pod), pods::uid(pod));
        self.config.pod_logs_dir.join(name)
    }
}

fn reference(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let mut out = gantry_client::events::reference(pod);
    out.field_path = container.map(|name| {
        let of = |list: &[k8s_openapi::api::core::v1::Container]| list.iter().any(|c| c.name == name);
        let list = if of(pods::init_containers(pod)) {
            "initContainers"
        } else if of(pods::containers(pod)) {
            "containers"
        } else {
            "ephemeralContainers"
        };
        format!("spec.{list}{{{name}}}")
    });
    out
}
