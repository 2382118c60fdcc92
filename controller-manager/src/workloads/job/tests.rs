mod sim;

use super::backoff::Record;
use super::plan::{Assessment, Manage, Snapshot, assess};
use super::pods::pod_of;
use super::spec::{FAILURES, FINALIZER, INDEX};
use super::track::{Outcome, track};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodSpec,
    PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use std::sync::Arc;

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A job as its YAML would have it, already running since 100 seconds.
fn job(spec: &str) -> Job {
    let mut spec: JobSpec = serde_json::from_str(&format!("{{\"template\":{{}}{spec}}}")).unwrap();
    spec.parallelism.get_or_insert(1);
    Job {
        metadata: ObjectMeta {
            name: Some("j".into()),
            namespace: Some("n".into()),
            uid: Some("u".into()),
            ..Default::default()
        },
        spec: Some(spec),
        status: Some(JobStatus { start_time: Some(Time(at(NOW - 100))), ..Default::default() }),
    }
}

const INDEXED: &str = r#","completionMode":"Indexed","completions":3,"parallelism":3"#;

/// One pod a line: `name phase [i=<index>] [deleted] [counted] [ready] [exit=<code>] [end=<age>] [fails=<n>]
/// [restarts=<n>] [is=<condition>]`
fn pods(text: &str) -> Vec<Arc<Pod>> {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).map(pod).collect()
}

fn pod(line: &str) -> Arc<Pod> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let has = |word: &str| words.contains(&word);
    let after = |prefix: &str| words.iter().find_map(|w| w.strip_prefix(prefix));
    let mut annotations = std::collections::BTreeMap::new();
    for (prefix, name) in [("i=", INDEX), ("fails=", FAILURES)] {
        annotations.extend(after(prefix).map(|v| (name.to_owned(), v.to_owned())));
    }
    let condition = |kind: &str, status: &str| PodCondition {
        type_: kind.into(),
        status: status.into(),
        ..Default::default()
    };
    let end: i64 = after("end=").map_or(50, |e| e.parse().unwrap());
    let exit: Option<i32> = after("exit=").map(|e| e.parse().unwrap());
    let ended = matches!(words[1], "Succeeded" | "Failed");
    let terminated = ended.then(|| ContainerStateTerminated {
        exit_code: exit.unwrap_or(0),
        finished_at: Some(Time(at(NOW - end))),
        ..Default::default()
    });
    Arc::new(Pod {
        metadata: ObjectMeta {
            name: Some(words[0].into()),
            namespace: Some("n".into()),
            uid: Some(words[0].into()),
            annotations: Some(annotations),
            deletion_timestamp: has("deleted").then(|| Time(at(NOW - end))),
            finalizers: (!has("counted")).then(|| vec![FINALIZER.into()]),
            ..Default::default()
        },
        spec: Some(PodSpec::default()),
        status: Some(PodStatus {
            phase: Some(words[1].into()),
            conditions: Some(
                has("ready")
                    .then(|| condition("Ready", "True"))
                    .into_iter()
                    .chain(after("is=").map(|kind| condition(kind, "True")))
                    .collect(),
            ),
            container_statuses: Some(vec![ContainerStatus {
                name: "c".into(),
                restart_count: after("restarts=").map_or(0, |r| r.parse().unwrap()),
                state: Some(ContainerState { terminated, ..Default::default() }),
                ..Default::default()
            }]),
            ..Default::default()
        }),
    })
}

fn seen(job: &Job, text: &str) -> (Snapshot, Assessment) {
    let snapshot = Snapshot { job: Arc::new(job.clone()), pods: pods(text), backoff: Record::default() };
    let seen = assess(&snapshot, at(NOW)).unwrap();
    (snapshot, seen)
}

