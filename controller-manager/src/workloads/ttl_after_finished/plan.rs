//! When a finished job has been kept long enough.

use crate::workloads::job::spec::finished;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not finished, to be kept for ever, or going already.
    Keep,
    KeepFor(Duration),
    Delete,
}

/// When a finished job's time is up.
pub(super) fn expires(job: &Job) -> Option<Timestamp> {
    let ttl = job.spec.as_ref().and_then(|s| s.ttl_seconds_after_finished)?;
    let ended = finished(job)?.last_transition_time.as_ref()?;
    ended.0.checked_add(SignedDuration::from_secs(ttl.into())).ok()
}

pub(super) fn judge(job: &Job, now: Timestamp) -> Verdict {
    let Some(expires) = expires(job).filter(|_| job.metadata.deletion_timestamp.is_none()) else {
        return Verdict::Keep;
    };
    match Duration::try_from(expires.duration_since(now)) {
        Ok(left) if !left.is_zero() => Verdict::KeepFor(left),
        _ => Verdict::Delete,
    }
}
