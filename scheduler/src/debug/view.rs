//! The shapes of `/debug`'s answers.

use gantry_scheduler_core::PodInfo;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    Queue,
    Cache,
    Pod { namespace: String, name: String },
}

#[derive(Serialize)]
#[serde(untagged)]
pub enum Answer {
    Queue(QueueView),
    Cache(CacheView),
    Pod(Box<PodView>),
}

/// How many there are, and the first of them.
#[derive(Default, Serialize)]
pub struct Shown<T> {
    pub count: usize,
    pub listed: Vec<T>,
}

/// Who waits where. Longest waiting first.
#[derive(Serialize)]
pub struct QueueView {
    pub active: Shown<WaitView>,
    pub backoff: Shown<WaitView>,
    pub unschedulable: Shown<WaitView>,
    pub gated: Shown<WaitView>,
    /// Decided, and about to be bound.
    pub binding: Shown<String>,
}

/// A plugin that keeps a pod out of the queues.
#[derive(Serialize)]
pub struct Chosen {
    pub plugin: &'static str,
    pub why: String,
    pub gates: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitView {
    pub pod: String,
    pub uid: String,
    pub priority: i32,
    pub attempts: u32,
    pub since: Timestamp,
    pub waiting_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_until: Option<Timestamp>,
    /// Changes that help one of these wake it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gated_by: Option<Chosen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nominated_node: Option<String>,
    /// The last message written about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    pub milli_cpu: i64,
    pub memory_bytes: i64,
    pub ephemeral_storage_bytes: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    pub name: String,
    pub unschedulable: bool,
    pub taints: usize,
    pub pods: usize,
    pub allowed_pods: i64,
    pub allocatable: Amounts,
    pub requested: Amounts,
}

/// What the scheduler holds of the cluster.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheView {
    pub pods: usize,
    pub assumed_pods: usize,
    /// Pods alike share one.
    pub pod_shapes: usize,
    /// Shapes whose verdicts on nodes are remembered.
    pub plans: usize,
    pub counts_by_domain: usize,
    pub claims: usize,
    pub volumes: usize,
    pub storage_classes: usize,
    pub csi_nodes: usize,
    pub disruption_budgets: usize,
    pub allocatable: Amounts,
    pub requested: Amounts,
    pub nodes: Shown<NodeView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_memory_bytes: Option<u64>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    pub pod: String,
    pub uid: String,
    pub scheduler: String,
    /// Where it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitView>,
    /// Where it is, or is about to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub binding: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialView>,
}

impl PodView {
    pub fn of(pod: &PodInfo) -> Self {
        Self {
            pod: pod.key(),
            uid: pod.uid.to_string(),
            scheduler: pod.scheduler.to_string(),
            ..Self::default()
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusalView {
    pub plugin: &'static str,
    pub reasons: Vec<String>,
    pub preemption_may_help: bool,
    pub nodes: Shown<String>,
    /// Nodes nothing else is wrong with.
    pub only_obstacle_on: Shown<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScoredNode {
    pub node: String,
    pub score: i64,
    /// Weighted.
    pub by_plugin: BTreeMap<&'static str, i64>,
}

/// All filters asked about all nodes as they are now; extenders are not asked. A node several plugins refuse
/// counts with each.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialView {
    pub nodes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_whole: Option<RefusalView>,
    /// Nodes not looked at, as these plugins name the nodes that can do.
    pub left_out: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out_by: Vec<&'static str>,
    pub refusals: Vec<RefusalView>,
    /// Best first.
    pub feasible: Shown<ScoredNode>,
}
