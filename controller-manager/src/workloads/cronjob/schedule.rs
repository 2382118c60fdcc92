//! Which runs of a schedule are due.

use gantry_machinery::cron::Schedule;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::CronJob;

/// From this many missed runs on it is said so.
const MANY: i64 = 100;

/// The runs between the last one and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// What was counted from: the last run, the creation, or the deadline.
    from: Timestamp,
    /// The newest run that is due.
    pub at: Option<Timestamp>,
    /// How many are, about.
    missed: i64,
}

impl Due {
    /// Whether more were missed than an outage explains.
    pub(super) fn too_many(self) -> bool {
        self.missed > MANY
    }
}

/// The schedule comes more than once a second, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time difference between two schedules is less than 1 second")]
pub(super) struct TooOften;

/// Finds what is due. With `deadline`, what is older than the cron job's starting deadline is not looked at.
pub(super) fn due(
    cron: &CronJob,
    schedule: &Schedule,
    deadline: bool,
    now: Timestamp,
) -> Result<Due, TooOften> {
    let created = cron.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let last = cron.status.as_ref().and_then(|s| s.last_schedule_time.as_ref()).map(|t| t.0);
    let mut from = last.or(created).unwrap_or(now);
    let limit = cron.spec.starting_deadline_seconds.filter(|_| deadline);
    if let Some(oldest) = limit.and_then(|s| now.checked_sub(SignedDuration::from_secs(s)).ok()) {
        from = from.max(oldest);
    }
    let first = schedule.next(from).ok_or(TooOften)?;
    if now < first {
        return Ok(Due { from, at: None, missed: 0 });
    }
    let second = schedule.next(first).ok_or(TooOften)?;
    if now < second {
        return Ok(Due { from, at: Some(first), missed: 0 });
    }
    let between = second.duration_since(first).as_secs();
    if between < 1 {
        return Err(TooOften);
    }
    let missed = now.duration_since(first).as_secs() / between + 1;
    // From a little before the newest run on, step by step: schedules need not be even.
    let near = SignedDuration::from_secs((missed - 2).saturating_mul(between));
    let (mut at, mut newest) = (first.checked_add(near).unwrap_or(first), None);
    while let Some(next) = schedule.next(at).filter(|next| *next <= now) {
        (at, newest) = (next, Some(next));
    }
    Ok(Due { from, at: newest, missed })
}

/// When the next run comes after what is due.
pub(super) fn next(cron: &CronJob, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let after = match due(cron, schedule, false, now) {
        Ok(Due { at: Some(at), .. }) => at,
        Ok(Due { from, missed: 0, .. }) => from,
        _ => now,
    };
    schedule.next(after)
}
