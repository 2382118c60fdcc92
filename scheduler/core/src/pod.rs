//! A pod as the scheduler sees it: read once, shared, never parsed again.

use crate::resource::{Resources, pod_requests};
use gantry_machinery::selector::{NodeSelector, PreferredTerms, SelectorError};
use gantry_types::field::Path;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use std::collections::BTreeMap;
use std::net::IpAddr;

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

/// What scheduling needs of a pod.
#[derive(Clone, Debug)]
pub struct PodInfo {
    pub uid: Box<str>,
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub labels: BTreeMap<String, String>,
    pub scheduler: Box<str>,
    /// Where it runs; empty while it waits.
    pub node: Box<str>,
    /// Where preemption made room for it.
    pub nominated: Box<str>,
    pub priority: i32,
    pub never_preempts: bool,
    /// `metadata.generation`, 0 where absent.
    pub generation: i64,
    pub created: Timestamp,
    /// When it began to run, for choosing victims.
    pub started: Option<Timestamp>,
    pub requests: Resources,
    /// CPU and memory as scoring counts them.
    pub scoring: (i64, i64),
    pub ports: Box<[HostPort]>,
    pub tolerations: Box<[Toleration]>,
    pub node_selector: BTreeMap<String, String>,
    pub affinity: Option<NodeSelector>,
    pub preferred: Result<PreferredTerms, SelectorError>,
    /// One a container, init containers included.
    pub images: Box<[Box<str>]>,
    pub gated: bool,
    pub deleting: bool,
    /// Succeeded or failed: it holds nothing any more.
    pub finished: bool,
}

impl PodInfo {
    /// Reads a pod. Malformed parts never stop it: they match nothing.
    pub fn new(pod: &Pod) -> Self {
        let text = |s: &Option<String>| s.as_deref().unwrap_or_default().into();
        let meta = &pod.metadata;
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.as_ref();
        let node_affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        let required =
            node_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        let preferred =
            node_affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
        let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let floor = pod_requests(&spec, true);
        let at = Path::new("spec").child("affinity").child("nodeAffinity");
        Self {
            uid: text(&meta.uid),
            namespace: text(&meta.namespace),
            name: text(&meta.name),
            labels: meta.labels.clone().unwrap_or_default(),
            scheduler: spec.scheduler_name.as_deref().unwrap_or("default-scheduler").into(),
            node: text(&spec.node_name),
            nominated: status.map(|s| text(&s.nominated_node_name)).unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            generation: meta.generation.unwrap_or(0),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            started: status.and_then(|s| s.start_time.as_ref()).map(|t| t.0),
            requests: pod_requests(&spec, false),
            scoring: (floor.cpu, floor.memory),
            ports: host_ports(&spec),
            tolerations: spec.tolerations.clone().unwrap_or_default().into(),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            affinity: required
                .map(|r| NodeSelector::new(r, &at.child("requiredDuringSchedulingIgnoredDuringExecution"))),
            preferred: preferred.map_or(Ok(PreferredTerms::default()), |p| {
                PreferredTerms::new(p, &at.child("preferredDuringSchedulingIgnoredDuringExecution"))
            }),
            images: (spec.init_containers.iter().flatten().chain(&spec.containers))
                .map(|c| normal_image(c.image.as_deref().unwrap_or_default()))
                .collect(),
            gated: spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()),
            deleting: meta.deletion_timestamp.is_some(),
            finished: matches!(phase, "Succeeded" | "Failed"),
        }
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether a node's taint with this effect does not keep the pod away.
    pub fn tolerates(&self, taint: &k8s_openapi::api::core::v1::Taint) -> bool {
        self.tolerations.iter().any(|t| tolerates(t, taint))
    }
}

/// Whether a toleration covers a taint.
pub fn tolerates(t: &Toleration, taint: &k8s_openapi::api::core::v1::Taint) -> bool {
    let (effect, key) = (t.effect.as_deref().unwrap_or(""), t.key.as_deref().unwrap_or(""));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    let (mine, theirs) = (t.value.as_deref().unwrap_or(""), taint.value.as_deref().unwrap_or(""));
    let number = |s: &str| s.parse::<i64>().ok();
    match t.operator.as_deref().unwrap_or("") {
        "" | "Equal" => mine == theirs,
        "Exists" => true,
        "Gt" => number(theirs).zip(number(mine)).is_some_and(|(theirs, mine)| theirs > mine),
        "Lt" => number(theirs).zip(number(mine)).is_some_and(|(theirs, mine)| theirs < mine),
        _ => false,
    }
}

fn host_ports(spec: &k8s_openapi::api::core::v1::PodSpec) -> Box<[HostPort]> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            let port = u16::try_from(p.host_port?).ok().filter(|p| *p != 0)?;
            let ip = p
                .host_ip
                .as_deref()
                .and_then(|ip| ip.parse::<IpAddr>().ok())
                .filter(|ip| !ip.is_unspecified());
            Some(HostPort { protocol: p.protocol.as_deref().unwrap_or("TCP").into(), ip, port })
        })
        .collect()
}

/// An image's name as nodes report it: with a tag.
pub fn normal_image(name: &str) -> Box<str> {
    let after_slash = name.rsplit('/').next().unwrap_or(name);
    if after_slash.contains([':', '@']) { name.into() } else { format!("{name}:latest").into() }
}

/// Whether the pod tolerates a taint of this key and effect without a value.
pub fn tolerates_key(pod: &PodInfo, key: &str, effect: &str) -> bool {
    let taint =
        k8s_openapi::api::core::v1::Taint { key: key.into(), effect: effect.into(), ..Default::default() };
    pod.tolerates(&taint)
}
