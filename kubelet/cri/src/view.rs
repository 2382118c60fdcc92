//! What the kubelet's HTTPS server may see of the node.

use crate::Runtime;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::path::PathBuf;
use std::sync::Arc;

/// Resource use of one cgroup. Absent figures are ones the kernel does not offer here.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CgroupUsage {
    /// Cumulative CPU time in nanoseconds.
    pub cpu_nanoseconds: Option<u64>,
    /// Bytes in use, file cache included.
    pub memory_usage: Option<u64>,
    /// Bytes in use less inactive file cache.
    pub memory_working_set: Option<u64>,
    /// Bytes of anonymous memory.
    pub memory_rss: Option<u64>,
    pub processes: Option<u64>,
}

/// Implemented by the kubelet's shell, used by its server: pods as they are wanted and reported, the runtime,
/// and where logs and figures are. Answers from memory except where noted.
pub trait NodeView: Send + Sync + 'static {
    /// Pods bound to this node, mirror pods left out, static pods included; `status` is the latest computed.
    fn pods(&self) -> Vec<Arc<Pod>>;

    /// By namespace and name, and by UID too where one is given.
    fn pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>>;

    /// The node as last reported.
    fn node(&self) -> Option<Arc<Node>>;

    fn runtime(&self) -> Arc<dyn Runtime>;

    /// The bare runtime ID of the newest instance of a container, or of the one before it.
    fn container_id(&self, pod: &Pod, container: &str, previous: bool) -> Option<String>;

    /// The ready sandbox of a pod, for port forwarding. Asks nothing of the runtime.
    fn sandbox_id(&self, pod: &Pod) -> Option<String>;

    /// `<pod logs dir>/<namespace>_<name>_<uid>/<container>`, in which the files are `<restart count>.log`.
    fn log_directory(&self, pod: &Pod, container: &str) -> PathBuf;

    /// The root cgroup when `pod` is `None`. Reads files.
    fn usage(&self, pod: Option<&Pod>) -> CgroupUsage;
}
