//! Why a Job does not finish, or a CronJob does not start one.

use super::finding::{Finding, Verdict, count, names};
use super::read::{newest, told};
use super::refusal;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;

fn text(s: &Option<String>) -> &str {
    s.as_deref().unwrap_or_default()
}

/// `worst` is a pod of it that does not get on, with what is wrong with it.
pub fn job(j: &Job, events: &[Event], worst: Option<(String, Vec<Finding>)>) -> Verdict {
    let (spec, status) = (j.spec.clone().unwrap_or_default(), j.status.clone().unwrap_or_default());
    let done = status.succeeded.unwrap_or(0);
    let (active, failed) = (status.active.unwrap_or(0), status.failed.unwrap_or(0));
    let wanted = spec.completions.map_or_else(|| "any".to_owned(), |n| n.to_string());
    let state = format!("{done} of {wanted} succeeded, {active} active, {failed} failed");
    let condition =
        |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == "True");
    if condition("Complete").is_some() {
        return Verdict::new("Complete", Vec::new());
    }
    let pod = worst.map(|(pod, findings)| Finding::new(format!("of its pods, {pod}")).because(findings));
    if let Some(c) = condition("Failed").or_else(|| condition("FailureTarget")) {
        let limit = spec.backoff_limit.unwrap_or(6);
        let out = match text(&c.reason) {
            "BackoffLimitExceeded" => {
                Finding::new(format!("its pods failed more than backoffLimit ({limit}) allows"))
                    .change("mend what its pods fail with, and make the Job anew (kctl logs of a failed pod)")
            }
            "DeadlineExceeded" => Finding::new("it ran longer than activeDeadlineSeconds allows")
                .change("raise activeDeadlineSeconds, or make it finish sooner; make the Job anew"),
            "PodFailurePolicy" => Finding::new("a pod failed in a way its podFailurePolicy ends the Job for")
                .change("mend what the pod failed with, or the policy; make the Job anew"),
            "FailedIndexes" | "MaxFailedIndexesExceeded" => Finding::new("too many of its indexes failed")
                .change("mend what the pods of these indexes fail with; make the Job anew"),
            other => Finding::new(format!("it has failed: {other}")).change("mend what the message names"),
        };
        return Verdict::new("Failed", vec![out.seen(text(&c.message)).because(pod)]);
    }
    if spec.suspend == Some(true) {
        let out = Finding::new("it is suspended").seen("spec.suspend is true").change(format!(
            "kctl patch job {} -p '{{\"spec\":{{\"suspend\":false}}}}'",
            text(&j.metadata.name)
        ));
        return Verdict::new("Suspended", vec![out]);
    }
    let mut out = Vec::new();
    if let Some(event) = newest(events, &["FailedCreate"], "") {
        out.push(refusal::read(text(&event.message)));
    }
    out.extend(pod);
    if out.is_empty() && active == 0 && failed > 0 {
        out.push(
            Finding::new("it waits before it tries again")
                .seen(count(usize::try_from(failed).unwrap_or(0), "failed pod"))
                .change("mend what its pods fail with: kctl logs of a failed pod"),
        );
    } else if out.is_empty() && active == 0 && status.start_time.is_none() {
        out.push(Finding::new("nothing has been seen of the job controller").change(
            match text(&spec.managed_by) {
                "" => "the controller manager must run (job controller)".to_owned(),
                other => format!("it is managed by {other}, which must run"),
            },
        ));
    }
    Verdict::new(state, out)
}

