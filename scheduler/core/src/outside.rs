//! Those outside the scheduler who have a say.

use crate::cluster::{Cluster, NodeIndex};
use crate::framework::Rejection;
use crate::pod::PodInfo;
use crate::preemption::Candidate;

/// Those outside who have a say in decisions: HTTP extenders.
pub trait Outside {
    /// Keeps the nodes that pass; tells of those that do not, and whether removing pods could help.
    ///
    /// # Errors
    /// Where an extender that may not be ignored fails.
    fn filter(
        &mut self,
        pod: &PodInfo,
        cluster: &Cluster,
        nodes: &mut Vec<NodeIndex>,
        refuse: &mut dyn FnMut(NodeIndex, Rejection),
    ) -> Result<(), String>;

    /// Adds to scores.
    fn score(&mut self, pod: &PodInfo, cluster: &Cluster, nodes: &[NodeIndex], scores: &mut [i64]);

    /// Drops, or cuts down, the candidates of a preemption.
    ///
    /// # Errors
    /// Where an extender that may not be ignored fails.
    fn preempt(
        &mut self,
        pod: &PodInfo,
        cluster: &Cluster,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), String>;
}

/// Nobody outside.
pub struct Nobody;

impl Outside for Nobody {
    fn filter(
        &mut self,
        _: &PodInfo,
        _: &Cluster,
        _: &mut Vec<NodeIndex>,
        _: &mut dyn FnMut(NodeIndex, Rejection),
    ) -> Result<(), String> {
        Ok(())
    }

    fn score(&mut self, _: &PodInfo, _: &Cluster, _: &[NodeIndex], _: &mut [i64]) {}

    fn preempt(&mut self, _: &PodInfo, _: &Cluster, _: &mut Vec<Candidate>) -> Result<(), String> {
        Ok(())
    }
}
