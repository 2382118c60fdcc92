//! How long to wait before a failed pod is replaced: ten seconds, doubling up to ten minutes.

use super::spec;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::sync::Arc;
use std::time::Duration;

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// A job's failures in a row. Kept in memory: after a restart the count begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub failures: u32,
    pub last: Option<Timestamp>,
}

impl Record {
    /// The record once these newly ended pods are counted.
    pub(super) fn after(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let mut ends: Vec<_> = failed.iter().map(|p| ended_at(p)).collect();
        ends.sort_unstable();
        match succeeded.iter().map(|p| ended_at(p)).max() {
            None if ends.is_empty() => self,
            None => {
                Self { failures: self.failures + u32::try_from(ends.len()).unwrap_or(0), last: ends.pop() }
            }
            Some(success) => {
                let since = ends.iter().filter(|e| **e > success).count();
                Self {
                    failures: u32::try_from(since).unwrap_or(0),
                    last: ends.pop().filter(|e| *e > success),
                }
            }
        }
    }

    /// How long pods must not be created yet.
    pub(super) fn remaining(self, now: Timestamp) -> Option<Duration> {
        let last = self.last.filter(|_| self.failures > 0)?;
        let doubled = 1i32.checked_shl(self.failures - 1).filter(|f| *f > 0).unwrap_or(i32::MAX);
        let wait = FIRST.checked_mul(doubled).unwrap_or(LONGEST).min(LONGEST);
        let left = wait.saturating_sub(now.duration_since(last));
        Duration::try_from(left).ok().filter(|d| !d.is_zero())
    }
}

/// How long an index's next pod must wait after this one, its last.
pub(super) fn remaining_for_index(last: Option<&Pod>, now: Timestamp) -> Option<Duration> {
    let pod = last?;
    let before = spec::index_failures(pod).saturating_add(spec::ignored_index_failures(pod));
    let failures = u32::try_from(before).unwrap_or(0).saturating_add(1);
    Record { failures, last: Some(ended_at(pod)) }.remaining(now)
}

/// When a pod ended, as well as can be told.
pub(super) fn ended_at(pod: &Pod) -> Timestamp {
    let containers = containers_ended(pod);
    let unready = || {
        gantry_reconcile::conditions::of(pod, "Ready")
            .filter(|c| c.status == "False")
            .and_then(|c| c.last_transition_time.as_ref())
            .map(|t| t.0)
    };
    let deleted = || {
        let at = pod.metadata.deletion_timestamp.as_ref()?.0;
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        at.checked_sub(SignedDuration::from_secs(grace)).ok()
    };
    let created = || pod.metadata.creation_timestamp.as_ref().map(|t| t.0);
    containers.or_else(unready).or_else(deleted).or_else(created).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The last end among containers and sidecars; `None` where one of them has not ended.
fn containers_ended(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let sidecar = |name: &str| {
        pod.spec
            .iter()
            .flat_map(|s| s.init_containers.iter().flatten())
            .any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
    };
    let end = |s: &ContainerStatus| Some(s.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0);
    let containers: Option<Vec<_>> = status.container_statuses.iter().flatten().map(end).collect();
    let sidecars = status.init_container_statuses.iter().flatten().filter(|s| sidecar(&s.name));
    let sidecars: Option<Vec<_>> = sidecars.map(end).collect();
    containers.unwrap_or_default().into_iter().chain(sidecars?).max()
}