pub fn cron_job(c: &CronJob, events: &[Event], now: Timestamp) -> Verdict {
    let spec = c.spec.clone();
    let status = c.status.clone().unwrap_or_default();
    let last = status.last_schedule_time.as_ref();
    let state = match last {
        Some(t) => format!("last started one {} ago", gantry_types::time::age(Some(t.0), now)),
        None => "has never started one".to_owned(),
    };
    let name = text(&c.metadata.name);
    if spec.suspend == Some(true) {
        let out = Finding::new("it is suspended")
            .seen("spec.suspend is true")
            .change(format!("kctl patch cronjob {name} -p '{{\"spec\":{{\"suspend\":false}}}}'"));
        return Verdict::new(state, vec![out]);
    }
    let mut out = Vec::new();
    let said = |reasons: &[&str]| newest(events, reasons, "").map(told);
    if let Some(event) =
        said(&["UnparseableSchedule", "UnparsableSchedule", "InvalidSchedule", "UnknownTimeZone"])
    {
        out.push(
            Finding::new(format!(
                "its schedule {:?} (time zone {:?}) cannot be understood",
                spec.schedule,
                text(&spec.time_zone)
            ))
            .seen(event)
            .change("mend spec.schedule or spec.timeZone"),
        );
    }
    if let Some(event) = said(&["TooManyMissedTimes", "MissSchedule"]) {
        let deadline = spec.starting_deadline_seconds.map_or("none".to_owned(), |s| format!("{s}s"));
        out.push(
            Finding::new("it missed times to start")
                .seen(event)
                .seen(format!("startingDeadlineSeconds: {deadline}"))
                .change("the controller manager must run all the time, or startingDeadlineSeconds be longer"),
        );
    }
    if let Some(s) = spec.starting_deadline_seconds.filter(|s| *s < 10) {
        out.push(
            Finding::new(format!("its startingDeadlineSeconds of {s} is so short that times are missed"))
                .change("make it 10 or more: the controller looks every 10 seconds"),
        );
    }
    let active: Vec<&str> = status.active.iter().flatten().map(|r| text(&r.name)).collect();
    if spec.concurrency_policy.as_deref() == Some("Forbid") && !active.is_empty() {
        out.push(
            Finding::new("the last one still runs, and concurrencyPolicy Forbid lets no other begin")
                .seen(format!("jobs {}", names(&active)))
                .change(format!("it must end: kctl why job {}", active[0])),
        );
    }
    if let Some(event) = newest(events, &["FailedCreate"], "") {
        out.push(refusal::read(text(&event.message)));
    }
    Verdict::new(state, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn events(reason: &str, message: &str) -> Vec<Event> {
        serde_json::from_value(
            json!([{"metadata": {}, "involvedObject": {}, "reason": reason, "message": message}]),
        )
        .unwrap()
    }

    fn compare(got: &Verdict, state: &str, cause: &str) {
        let first = got.findings.first();
        assert_eq!((got.state.as_str(), first.map_or("", |f| f.cause.as_str())), (state, cause));
        assert!(first.is_none_or(|f| !f.change.is_empty()));
    }

    #[test]
    fn jobs_that_do_not_finish() {
        let check = |spec: Value, status: Value, event: (&str, &str), state: &str, cause: &str| {
            let mut whole = json!({"template": {}, "completions": 1});
            for (k, v) in spec.as_object().unwrap() {
                whole[k] = v.clone();
            }
            let j: Job =
                serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": whole, "status": status}))
                    .unwrap();
            compare(&job(&j, &events(event.0, event.1), None), state, cause);
        };
        let failed =
            |reason: &str| json!({"conditions": [{"type": "Failed", "status": "True", "reason": reason}]});
        let none = ("", "");
        check(
            json!({}),
            json!({"conditions": [{"type": "Complete", "status": "True"}]}),
            none,
            "Complete",
            "",
        );
        check(
            json!({"backoffLimit": 2}),
            failed("BackoffLimitExceeded"),
            none,
            "Failed",
            "its pods failed more than backoffLimit (2) allows",
        );
        check(
            json!({}),
            failed("DeadlineExceeded"),
            none,
            "Failed",
            "it ran longer than activeDeadlineSeconds allows",
        );
        check(json!({"suspend": true}), json!({}), none, "Suspended", "it is suspended");
        let empty = "0 of 1 succeeded, 0 active, 0 failed";
        check(json!({}), json!({}), none, empty, "nothing has been seen of the job controller");
        let quota = ("FailedCreate", "exceeded quota: q, requested: pods=1");
        check(json!({}), json!({}), quota, empty, "the ResourceQuota q allows no more");
        check(
            json!({}),
            json!({"failed": 1}),
            none,
            "0 of 1 succeeded, 0 active, 1 failed",
            "it waits before it tries again",
        );
    }

    #[test]
    fn cron_jobs_that_do_not_start() {
        let check = |spec: Value, active: Value, event: (&str, &str), cause: &str| {
            let mut whole = json!({"schedule": "* * * * *", "jobTemplate": {}});
            for (k, v) in spec.as_object().unwrap() {
                whole[k] = v.clone();
            }
            let c: CronJob = serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": whole,
                "status": {"lastScheduleTime": "2026-01-01T00:00:00Z", "active": active}}))
            .unwrap();
            let now = "2026-01-01T00:05:00Z".parse().unwrap();
            compare(&cron_job(&c, &events(event.0, event.1), now), "last started one 5m ago", cause);
        };
        check(json!({}), json!([]), ("", ""), "");
        check(json!({"suspend": true}), json!([]), ("", ""), "it is suspended");
        check(json!({}), json!([]), ("TooManyMissedTimes", "m"), "it missed times to start");
        check(
            json!({"startingDeadlineSeconds": 5}),
            json!([]),
            ("", ""),
            "its startingDeadlineSeconds of 5 is so short that times are missed",
        );
        check(
            json!({"concurrencyPolicy": "Forbid"}),
            json!([{"name": "j"}]),
            ("", ""),
            "the last one still runs, and concurrencyPolicy Forbid lets no other begin",
        );
    }
}
