//! Nobody acted twice, nothing was out of bounds at any moment, and every leader was followed in time.

use crate::record::Change;
use crate::work::{COMPLETIONS, DB, Done, MILLI_CPU, NODES, REQUEST, SURGE, WEB};
use crate::{LEASE, RETRY, SLACK};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn app(pod: &Pod) -> &str {
    pod.labels().get("app").map_or("", String::as_str)
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("")
}

fn stays(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod), "Succeeded" | "Failed")
}

fn available(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    stays(pod) && conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The pods of one application: how many there may be at a time, and how many have to be available once all
/// have been.
struct Bound {
    app: &'static str,
    all: usize,
    most: usize,
    least: usize,
}

const BOUNDS: [Bound; 3] = [
    Bound { app: "web", all: WEB, most: WEB + SURGE, least: WEB - 1 },
    Bound { app: "db", all: DB, most: DB, least: DB - 1 },
    Bound { app: "agent", all: NODES, most: NODES, least: NODES - 1 },
];

/// Bounds hold after every single change.
pub fn bounds(changes: &[Change<Pod>]) {
    let mut pods: BTreeMap<String, &Pod> = BTreeMap::new();
    let mut been_up = BTreeSet::new();
    for Change { object: pod, gone } in changes {
        let uid = pod.uid().unwrap_or_default();
        if *gone {
            pods.remove(&uid);
        } else if let Some(old) = pods.insert(uid, pod) {
            assert!(node(old).is_none() || node(old) == node(pod), "{} was bound twice", pod.name_any());
        }
        for Bound { app: name, all, most, least } in BOUNDS {
            let of = |counts: fn(&Pod) -> bool| pods.values().filter(|p| app(p) == name && counts(p)).count();
            let (there, up) = (of(stays), of(available));
            assert!(there <= most, "{there} pods of {name} at a time");
            if up == all {
                been_up.insert(name);
            }
            assert!(up >= least || !been_up.contains(name), "only {up} pods of {name} were available");
        }
        let mut load: BTreeMap<&str, u32> = BTreeMap::new();
        let mut agents: BTreeMap<&str, u32> = BTreeMap::new();
        let mut names = BTreeSet::new();
        for pod in pods.values() {
            assert!(names.insert(pod.name_any()), "two pods {}", pod.name_any());
            let Some(node) = node(pod).filter(|_| !matches!(phase(pod), "Succeeded" | "Failed")) else {
                continue;
            };
            *load.entry(node).or_default() += REQUEST;
            *agents.entry(node).or_default() += u32::from(app(pod) == "agent" && stays(pod));
        }
        assert!(load.values().all(|l| *l <= MILLI_CPU), "nodes are overcommitted: {load:?}");
        assert!(agents.values().all(|n| *n <= 1), "two agents on a node: {agents:?}");
    }
}

/// As many pods were made as the rollouts and jobs need.
pub fn pods(changes: &[Change<Pod>], done: &Done) {
    let mut made: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut index: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for Change { object: pod, .. } in changes {
        let uid = pod.uid().unwrap_or_default();
        let key = match (app(pod), pod.labels().get("batch.kubernetes.io/job-name")) {
            ("db", _) => pod.name_any(),
            (_, Some(job)) => job.clone(),
            (app, None) => app.to_owned(),
        };
        if let Some(i) = pod.labels().get("batch.kubernetes.io/job-completion-index") {
            index.entry((key.clone(), i.clone())).or_default().insert(uid.clone());
        }
        made.entry(key).or_default().insert(uid);
    }
    let check = |key: &str, wanted: usize| {
        assert_eq!(made.get(key).map_or(0, BTreeSet::len), wanted, "pods of {key} ever made");
    };
    check("web", WEB * (done.web + 1));
    check("agent", NODES * (done.agent + 1));
    (0..DB).for_each(|i| check(&format!("db-{i}"), done.db + 1));
    (1..=done.jobs).for_each(|i| check(&format!("job-{i}"), COMPLETIONS));
    assert_eq!(index.len(), done.jobs / 2 * COMPLETIONS, "indexes");
    assert!(index.values().all(|uids| uids.len() == 1), "an index had two pods: {index:?}");
}

/// A job's pods are counted once: its count grows to what it wants and no further.
pub fn jobs(changes: &[Change<Job>], done: &Done) {
    let mut counted: BTreeMap<String, i32> = BTreeMap::new();
    for Change { object: job, .. } in changes {
        let status = job.status.clone().unwrap_or_default();
        let (now, before) = (status.succeeded.unwrap_or(0), counted.entry(job.name_any()).or_default());
        assert!(now >= *before, "{} counted {before}, then {now}", job.name_any());
        assert_eq!(status.failed.unwrap_or(0), 0, "{}", job.name_any());
        *before = now;
    }
    assert_eq!(counted.len(), done.jobs);
    assert!(counted.values().all(|n| usize::try_from(*n) == Ok(COMPLETIONS)), "{counted:?}");
}

/// How long each new leader of a lease came after the last word of the one before, longest last. It must be
/// within the lease and one retry.
pub fn takeovers(changes: &[Change<Lease>], name: &str) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut last: Option<&Lease> = None;
    for Change { object: lease, .. } in changes.iter().filter(|c| c.object.name_any() == name) {
        if let (Some(old), Some(new)) = (last.and_then(|l| l.spec.as_ref()), lease.spec.as_ref())
            && old.holder_identity != new.holder_identity
        {
            let renewed = old.renew_time.as_ref().expect("a held lease was renewed").0;
            let acquired = new.acquire_time.as_ref().expect("a held lease was acquired").0;
            times.push(Duration::try_from(acquired.duration_since(renewed)).unwrap_or_default());
        }
        last = Some(lease);
    }
    times.sort();
    let longest = times.last().copied().unwrap_or_default();
    assert!(longest <= LEASE + RETRY + SLACK, "{name}: a leader came after {longest:?}");
    let shortest = times.first().copied().unwrap_or_default();
    assert!(shortest >= LEASE, "{name}: a leader came after {shortest:?}, before the lease ended");
    times
}
