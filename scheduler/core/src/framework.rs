//! What plugins are: named hooks at the framework's extension points.

use crate::cluster::{Cluster, NodeIndex};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use std::any::Any;
use std::borrow::Cow;

pub const MAX_SCORE: i64 = 100;

/// Why a node (or the pod as a whole) is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// One or more, in upstream's words; each is counted over the nodes.
    pub reasons: Vec<Cow<'static, str>>,
    /// Whether removing pods from the node could help.
    pub resolvable: bool,
}

impl Rejection {
    /// Removing pods could help.
    pub fn unschedulable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], resolvable: true }
    }

    /// Nothing that happens to pods could help.
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], resolvable: false }
    }
}

/// What a plugin made of the pod before any node is looked at.
pub enum PreFilter {
    /// Look at every node.
    Run,
    /// This plugin has nothing to say on this pod.
    Skip,
    /// Only these nodes can do.
    Only(Vec<NodeIndex>),
    Reject(Rejection),
}

/// What a plugin carries from its pre-filter to its filter and scores, for one pod.
pub type Carried = Option<Box<dyn Any>>;

/// Something that happened and may help pods that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    NodeAdded(NodeIndex),
    NodeChanged(NodeIndex),
    /// A pod left the node, or shrank.
    PodLeft(NodeIndex),
}

/// A plugin. Every hook has the behaviour of not being there as its default.
pub trait Plugin: Send + Sync {
    fn name(&self) -> &'static str;

    fn pre_filter(&self, _pod: &PodInfo, _cluster: &Cluster, _carried: &mut Carried) -> PreFilter {
        PreFilter::Run
    }

    /// # Errors
    /// Where the pod cannot run on the node.
    fn filter(&self, _pod: &PodInfo, _node: &NodeInfo, _carried: &Carried) -> Result<(), Rejection> {
        Ok(())
    }

    /// `None`: this plugin does not score this pod at all.
    fn scores(&self, _pod: &PodInfo) -> bool {
        false
    }

    /// Any scale; [`Plugin::normalize`] brings it to 0 to [`MAX_SCORE`].
    fn score(&self, _pod: &PodInfo, _node: &NodeInfo, _cluster: &Cluster, _carried: &Carried) -> i64 {
        0
    }

    fn normalize(&self, _scores: &mut [i64]) {}

    /// Whether a change could let a pod pass that this plugin refused (KEP-4247).
    fn helps(&self, _pod: &PodInfo, _change: Change, _cluster: &Cluster) -> bool {
        true
    }
}

/// Brings scores to 0 to [`MAX_SCORE`] in proportion to the largest; `reverse` makes small ones good.
pub fn normalize(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores.iter_mut() {
        let scaled = if max == 0 { 0 } else { *score * MAX_SCORE / max };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

/// A scheduler's plugins, in order, with their weights.
pub struct Profile {
    pub scheduler: Box<str>,
    pub plugins: Vec<(Box<dyn Plugin>, i64)>,
    /// 0: as many as the adaptive rule says.
    pub percentage_of_nodes_to_score: usize,
}
