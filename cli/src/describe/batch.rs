//! Jobs and cron jobs.

use super::container::template;
use super::text::{Text, or_unset, time, truth};
use super::workload::{Part, head};
use crate::commands::pods;
use crate::error::Result;
use gantry_types::Document;
use gantry_types::time::human_duration;
use k8s_openapi::api::batch::v1::{CronJob, Job, JobTemplateSpec};

/// Completed indexes are cut after the one that passes this many characters.
const INDEXES: usize = 50;

pub fn job(t: &mut Text, object: &Document) -> Result<()> {
    head(t, object, &[Part::Selector, Part::Marks, Part::Owner])?;
    let j: Job = object.to_typed()?;
    let (spec, status) = (j.spec.unwrap_or_default(), j.status.unwrap_or_default());
    let mut given = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            t.pair(0, name, value);
        }
    };
    given("Parallelism", spec.parallelism.map(|n| n.to_string()));
    given("Completions", Some(or_unset(spec.completions)));
    given("Completion Mode", spec.completion_mode.clone());
    given("Suspend", spec.suspend.map(|s| s.to_string()));
    given("Backoff Limit", spec.backoff_limit.map(|n| n.to_string()));
    given("TTL Seconds After Finished", spec.ttl_seconds_after_finished.map(|n| n.to_string()));
    given("Start Time", status.start_time.as_ref().map(|at| time(at.0)));
    given("Completed At", status.completion_time.as_ref().map(|at| time(at.0)));
    if let (Some(from), Some(to)) = (&status.start_time, &status.completion_time) {
        given("Duration", Some(human_duration(to.0.as_second() - from.0.as_second())));
    }
    given("Active Deadline Seconds", spec.active_deadline_seconds.map(|n| format!("{n}s")));
    let ready = status.ready.map(|n| format!(" ({n} Ready)")).unwrap_or_default();
    let (active, succeeded, failed) =
        (status.active.unwrap_or(0), status.succeeded.unwrap_or(0), status.failed.unwrap_or(0));
    t.pair(0, "Pods Statuses", format!("{active} Active{ready} / {succeeded} Succeeded / {failed} Failed"));
    if spec.completion_mode.as_deref() == Some("Indexed") {
        t.pair(0, "Completed Indexes", indexes(status.completed_indexes.as_deref().unwrap_or_default()));
    }
    template(t, &spec.template);
    Ok(())
}

/// At most so many indexes, and dots for the rest.
fn indexes(all: &str) -> String {
    if all.is_empty() {
        return "<none>".into();
    }
    match all.get(INDEXES..).and_then(|rest| rest.find(',')) {
        Some(comma) => format!("{}...", &all[..=INDEXES + comma]),
        None => all.to_owned(),
    }
}

pub fn cron_job(t: &mut Text, object: &Document) -> Result<()> {
    head(t, object, &[Part::Marks])?;
    let c: CronJob = object.to_typed()?;
    let (spec, status) = (c.spec, c.status.unwrap_or_default());
    t.pair(0, "Schedule", spec.schedule);
    t.pair(0, "Concurrency Policy", spec.concurrency_policy.unwrap_or_default());
    t.pair(0, "Suspend", truth(spec.suspend));
    t.pair(0, "Time Zone", or_unset(spec.time_zone));
    t.pair(0, "Successful Job History Limit", or_unset(spec.successful_jobs_history_limit));
    t.pair(0, "Failed Job History Limit", or_unset(spec.failed_jobs_history_limit));
    let deadline = spec.starting_deadline_seconds.map(|s| format!("{s}s"));
    t.pair(0, "Starting Deadline Seconds", or_unset(deadline));
    job_template(t, &spec.job_template)?;
    t.pair(0, "Last Schedule Time", or_unset(status.last_schedule_time.map(|at| time(at.0))));
    let active: Vec<String> = status.active.into_iter().flatten().filter_map(|j| j.name).collect();
    t.pair(0, "Active Jobs", super::text::or_none(&active.join(", ")));
    Ok(())
}

fn job_template(t: &mut Text, of: &JobTemplateSpec) -> Result<()> {
    let spec = of.spec.clone().unwrap_or_default();
    let selector = match &spec.selector {
        Some(_) => Some(pods::selector_of(&Document::from_typed(of)?)?),
        None => None,
    };
    t.pair(0, "Selector", or_unset(selector));
    t.pair(0, "Parallelism", or_unset(spec.parallelism));
    t.pair(0, "Completions", or_unset(spec.completions));
    if let Some(seconds) = spec.active_deadline_seconds {
        t.pair(0, "Active Deadline Seconds", format!("{seconds}s"));
    }
    template(t, &spec.template);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_indexes_are_cut() {
        let check = |all: &str, expected: &str| assert_eq!(indexes(all), expected);
        check("", "<none>");
        check("0-3,5", "0-3,5");
        let long: String = (0..40).map(|i| format!("{i},")).collect();
        check(&format!("{long}40"), &format!("{}...", &long[..53]));
    }
}