/// `create 0,2`, `create 2` (without indexes), `delete a,b`, `keep`; then ` <ending reason>`, ` +<seconds>`.
fn check(job: &Job, text: &str, expected: &str) {
    let (_, seen) = seen(job, text);
    let mut found = match &seen.manage {
        Manage::Keep => "keep".to_owned(),
        Manage::Delete { pods, .. } if pods.is_empty() => "keep".to_owned(),
        Manage::Delete { pods, release } => {
            let names: Vec<_> = pods.iter().map(|p| p.metadata.name.clone().unwrap()).collect();
            format!("{} {}", if *release { "release" } else { "delete" }, names.join(","))
        }
        Manage::Create(indexes) if indexes[0].is_none() => format!("create {}", indexes.len()),
        Manage::Create(indexes) => {
            let indexes: Vec<_> = indexes.iter().map(|i| i.unwrap().to_string()).collect();
            format!("create {}", indexes.join(","))
        }
    };
    if let Some(condition) = &seen.finished {
        found += &format!(" {}", condition.reason.as_deref().unwrap());
    }
    if let Some(next) = seen.next {
        found += &format!(" +{}", next.as_secs());
    }
    assert_eq!(found, expected, "{text}");
}

#[test]
fn as_many_pods_as_are_wanted() {
    check(&job(r#","completions":5,"parallelism":3"#), "", "create 3");
    check(&job(r#","completions":5,"parallelism":3"#), "a Running", "create 2");
    check(&job(r#","completions":2,"parallelism":3"#), "a Succeeded\n b Running", "keep");
    check(&job(r#","completions":2,"parallelism":3"#), "a Succeeded\n b Running\n c Pending", "release c");
    check(&job(r#","parallelism":900,"completions":900"#), "", "create 500");
    check(&job(r#","parallelism":2"#), "a Running", "create 1");
    check(&job(r#","parallelism":2"#), "a Succeeded\n b Running", "keep");
    check(&job(r#","parallelism":2,"suspend":true"#), "a Running\n b Pending", "release b,a");
    check(&job(r#","parallelism":1,"completions":1"#), "a Running\n b Running ready", "release a");
}

#[test]
fn failed_pods_are_replaced_after_a_wait_that_doubles() {
    let twice = job(r#","completions":1"#);
    check(&twice, "a Failed end=3", "keep +7");
    check(&twice, "a Failed end=10", "create 1");
    check(&twice, "a Failed end=3\n b Failed end=30", "keep +17");
    check(&twice, "a Failed end=12\n b Succeeded end=3", "keep");
    check(&job(r#","completions":1,"backoffLimit":1"#), "a Failed\n b Failed", "keep BackoffLimitExceeded");
    check(
        &job(r#","completions":1,"backoffLimit":0"#),
        "a Failed\n b Running",
        "delete b BackoffLimitExceeded",
    );
    let restarts = job(
        r#","completions":1,"backoffLimit":2,"template":{"spec":{"containers":[],"restartPolicy":"OnFailure"}}"#,
    );
    check(&restarts, "a Running restarts=1", "keep");
    check(&restarts, "a Running restarts=2", "delete a BackoffLimitExceeded");
}

#[test]
fn the_wait_ends_at_ten_minutes_and_a_success_resets_it() {
    let wait = |failures, age: i64| {
        Record { failures, last: Some(at(NOW - age)) }.remaining(at(NOW)).map(|d| d.as_secs())
    };
    assert_eq!(wait(0, 0), None);
    assert_eq!(wait(1, 4), Some(6));
    assert_eq!(wait(1, 10), None);
    assert_eq!(wait(3, 0), Some(40));
    assert_eq!(wait(40, 100), Some(500));
    let old = Record { failures: 3, last: Some(at(NOW - 90)) };
    let (success, failure) = (pods("s Succeeded end=20"), pods("f Failed end=30\n g Failed end=10"));
    assert_eq!(old.after(&[], &[]), old);
    assert_eq!(old.after(&[], &failure), Record { failures: 5, last: Some(at(NOW - 10)) });
    assert_eq!(old.after(&success, &failure), Record { failures: 1, last: Some(at(NOW - 10)) });
    assert_eq!(old.after(&success, &[]), Record::default());
}

#[test]
fn deadlines() {
    check(&job(r#","completions":1,"activeDeadlineSeconds":130"#), "a Running", "keep +30");
    check(&job(r#","completions":1,"activeDeadlineSeconds":100"#), "a Running", "delete a DeadlineExceeded");
    check(&job(r#","completions":1,"activeDeadlineSeconds":9,"suspend":true"#), "", "keep");
}

#[test]
fn replacements_may_wait_until_the_old_pod_has_ended() {
    check(
        &job(r#","completions":1,"podReplacementPolicy":"TerminatingOrFailed""#),
        "a Running deleted",
        "create 1",
    );
    check(&job(r#","completions":1,"podReplacementPolicy":"Failed""#), "a Running deleted", "keep");
    let indexed = format!(r#"{INDEXED},"podReplacementPolicy":"Failed""#);
    check(&job(&indexed), "a Running deleted i=1\n b Running i=0", "create 2");
}

#[test]
fn indexes_are_filled_lowest_first_and_doubles_go() {
    check(&job(INDEXED), "", "create 0,1,2");
    check(&job(INDEXED), "a Succeeded i=1\n b Running i=0", "create 2");
    check(&job(INDEXED), "a Running i=0\n b Running i=0 ready\n c Running i=1\n d Running i=2", "release a");
    check(&job(INDEXED), "a Running i=7\n b Running\n c Running i=0", "release a,b");
    let mut grown = job(r#","completionMode":"Indexed","completions":6,"parallelism":6"#);
    grown.status.as_mut().unwrap().completed_indexes = Some("0-2".into());
    check(&grown, "", "create 3,4,5");
    let mut shrunk = job(r#","completionMode":"Indexed","completions":2,"parallelism":2"#);
    shrunk.status.as_mut().unwrap().completed_indexes = Some("0,3-5".into());
    check(&shrunk, "a Running i=1\n b Running i=4", "release b");
}

#[test]
fn limits_by_index() {
    let limited = |more: &str| job(&format!(r#"{INDEXED},"backoffLimitPerIndex":1,"backoffLimit":99{more}"#));
    check(&limited(""), "a Failed i=0 end=3\n b Running i=1\n c Running i=2", "keep +7");
    check(&limited(""), "a Failed i=0 end=30\n b Running i=1\n c Running i=2", "create 0");
    check(&limited(""), "a Failed i=0 end=30 fails=1\n b Running i=1\n c Running i=2", "keep");
    check(&limited(""), "a Failed i=0 fails=1\n b Succeeded i=1\n c Succeeded i=2", "keep FailedIndexes");
    check(
        &limited(r#","maxFailedIndexes":0"#),
        "a Failed i=0 fails=1\n b Running i=1",
        "delete b MaxFailedIndexesExceeded",
    );
}

#[test]
fn failure_policies() {
    let ruled = |rule: &str| {
        job(&format!(r#","completions":1,"backoffLimit":0,"podFailurePolicy":{{"rules":[{rule}]}}"#))
    };
    let exit = |action: &str, operator: &str| {
        ruled(&format!(r#"{{"action":"{action}","onExitCodes":{{"operator":"{operator}","values":[42]}}}}"#))
    };
    check(&exit("FailJob", "In"), "a Failed exit=42", "keep PodFailurePolicy");
    check(&exit("FailJob", "NotIn"), "a Failed exit=42", "keep BackoffLimitExceeded");
    check(&exit("Ignore", "In"), "a Failed exit=42 end=30", "create 1");
    check(&exit("Count", "In"), "a Failed exit=42", "keep BackoffLimitExceeded");
    let condition =
        ruled(r#"{"action":"Ignore","onPodConditions":[{"type":"DisruptionTarget","status":"True"}]}"#);
    check(&condition, "a Failed is=DisruptionTarget end=30", "create 1");
    check(&condition, "a Failed is=Other end=30", "keep BackoffLimitExceeded");
    let (_, seen) = seen(&exit("FailJob", "In"), "a Failed exit=42");
    assert_eq!(
        seen.finished.unwrap().message.unwrap(),
        "Container c for pod n/a failed with exit code 42 matching FailJob rule at index 0"
    );
    let index = job(&format!(
        r#"{INDEXED},"backoffLimitPerIndex":5,"podFailurePolicy":{{"rules":[
        {{"action":"FailIndex","onExitCodes":{{"operator":"In","values":[42]}}}}]}}"#
    ));
    check(&index, "a Failed i=0 exit=42 end=90\n b Running i=1\n c Running i=2", "keep");
}

#[test]
fn success_policies() {
    let ruled = |rule: &str| job(&format!(r#"{INDEXED},"successPolicy":{{"rules":[{rule}]}}"#));
    let rest = "a Succeeded i=0\n b Running i=1\n c Running i=2";
    check(&ruled(r#"{"succeededIndexes":"0"}"#), rest, "delete b,c SuccessPolicy");
    check(&ruled(r#"{"succeededIndexes":"0-1"}"#), rest, "keep");
    check(&ruled(r#"{"succeededIndexes":"0-1","succeededCount":1}"#), rest, "delete b,c SuccessPolicy");
    check(&ruled(r#"{"succeededCount":2}"#), rest, "keep");
}

/// The status after everything that was decided went well: what is written first, and what then.
fn check_status(job: &Job, text: &str, first: &str, then: &str, events: &[&str]) -> Job {
    let (snapshot, seen) = seen(job, text);
    let outcome = match &seen.manage {
        Manage::Keep => Outcome::default(),
        Manage::Create(indexes) => Outcome { created: indexes.len(), ..Outcome::default() },
        Manage::Delete { pods, .. } => Outcome { deleted: pods.len(), ..Outcome::default() },
    };
    let mut tracking = track(&snapshot, seen, outcome, at(NOW));
    let told: Vec<_> = tracking.events.drain(..).collect();
    assert_eq!(if tracking.flush { line(&tracking.status) } else { String::new() }, first, "first: {text}");
    tracking.flush = false;
    let uids: Vec<_> = tracking.strip.iter().map(|p| p.metadata.uid.clone().unwrap()).collect();
    let uids: Vec<_> = uids.iter().map(String::as_str).collect();
    let completions = job.spec.as_ref().unwrap().completions;
    let ended = tracking.conclude(&uids, completions, true, at(NOW));
    assert_eq!(if tracking.flush { line(&tracking.status) } else { String::new() }, then, "then: {text}");
    let reasons: Vec<_> = told.into_iter().chain(ended).map(|e| e.1).collect();
    assert_eq!(reasons, events, "{text}");
    Job { status: Some(tracking.status), ..job.clone() }
}

/// `active/ready/terminating ok=<n> bad=<n> done=<indexes> lost=<indexes> ?<uncounted> <conditions>`
fn line(status: &JobStatus) -> String {
    let n = |n: Option<i32>| n.unwrap_or(0);
    let mut text = format!("{}/{}/{}", n(status.active), n(status.ready), n(status.terminating));
    if let Some(ok) = status.succeeded {
        text += &format!(" ok={ok}");
    }
    if let Some(bad) = status.failed {
        text += &format!(" bad={bad}");
    }
    if let Some(done) = &status.completed_indexes {
        text += &format!(" done={done}");
    }
    if let Some(lost) = &status.failed_indexes {
        text += &format!(" lost={lost}");
    }
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    for uid in uncounted.succeeded.iter().chain(&uncounted.failed).flatten() {
        text += &format!(" ?{uid}");
    }
    for condition in status.conditions.iter().flatten() {
        text += &format!(" {}{}", if condition.status == "True" { "" } else { "!" }, condition.type_);
    }
    text
}

#[test]
fn pods_are_counted_once_and_the_job_ends_when_all_are() {
    let two = job(r#","completions":2,"parallelism":2"#);
    let begun = check_status(&two, "", "2/0/0", "", &[]);
    let half = check_status(&begun, "a Succeeded\n b Running ready", "1/1/0 ?a", "1/1/0 ok=1", &[]);
    // A crash after the finalizer went, before the counter was written.
    let mut crashed = begun.clone();
    crashed.status.as_mut().unwrap().active = Some(1);
    crashed.status.as_mut().unwrap().ready = Some(1);
    crashed.status.as_mut().unwrap().uncounted_terminated_pods =
        Some(serde_json::from_str(r#"{"succeeded":["a"]}"#).unwrap());
    check_status(&crashed, "a Succeeded counted\n b Running ready", "1/1/0 ok=1", "", &[]);
    // A crash before it went.
    check_status(&crashed, "a Succeeded\n b Running ready", "", "1/1/0 ok=1", &[]);
    check_status(
        &half,
        "a Succeeded counted\n b Succeeded",
        "0/0/0 ok=1 ?b SuccessCriteriaMet",
        "0/0/0 ok=2 SuccessCriteriaMet Complete",
        &["Completed"],
    );
}

#[test]
fn a_failed_job_ends_once_its_pods_are_gone() {
    let one = job(r#","completions":2,"parallelism":2,"backoffLimit":0"#);
    let failing = check_status(
        &one,
        "a Failed\n b Running",
        "0/0/1 ?a ?b FailureTarget",
        "0/0/1 bad=2 FailureTarget",
        &[],
    );
    check_status(&failing, "b Running deleted counted", "", "", &[]);
    check_status(
        &failing,
        "",
        "0/0/0 bad=2 FailureTarget",
        "0/0/0 bad=2 FailureTarget Failed",
        &["BackoffLimitExceeded"],
    );
}

#[test]
fn indexed_jobs_count_indexes() {
    let three = job(&format!(r#"{INDEXED},"backoffLimitPerIndex":0,"backoffLimit":99"#));
    let text = "a Succeeded i=0\n b Failed i=2\n c Running i=1";
    let half =
        check_status(&three, text, "1/0/0 ok=1 done=0 lost=2 ?b", "1/0/0 ok=1 bad=1 done=0 lost=2", &[]);
    check_status(
        &half,
        "c Succeeded i=1",
        "0/0/0 ok=2 bad=1 done=0,1 lost=2 FailureTarget",
        "0/0/0 ok=2 bad=1 done=0,1 lost=2 FailureTarget Failed",
        &["FailedIndexes"],
    );
}

#[test]
fn suspension_and_resumption() {
    let suspended = job(r#","completions":1,"suspend":true"#);
    let mut still = check_status(&suspended, "a Running", "0/0/1 Suspended", "", &["Suspended"]);
    assert_eq!(still.status.as_ref().unwrap().start_time, None);
    check_status(&still, "a Running deleted counted", "", "", &[]);
    still.spec.as_mut().unwrap().suspend = Some(false);
    let resumed = check_status(&still, "", "1/0/0 !Suspended", "", &["Resumed"]);
    assert_eq!(resumed.status.unwrap().start_time, Some(Time(at(NOW))));
}

#[test]
fn pods_carry_their_index_everywhere() {
    let mut indexed = job(&format!(r#"{INDEXED},"backoffLimitPerIndex":3"#));
    indexed.metadata.name = Some("x".repeat(60));
    let spec = PodSpec { containers: vec![Container::default()], ..Default::default() };
    indexed.spec.as_mut().unwrap().template.spec = Some(spec);
    let pod = pod_of(&indexed, Some(12), Some(&pods("old Failed i=12 fails=1")[0]));
    let meta = &pod.metadata;
    assert_eq!(meta.generate_name.as_deref(), Some(format!("{}-12-", "x".repeat(54)).as_str()));
    assert_eq!(meta.labels.as_ref().unwrap()[INDEX], "12");
    assert_eq!(
        (&*meta.annotations.as_ref().unwrap()[INDEX], &*meta.annotations.as_ref().unwrap()[FAILURES]),
        ("12", "2")
    );
    assert_eq!(meta.finalizers, Some(vec![FINALIZER.to_owned()]));
    let spec = pod.spec.unwrap();
    assert_eq!(spec.hostname, Some(format!("{}-12", "x".repeat(60))));
    let variable = &spec.containers[0].env.as_ref().unwrap()[0];
    let path = &variable.value_from.as_ref().unwrap().field_ref.as_ref().unwrap().field_path;
    assert_eq!(
        (variable.name.as_str(), path.as_str()),
        ("JOB_COMPLETION_INDEX", "metadata.labels['batch.kubernetes.io/job-completion-index']")
    );
    let plain = pod_of(&job(""), None, None);
    assert_eq!(plain.metadata.generate_name.as_deref(), Some("j-"));
    assert_eq!(plain.metadata.owner_references.unwrap()[0].kind, "Job");
}
