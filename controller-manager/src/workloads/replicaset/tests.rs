use super::plan::{Scale, pod_of, scale, status, status_differs};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodCondition, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use std::sync::Arc;

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn set(replicas: i32) -> ReplicaSet {
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some("web".into()),
            namespace: Some("n".into()),
            uid: Some("u".into()),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec { replicas: Some(replicas), ..Default::default() }),
        status: None,
    }
}

/// `name node phase age [ready=<age>] [cost=<n>] [restarts=<n>] [sidecar=<restarts>] [init=<restarts>]`
fn pods(text: &str) -> Vec<Arc<Pod>> {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).map(pod).collect()
}

fn pod(line: &str) -> Arc<Pod> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |prefix: &str| words.iter().find_map(|w| w.strip_prefix(prefix));
    let age: i64 = words[3].parse().unwrap();
    let ready = after("ready=").map(|age| PodCondition {
        type_: "Ready".into(),
        status: "True".into(),
        last_transition_time: Some(Time(at(NOW - age.parse::<i64>().unwrap()))),
        ..Default::default()
    });
    Arc::new(Pod {
        metadata: ObjectMeta {
            name: Some(words[0].into()),
            uid: Some(words[0].into()),
            creation_timestamp: Some(Time(at(NOW - age))),
            annotations: after("cost=")
                .map(|c| [("controller.kubernetes.io/pod-deletion-cost".to_owned(), c.to_owned())].into()),
            ..Default::default()
        },
        spec: Some(PodSpec {
            node_name: (words[1] != "-").then(|| words[1].into()),
            init_containers: Some(vec![Container {
                name: "s".into(),
                restart_policy: Some("Always".into()),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        status: Some(PodStatus {
            phase: Some(words[2].into()),
            conditions: Some(ready.into_iter().collect()),
            container_statuses: counts("c", after("restarts=")),
            init_container_statuses: counts("s", after("sidecar=")).or(counts("i", after("init="))),
            ..Default::default()
        }),
    })
}

fn counts(name: &str, restarts: Option<&str>) -> Option<Vec<ContainerStatus>> {
    let restart_count = restarts?.parse().unwrap();
    Some(vec![ContainerStatus { name: name.into(), restart_count, ..Default::default() }])
}

fn check(replicas: i32, text: &str, related: &str, expected: &[&str]) {
    let found = match scale(&set(replicas), &pods(text), || pods(related), at(NOW)) {
        Scale::Keep => Vec::new(),
        Scale::Create(n) => vec![format!("create {n}")],
        Scale::Delete(pods) => pods.iter().map(|p| p.metadata.name.clone().unwrap()).collect(),
    };
    assert_eq!(found, expected);
}

#[test]
fn how_many() {
    check(3, "a x Running 9", "", &["create 2"]);
    check(1, "a x Running 9", "", &[]);
    check(600, "", "", &["create 500"]);
}

#[test]
fn unassigned_then_pending_then_unready_go_first() {
    check(0, "a x Running 9", "", &["a"]);
    check(
        1,
        "ready x Running 90 ready=80
         unready x Running 90
         pending x Pending 90
         unassigned - Pending 90",
        "",
        &["unassigned", "pending", "unready"],
    );
}

#[test]
fn deletion_cost_then_crowded_nodes_then_youth() {
    check(1, "dear x Running 90 ready=80 cost=10\n cheap x Running 90 ready=80 cost=-5", "", &["cheap"]);
    check(
        1,
        "alone y Running 90 ready=80\n crowded x Running 90 ready=80",
        "crowded x Running 90 ready=80\n other x Running 90 ready=80\n alone y Running 90 ready=80",
        &["crowded"],
    );
    check(1, "old x Running 9000 ready=9000\n young x Running 90 ready=10", "", &["young"]);
    check(1, "b x Running 90 ready=80\n a x Running 90 ready=81", "", &["a"]);
}

#[test]
fn restarts_decide_only_between_pods_ready_at_the_same_time() {
    check(1, "a x Running 90 ready=80\n b x Running 90 ready=80 restarts=3", "", &["b"]);
    check(1, "a x Running 90 ready=80\n b x Running 90 ready=81 restarts=3", "", &["a"]);
    check(1, "a x Running 90 ready=80\n b x Running 90 ready=80 sidecar=3", "", &["b"]);
    check(1, "b x Running 91 ready=80 init=3\n a x Running 90 ready=80", "", &["a"]);
    check(1, "b x Running 90 restarts=1\n a x Running 9 restarts=4", "", &["a"]);
}

#[test]
fn the_status_counts_and_reports_failure() {
    let mut set = set(2);
    set.spec.as_mut().unwrap().min_ready_seconds = Some(30);
    let pods = pods("a x Running 90 ready=80\n b x Running 90 ready=10\n c x Pending 5");
    let first = status(&set, &pods, Some(1), Some("quota"), at(NOW));
    assert_eq!((first.replicas, first.ready_replicas, first.available_replicas), (3, Some(2), Some(1)));
    assert_eq!(first.terminating_replicas, Some(1));
    assert_eq!(first.conditions.as_ref().unwrap()[0].reason.as_deref(), Some("FailedDelete"));
    set.status = Some(first.clone());
    assert!(!status_differs(&set, &status(&set, &pods, Some(1), Some("quota"), at(NOW + 5))));
    let healed = status(&set, &pods, Some(1), None, at(NOW));
    assert_eq!(healed.conditions, None);
}

#[test]
fn pods_are_named_after_and_owned_by_the_set() {
    let pod = pod_of(&set(1), gantry_reconcile::ownership::controller_ref(&set(1)));
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-"));
    let owner = &pod.metadata.owner_references.unwrap()[0];
    assert_eq!(
        (owner.uid.as_str(), owner.controller, owner.block_owner_deletion),
        ("u", Some(true), Some(true))
    );
    assert_eq!((owner.api_version.as_str(), owner.kind.as_str()), ("apps/v1", "ReplicaSet"));
}
