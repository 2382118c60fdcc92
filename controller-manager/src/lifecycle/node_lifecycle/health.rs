//! When each node was last heard of, by our own clock: a node's clock may be wrong.

use super::plan;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Default)]
struct Entry {
    heard: Option<Instant>,
    renewal: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
    /// The Ready status at the last look; empty before the first.
    ready: String,
    registered: bool,
}

#[derive(Default)]
pub(super) struct Health(HashMap<String, Entry>);

impl Health {
    /// The node's lease was seen with this renewal time.
    pub(super) fn renewed(&mut self, node: &str, at: Timestamp) {
        let entry = self.0.entry(node.to_owned()).or_default();
        if entry.renewal.is_none_or(|known| known < at) {
            entry.renewal = Some(at);
            entry.heard = Some(Instant::now());
        }
    }

    /// The node was seen; whether for the first time.
    pub(super) fn observe(&mut self, node: &Node) -> bool {
        let entry = self.0.entry(node.metadata.name.clone().unwrap_or_default()).or_default();
        let heartbeat =
            plan::condition(node, "Ready").and_then(|c| c.last_heartbeat_time.as_ref()).map(|t| t.0);
        if entry.heard.is_none() || heartbeat.is_some() && entry.heartbeat != heartbeat {
            entry.heard = Some(Instant::now());
            entry.heartbeat = heartbeat;
        }
        !std::mem::replace(&mut entry.registered, true)
    }

    pub(super) fn silence(&self, node: &str) -> Duration {
        self.0.get(node).and_then(|e| e.heard).map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Notes the Ready status; whether the node has just stopped being ready.
    pub(super) fn lost(&mut self, node: &str, ready: &str) -> bool {
        let entry = self.0.entry(node.to_owned()).or_default();
        let before = std::mem::replace(&mut entry.ready, ready.to_owned());
        before == "True" && ready != "True"
    }

    pub(super) fn forget(&mut self, node: &str) {
        self.0.remove(node);
    }
}
