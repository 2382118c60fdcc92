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

pub(super) fn judge(job: &Job, now: Timestamp) -> Verdict {
    let ttl = job.spec.as_ref().and_then(|s| s.ttl_seconds_after_finished);
    let ended = finished(job).and_then(|c| c.last_transition_time.as_ref());
    let (Some(ttl), Some(ended), None) = (ttl, ended, &job.metadata.deletion_timestamp) else {
        return Verdict::Keep;
    };
    let Ok(expires) = ended.0.checked_add(SignedDuration::from_secs(ttl.into())) else {
        return Verdict::Keep;
    };
    match Duration::try_from(expires.duration_since(now)) {
        Ok(left) if !left.is_zero() => Verdict::KeepFor(left),
        _ => Verdict::Delete,
    }
}
