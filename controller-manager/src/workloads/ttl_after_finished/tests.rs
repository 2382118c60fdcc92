use super::plan::{Verdict, judge};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn check(ttl: Option<i32>, condition: &str, age: i64, expected: Verdict) -> Job {
    let condition = JobCondition {
        type_: condition.into(),
        status: "True".into(),
        last_transition_time: Some(Time(at(NOW - age))),
        ..Default::default()
    };
    let job = Job {
        spec: Some(JobSpec { ttl_seconds_after_finished: ttl, ..Default::default() }),
        status: Some(JobStatus { conditions: Some(vec![condition]), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(judge(&job, at(NOW)), expected);
    job
}

#[test]
fn finished_jobs_go_when_their_time_is_up() {
    check(Some(30), "Complete", 10, Verdict::KeepFor(Duration::from_secs(20)));
    check(Some(30), "Failed", 30, Verdict::Delete);
    check(Some(0), "Complete", 0, Verdict::Delete);
    check(None, "Complete", 99, Verdict::Keep);
    check(Some(30), "SuccessCriteriaMet", 99, Verdict::Keep);
    let mut going = check(Some(30), "Complete", 99, Verdict::Delete);
    going.metadata.deletion_timestamp = Some(Time(at(NOW)));
    assert_eq!(judge(&going, at(NOW)), Verdict::Keep);
}
