use super::plan::{plan, remember, surplus};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use std::sync::Arc;

fn at(time: &str) -> Timestamp {
    format!("2026-03-10T{time}Z").parse().unwrap()
}

/// A cron job created at ten past nine.
fn cron(schedule: &str, more: &str) -> CronJob {
    let text = format!(r#"{{"schedule":"{schedule}","timeZone":"UTC","jobTemplate":{{}}{more}}}"#);
    let mut spec: CronJobSpec = serde_json::from_str(&text).unwrap();
    if schedule.contains("TZ") {
        spec.time_zone = None;
    }
    CronJob {
        metadata: ObjectMeta {
            name: Some("c".into()),
            namespace: Some("n".into()),
            uid: Some("u".into()),
            creation_timestamp: Some(Time(at("09:10:00"))),
            ..Default::default()
        },
        spec,
        status: None,
    }
}

fn with_active(mut cron: CronJob, name: &str, last: &str) -> CronJob {
    let reference = ObjectReference { name: Some(name.into()), uid: Some(name.into()), ..Default::default() };
    remember(&mut cron, reference, at(last));
    cron
}

fn job(name: &str, end: Option<&str>, time: &str) -> Arc<Job> {
    let condition =
        end.map(|e| JobCondition { type_: e.into(), status: "True".into(), ..Default::default() });
    Arc::new(Job {
        metadata: ObjectMeta { name: Some(name.into()), uid: Some(name.into()), ..Default::default() },
        spec: None,
        status: Some(JobStatus {
            start_time: Some(Time(at(time))),
            completion_time: Some(Time(at(time))),
            conditions: condition.map(|c| vec![c]),
            ..Default::default()
        }),
    })
}

/// `<run or -> [replacing <names>] [+<seconds to the next look>] [<event reasons>]`
fn check(cron: CronJob, jobs: &[Arc<Job>], now: &str, expected: &str) -> CronJob {
    let found = plan(cron, jobs, |_| false, at(now));
    let mut text = match &found.run {
        None => "-".to_owned(),
        Some(run) => run.at.strftime("%H:%M").to_string(),
    };
    for replaced in found.run.iter().flat_map(|r| &r.replace) {
        text += &format!(" replacing {}", replaced.name.as_deref().unwrap());
    }
    if let Some(next) = found.next {
        text += &format!(" +{}", next.as_secs_f64());
    }
    for (_, reason, _) in &found.events {
        text += &format!(" {reason}");
    }
    assert_eq!(text, expected, "{now}");
    found.cron
}

#[test]
fn runs_begin_when_they_are_due_and_not_before() {
    let half = || cron("*/30 * * * *", "");
    check(half(), &[], "09:10:01", "- +1199");
    check(half(), &[], "09:29:59.5", "- +0.5");
    check(half(), &[], "09:30:00", "09:30 +1800");
    check(half(), &[], "09:45:00", "09:30 +900");
    check(half(), &[], "12:50:00", "12:30 +600");
    check(with_active(half(), "x", "09:30:00"), &[job("x", None, "09:30:00")], "09:40:00", "- +1200");
    check(with_active(half(), "x", "09:30:00"), &[job("x", None, "09:30:00")], "10:00:00", "10:00 +1800");
}

#[test]
fn what_holds_runs_back() {
    check(cron("* * * * *", r#","suspend":true"#), &[], "09:30:00", "-");
    let running = [job("x", None, "09:11:00")];
    let forbid = cron("* * * * *", r#","concurrencyPolicy":"Forbid""#);
    check(with_active(forbid, "x", "09:11:00"), &running, "09:12:20", "- +40 JobAlreadyActive");
    let replace = cron("* * * * *", r#","concurrencyPolicy":"Replace""#);
    check(with_active(replace, "x", "09:11:00"), &running, "09:12:20", "09:12 replacing x +40");
    let mut going = cron("* * * * *", "");
    going.metadata.deletion_timestamp = Some(Time(at("09:11:00")));
    check(going, &[], "09:30:00", "-");
    let soon = |seconds| cron("*/30 * * * *", &format!(r#","startingDeadlineSeconds":{seconds}"#));
    check(soon(60), &[], "09:30:30", "09:30 +1770");
    check(soon(60), &[], "09:32:00", "- +1680");
    check(soon(0), &[], "09:30:00", "- +1800");
}

#[test]
fn what_is_told() {
    check(cron("* * * * *", ""), &[], "10:49:00", "10:49 +60");
    check(cron("* * * * *", ""), &[], "11:00:00", "11:00 +60 TooManyMissedTimes");
    check(cron("* * * * *", r#","startingDeadlineSeconds":200"#), &[], "11:00:00", "11:00 +60");
    check(cron("TZ=UTC 0 10 * * *", ""), &[], "09:30:00", "- +1800 UnsupportedSchedule");
    check(cron("x * * * *", ""), &[], "09:30:00", "- UnparseableSchedule");
    check(cron("0 0 31 2 *", ""), &[], "09:30:00", "- InvalidSchedule");
    let mut nowhere = cron("* * * * *", "");
    nowhere.spec.time_zone = Some("Mars/Olympus".into());
    check(nowhere, &[], "09:30:00", "- UnknownTimeZone");
    check(cron("0 10 * * *", ""), &[job("manual", None, "09:20:00")], "09:30:00", "- +1800 UnexpectedJob");
}

#[test]
fn ended_and_lost_runs_leave_the_list() {
    let daily = || with_active(cron("0 9 * * *", ""), "x", "09:00:00");
    let done =
        check(daily(), &[job("x", Some("Complete"), "09:20:00")], "09:30:00", "- +84600 SawCompletedJob");
    let status = done.status.unwrap();
    assert_eq!(status.active, Some(vec![]));
    assert_eq!(status.last_successful_time, Some(Time(at("09:20:00"))));
    let failed =
        check(daily(), &[job("x", Some("Failed"), "09:20:00")], "09:30:00", "- +84600 SawCompletedJob");
    assert_eq!(failed.status.unwrap().last_successful_time, None);
    let lost = check(daily(), &[], "09:30:00", "- +84600 MissingJob");
    assert_eq!(lost.status.unwrap().active, Some(vec![]));
}

#[test]
fn history_is_kept_to_its_limits() {
    let jobs = [
        job("a", Some("Complete"), "09:03:00"),
        job("b", Some("Complete"), "09:01:00"),
        job("c", Some("Complete"), "09:02:00"),
        job("d", Some("Failed"), "09:01:00"),
        job("e", Some("Failed"), "09:02:00"),
        job("f", None, "09:00:00"),
    ];
    let check = |limits: &str, expected: &[&str]| {
        let found = surplus(&cron("* * * * *", limits), &jobs);
        let names: Vec<_> = found.iter().map(|j| j.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(names, expected);
    };
    check(r#","successfulJobsHistoryLimit":1,"failedJobsHistoryLimit":1"#, &["b", "c", "d"]);
    check(r#","successfulJobsHistoryLimit":3,"failedJobsHistoryLimit":0"#, &["d", "e"]);
    check("", &[]);
}

#[test]
fn a_run_is_named_by_its_minute_and_knows_its_time() {
    let mut local = cron("30 * * * *", r#","startingDeadlineSeconds":9"#);
    local.spec.time_zone = Some("America/New_York".into());
    let run = plan(local, &[], |_| false, at("09:30:05")).run.unwrap();
    let minutes = at("09:30:00").as_second() / 60;
    assert_eq!(run.job.metadata.name, Some(format!("c-{minutes}")));
    let annotations = run.job.metadata.annotations.unwrap();
    assert_eq!(annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2026-03-10T05:30:00-04:00");
    assert_eq!(run.job.metadata.owner_references.unwrap()[0].kind, "CronJob");
    let run = plan(cron("30 * * * *", ""), &[], |_| false, at("09:30:05")).run.unwrap();
    let annotations = run.job.metadata.annotations.unwrap();
    assert_eq!(annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2026-03-10T09:30:00Z");
}
