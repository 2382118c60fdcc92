//! What a cron job is to do now, and when to look again.

use super::schedule;
use crate::workloads::job::spec::finished;
use gantry_client::EventType;
use gantry_machinery::cron::{self, Schedule};
use gantry_reconcile::ownership;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use std::sync::Arc;
use std::time::Duration;

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

pub(super) type Event = (EventType, &'static str, String);

/// A run to begin.
#[derive(Debug)]
pub(super) struct Run {
    /// Jobs to delete first.
    pub replace: Vec<ObjectReference>,
    pub job: Box<Job>,
    pub at: Timestamp,
}

#[derive(Debug)]
pub(super) struct Plan {
    /// The cron job with its new status.
    pub cron: CronJob,
    pub events: Vec<Event>,
    pub run: Option<Run>,
    pub next: Option<Duration>,
}

/// Finished jobs beyond what is to be kept, the oldest first.
pub(super) fn surplus(cron: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let spec = &cron.spec;
    let limits =
        [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    let mut surplus = Vec::new();
    for (kind, limit) in limits {
        let Some(limit) = limit.and_then(|l| usize::try_from(l).ok()) else { continue };
        let ended = jobs.iter().filter(|j| finished(j).is_some_and(|c| c.type_ == kind));
        let mut ended: Vec<_> = ended.cloned().collect();
        ended.sort_by_key(|j| {
            let start = j.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
            (start.is_none(), start, j.metadata.name.clone())
        });
        ended.truncate(ended.len().saturating_sub(limit));
        surplus.extend(ended.into_iter().filter(|j| j.metadata.deletion_timestamp.is_none()));
    }
    surplus
}

/// Takes a job off the active list; whether it was on it.
pub(super) fn forget(cron: &mut CronJob, uid: Option<&str>) -> bool {
    let Some(active) = cron.status.as_mut().and_then(|s| s.active.as_mut()) else { return false };
    let before = active.len();
    active.retain(|j| j.uid.as_deref() != uid);
    active.len() != before
}

/// Puts a run on the active list.
pub(super) fn remember(cron: &mut CronJob, reference: ObjectReference, at: Timestamp) {
    let status = cron.status.get_or_insert_default();
    status.active.get_or_insert_default().push(reference);
    status.last_schedule_time = Some(Time(at));
}

pub(super) fn is_active(cron: &CronJob, matching: impl Fn(&ObjectReference) -> bool) -> bool {
    cron.status.iter().flat_map(|s| s.active.iter().flatten()).any(matching)
}

/// `jobs` are those the cron job controls; `exists` tells whether there is a job of this name at all.
pub(super) fn plan(cron: CronJob, jobs: &[Arc<Job>], exists: impl Fn(&str) -> bool, now: Timestamp) -> Plan {
    let mut plan = Plan { cron, events: Vec::new(), run: None, next: None };
    plan.look_at_jobs(jobs, exists);
    if plan.cron.metadata.deletion_timestamp.is_none() {
        let spec = plan.cron.spec.clone();
        plan.start(&spec, now);
    }
    plan
}

impl Plan {
    fn tell(&mut self, kind: EventType, reason: &'static str, message: impl Into<String>) {
        self.events.push((kind, reason, message.into()));
    }

    /// What became of the runs so far.
    fn look_at_jobs(&mut self, jobs: &[Arc<Job>], exists: impl Fn(&str) -> bool) {
        for job in jobs {
            let (uid, name) = (job.metadata.uid.as_deref(), job.metadata.name.as_deref().unwrap_or(""));
            let Some(end) = finished(job) else {
                if !is_active(&self.cron, |j| j.uid.as_deref() == uid) {
                    let message = format!("Saw a job that the controller did not create or forgot: {name}");
                    self.tell(EventType::Warning, "UnexpectedJob", message);
                }
                continue;
            };
            if forget(&mut self.cron, uid) {
                let message = format!("Saw completed job: {name}, condition: {}", end.type_);
                self.tell(EventType::Normal, "SawCompletedJob", message);
            }
            let completed = job.status.as_ref().and_then(|s| s.completion_time.as_ref());
            if let Some(completed) = completed.filter(|_| end.type_ == "Complete") {
                let last = &mut self.cron.status.get_or_insert_default().last_successful_time;
                if last.as_ref().is_none_or(|last| last.0 < completed.0) {
                    *last = Some(completed.clone());
                }
            }
        }
        let known = |j: &ObjectReference| jobs.iter().any(|job| job.metadata.uid == j.uid);
        let listed = self.cron.status.iter().flat_map(|s| s.active.iter().flatten());
        let lost = |j: &&ObjectReference| !known(j) && !exists(j.name.as_deref().unwrap_or(""));
        let lost: Vec<_> = listed.filter(lost).cloned().collect();
        for job in lost {
            let name = job.name.as_deref().unwrap_or("");
            self.tell(EventType::Normal, "MissingJob", format!("Active job went missing: {name}"));
            forget(&mut self.cron, job.uid.as_deref());
        }
    }

    /// Begins a run where one is due.
    fn start(&mut self, spec: &CronJobSpec, now: Timestamp) {
        if let Some(zone) = &spec.time_zone
            && let Err(error) = cron::time_zone(zone)
        {
            let message = format!("invalid timeZone: {zone:?}: {error}");
            return self.tell(EventType::Warning, "UnknownTimeZone", message);
        }
        if spec.suspend == Some(true) {
            return;
        }
        if spec.schedule.contains("TZ") {
            let message = format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                spec.schedule
            );
            self.tell(EventType::Warning, "UnsupportedSchedule", message);
        }
        let schedule = match parse(spec) {
            Ok(schedule) => schedule,
            Err(error) => {
                let message = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                return self.tell(EventType::Warning, "UnparseableSchedule", message);
            }
        };
        let due = match schedule::due(&self.cron, &schedule, true, now) {
            Ok(due) => due,
            Err(error) => {
                let message = format!("invalid schedule: {} : {error}", spec.schedule);
                return self.tell(EventType::Warning, "InvalidSchedule", message);
            }
        };
        self.next = until_next(&self.cron, &schedule, now);
        let Some(at) = due.at else { return };
        if due.too_many() {
            let message = "too many missed start times. Set or decrease \
                           .spec.startingDeadlineSeconds or check clock skew";
            self.tell(EventType::Warning, "TooManyMissedTimes", message);
        }
        let late = spec
            .starting_deadline_seconds
            .and_then(|s| at.checked_add(SignedDuration::from_secs(s)).ok())
            .is_some_and(|latest| latest < now);
        if late {
            let time = at.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z");
            let message = format!("Missed scheduled time to start a job: {time}");
            return self.tell(EventType::Warning, "MissSchedule", message);
        }
        let job = job_of(&self.cron, spec, at);
        let last = self.cron.status.as_ref().and_then(|s| s.last_schedule_time.as_ref());
        if last.is_some_and(|t| t.0 == at) || is_active(&self.cron, |j| j.name == job.metadata.name) {
            return;
        }
        let active = self.cron.status.as_ref().and_then(|s| s.active.clone()).unwrap_or_default();
        let mut replace = Vec::new();
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let message =
                    "Not starting job because prior execution is running and concurrency policy is Forbid";
                return self.tell(EventType::Normal, "JobAlreadyActive", message);
            }
            Some("Replace") => replace = active,
            _ => {}
        }
        self.run = Some(Run { replace, job: Box::new(job), at });
    }
}

