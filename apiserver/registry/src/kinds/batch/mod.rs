//! `batch`.

pub mod cron_job;
mod indexes;
pub mod job;
mod job_policy;
mod job_spec;
mod job_status;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "CronJob" => erase(cron_job::CronJobs),
        "Job" => erase(job::Jobs),
        _ => return None,
    })
}