/// The schedule in the cron job's time zone.
fn parse(spec: &CronJobSpec) -> Result<Schedule, cron::Error> {
    match &spec.time_zone {
        Some(zone) if !spec.schedule.contains("TZ") => {
            Schedule::parse(&format!("TZ={zone} {}", spec.schedule))
        }
        _ => Schedule::parse(&spec.schedule),
    }
}

/// How long until the run after what is due now.
fn until_next(cron: &CronJob, schedule: &Schedule, now: Timestamp) -> Option<Duration> {
    let next = schedule::next(cron, schedule, now)?;
    Some(Duration::try_from(next.duration_since(now)).unwrap_or_default())
}

/// How long to leave a cron job alone whose schedule has changed: what the new one would have started before
/// is not made up for.
pub(super) fn pause(cron: &CronJob, now: Timestamp) -> Option<Duration> {
    until_next(cron, &parse(&cron.spec).ok()?, now)
}

/// The run's job. Its name follows from its time, so that no run is begun twice.
fn job_of(cron: &CronJob, spec: &CronJobSpec, at: Timestamp) -> Job {
    let template = spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let zone = spec.time_zone.as_deref().and_then(|z| cron::time_zone(z).ok()).unwrap_or(TimeZone::UTC);
    let local = at.to_zoned(zone);
    let offset = if local.offset().is_zero() { "Z".to_owned() } else { local.strftime("%:z").to_string() };
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.into(), format!("{}{offset}", local.strftime("%Y-%m-%dT%H:%M:%S")));
    let name = cron.metadata.name.as_deref().unwrap_or("");
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{}", at.as_second().div_euclid(60))),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![ownership::controller_ref(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
