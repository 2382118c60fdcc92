use super::claims::{self, PodRef};
use super::plan::{Act, ClaimStep, Plan, Revision, Snapshot, plan};
use super::{identity, status};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetOrdinals,
    StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetStatus,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaim, Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use std::collections::HashMap;
use std::sync::Arc;

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn after<'a>(words: &[&'a str], prefix: &str) -> Option<&'a str> {
    words.iter().find_map(|w| w.strip_prefix(prefix))
}

fn template(image: &str) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some([("app".into(), "web".into())].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![Container { image: Some(image.into()), ..Container::default() }],
            ..PodSpec::default()
        }),
    }
}

/// `<replicas> [parallel] [onDelete] [partition=n] [max=n] [start=n] [minReady=n] [claims] [deleted=Delete]
/// [scaled=Delete] [going]`
fn set(text: &str) -> StatefulSet {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |prefix| after(&words, prefix).map(|n| n.parse::<i32>().unwrap());
    let max = after(&words, "max=")
        .map(|m| m.parse().map_or_else(|_| IntOrString::String(m.into()), IntOrString::Int));
    let claim = PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some("data".into()), ..ObjectMeta::default() },
        ..PersistentVolumeClaim::default()
    };
    StatefulSet {
        metadata: ObjectMeta {
            name: Some("web".into()),
            namespace: Some("n".into()),
            uid: Some("set".into()),
            generation: Some(2),
            deletion_timestamp: words.contains(&"going").then(|| Time(at(NOW))),
            ..ObjectMeta::default()
        },
        spec: Some(StatefulSetSpec {
            replicas: Some(words[0].parse().unwrap()),
            pod_management_policy: words.contains(&"parallel").then(|| "Parallel".into()),
            min_ready_seconds: number("minReady="),
            ordinals: number("start=").map(|n| StatefulSetOrdinals { start: Some(n) }),
            service_name: Some("svc".into()),
            selector: LabelSelector {
                match_labels: Some([("app".into(), "web".into())].into()),
                match_expressions: None,
            },
            update_strategy: Some(if words.contains(&"onDelete") {
                StatefulSetUpdateStrategy { type_: Some("OnDelete".into()), rolling_update: None }
            } else {
                StatefulSetUpdateStrategy {
                    type_: Some("RollingUpdate".into()),
                    rolling_update: Some(RollingUpdateStatefulSetStrategy {
                        partition: Some(number("partition=").unwrap_or(0)),
                        max_unavailable: max,
                    }),
                }
            }),
            volume_claim_templates: words.contains(&"claims").then(|| vec![claim]),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(after(&words, "deleted=").unwrap_or("Retain").into()),
                when_scaled: Some(after(&words, "scaled=").unwrap_or("Retain").into()),
            }),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// `<ordinal> <phase> [ready=<seconds>] [rev=<name>] [going] [nameless] [unmounted]`; ready for 100 seconds
/// where it is `Ready`.
fn pods(set: &StatefulSet, text: &str) -> Vec<Arc<Pod>> {
    text.split(',').map(str::trim).filter(|l| !l.is_empty()).map(|line| Arc::new(pod(set, line))).collect()
}

fn pod(set: &StatefulSet, line: &str) -> Pod {
    let words: Vec<&str> = line.split_whitespace().collect();
    let revision = after(&words, "rev=").unwrap_or("new");
    let mut pod = identity::new_pod(set, &template(revision), revision, words[0].parse().unwrap());
    let age = after(&words, "ready=").map(|a| a.parse().unwrap()).or((words[1] == "Ready").then_some(100));
    pod.metadata.uid = Some(format!("uid-{}", words[0]));
    pod.metadata.deletion_timestamp = words.contains(&"going").then(|| Time(at(NOW)));
    if words.contains(&"nameless") {
        pod.metadata.labels.as_mut().unwrap().remove(identity::POD_NAME);
    }
    if words.contains(&"unmounted") {
        pod.spec.as_mut().unwrap().volumes = None;
    }
    pod.status = Some(PodStatus {
        phase: Some(if words[1] == "Ready" { "Running" } else { words[1] }.into()),
        conditions: age.map(|age: i64| {
            vec![PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                last_transition_time: Some(Time(at(NOW - age))),
                ..PodCondition::default()
            }]
        }),
        ..PodStatus::default()
    });
    pod
}

/// `<ordinal> [going] [owner=<Kind>/<name>/<uid>] [loose]`, the latter for an owner that does not control.
fn claims_of(text: &str) -> HashMap<String, Arc<PersistentVolumeClaim>> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = format!("data-web-{}", words[0]);
        let owners = words.iter().filter_map(|w| w.strip_prefix("owner=")).map(|owner| {
            let parts: Vec<&str> = owner.split('/').collect();
            OwnerReference {
                api_version: if parts[0] == "Pod" { "v1" } else { "apps/v1" }.into(),
                kind: parts[0].into(),
                name: parts[1].into(),
                uid: parts[2].into(),
                controller: (!words.contains(&"loose")).then_some(true),
                block_owner_deletion: None,
            }
        });
        let owners: Vec<_> = owners.collect();
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                deletion_timestamp: words.contains(&"going").then(|| Time(at(NOW))),
                owner_references: (!owners.is_empty()).then_some(owners),
                ..ObjectMeta::default()
            },
            ..PersistentVolumeClaim::default()
        };
        (name, Arc::new(claim))
    };
    text.split(',').map(str::trim).filter(|l| !l.is_empty()).map(one).collect()
}

fn run(set: &StatefulSet, pods_text: &str, claims_text: &str) -> Plan {
    let revision = |name: &str| Revision { name: name.into(), template: template(name) };
    let snapshot = Snapshot {
        set,
        pods: pods(set, pods_text),
        claims: claims_of(claims_text),
        current: revision("old"),
        update: revision("new"),
        collisions: 0,
    };
    plan(&snapshot, at(NOW))
}

fn describe(plan: &Plan) -> Vec<String> {
    let mut said = Vec::new();
    for task in plan.phases.iter().flat_map(|p| &p.tasks) {
        said.extend(task.claims.iter().map(|step| match step {
            ClaimStep::Create(claim) => format!("claim {}", claim.metadata.name.as_deref().unwrap()),
            ClaimStep::Going(name) => format!("wait for {name}"),
        }));
        said.extend(match &task.act {
            Act::None => None,
            Act::Create(pod) => Some(format!("create {} {}", task.ordinal, identity::revision(pod))),
            Act::Mend { storage, .. } => Some(format!("mend {} {storage}", task.ordinal)),
            Act::Delete(_) => Some(format!("delete {}", task.ordinal)),
        });
        said.extend(task.owners.iter().map(|step| {
            let owners = step.update.as_ref().map(|c| {
                let refs = c.metadata.owner_references.iter().flatten();
                refs.map(|r| r.uid.clone()).collect::<Vec<_>>()
            });
            format!("own {} {owners:?}{}", step.claim, if step.conflicting { " conflict" } else { "" })
        }));
    }
    said
}

fn check(set_text: &str, pods: &str, expected: &[&str]) {
    assert_eq!(describe(&run(&set(set_text), pods, "")), expected, "{set_text}: {pods}");
}

#[test]
fn an_ordered_set_grows_one_by_one() {
    check("3", "", &["create 0 new"]);
    check("3", "0 Pending", &[]);
    check("3", "0 Running", &[]);
    check("3", "0 Ready", &["create 1 new"]);
    check("3", "0 Ready, 1 Ready going", &[]);
    check("3", "0 Ready, 2 Ready", &["create 1 new"]);
    check("3", "0 Ready, 1 Ready, 2 Ready", &[]);
    check("2 minReady=30", "0 Ready ready=10", &[]);
    check("2 minReady=30", "0 Ready ready=30", &["create 1 new"]);
    check("2 start=5", "", &["create 5 new"]);
    check("2 start=5", "5 Ready", &["create 6 new"]);
    check("2 going", "", &[]);
}

#[test]
fn an_ordered_set_shrinks_from_the_end_when_all_are_well() {
    check("1", "0 Ready, 1 Ready, 2 Ready", &["delete 2"]);
    check("1", "0 Ready, 1 Ready, 2 Ready going", &[]);
    check("1", "0 Ready, 1 Running, 2 Ready", &["delete 2"]);
    check("1", "0 Ready, 1 Running, 2 Running", &[]);
    check("1", "0 Ready, 1 Ready, 2 Running", &["delete 2"]);
    check("1", "0 Running, 1 Ready", &[]);
    check("0", "0 Running", &["delete 0"]);
    check("1 start=5", "0 Ready, 5 Ready, 6 Ready", &["delete 6"]);
    check("1 start=5", "0 Ready, 5 Ready", &["delete 0"]);
}

#[test]
fn a_parallel_set_does_all_at_once() {
    check("3 parallel", "", &["create 0 new", "create 1 new", "create 2 new"]);
    check("3 parallel", "0 Pending", &["create 1 new", "create 2 new"]);
    check("1 parallel", "0 Running, 1 Running, 2 Ready going, 3 Ready", &["delete 3", "delete 1"]);
    check("2 parallel", "0 Failed, 2 Ready", &["delete 0", "create 1 new", "delete 2"]);
    assert!(run(&set("2 parallel"), "", "").phases[0].burst);
}

#[test]
fn pods_that_ended_are_made_anew() {
    check("2", "0 Failed, 1 Ready", &["delete 0"]);
    check("2", "0 Succeeded, 1 Ready", &["delete 0"]);
    check("2", "0 Failed going, 1 Ready", &[]);
    check("2 onDelete", "0 Ready rev=old, 1 Failed rev=old", &["delete 1"]);
}

#[test]
fn updates_go_from_the_end_and_wait() {
    let old = "0 Ready rev=old, 1 Ready rev=old, 2 Ready rev=old";
    check("3", old, &["delete 2"]);
    check("3", "0 Ready rev=old, 1 Ready rev=old, 2 Ready", &["delete 1"]);
    check("3", "0 Ready rev=old, 1 Ready rev=old, 2 Running", &[]);
    check("3", "0 Ready rev=old, 1 Ready rev=old, 2 Ready rev=old going", &[]);
    check("3 onDelete", old, &[]);
    check("3 partition=2", old, &["delete 2"]);
    check("3 partition=2", "0 Ready rev=old, 1 Ready rev=old, 2 Ready", &[]);
    check("3 partition=2", "1 Ready rev=old, 2 Ready", &["create 0 old"]);
    check("3 partition=1", "0 Ready rev=old, 2 Ready", &["create 1 new"]);
    check("3 partition=1 start=4", "4 Ready rev=old, 6 Ready", &["create 5 new"]);
    check("3 partition=1 start=4", "5 Ready, 6 Ready", &["create 4 old"]);
    // A broken pod of the old revision holds an ordered update up, and not a parallel one.
    check("3", "0 Running rev=old, 1 Ready rev=old, 2 Ready rev=old", &[]);
    check("3 parallel", "0 Running rev=old, 1 Ready rev=old, 2 Ready rev=old", &["delete 2"]);
    check("3 parallel", "0 Ready rev=old, 1 Running rev=old, 2 Ready", &["delete 1"]);
}

#[test]
fn max_unavailable_allows_several_at_once() {
    let old = "0 Ready rev=old, 1 Ready rev=old, 2 Ready rev=old, 3 Ready rev=old";
    check("4 max=2", old, &["delete 3", "delete 2"]);
    check("4 max=50%", old, &["delete 3", "delete 2"]);
    check("4 max=10%", old, &["delete 3"]);
    check("4 max=9 partition=2", old, &["delete 3", "delete 2"]);
    let half = "0 Ready rev=old, 1 Ready rev=old, 2 Ready rev=old, 3 Running";
    check("4 max=2 parallel", half, &["delete 2"]);
    check("4 max=1 parallel", half, &[]);
    assert!(run(&set("4 max=2"), old, "").phases[0].rolling);
}

#[test]
fn identity_and_volumes_are_mended() {
    check("1", "0 Ready nameless", &["mend 0 false"]);
    let found = run(&set("1 claims"), "0 Ready unmounted", "");
    assert_eq!(describe(&found), ["claim data-web-0", "mend 0 true"]);
    let found = run(&set("1 claims"), "0 Ready unmounted", "0");
    assert_eq!(describe(&found), ["mend 0 true"]);
}

fn check_claims(set_text: &str, pods: &str, claims: &str, expected: &[&str]) {
    assert_eq!(describe(&run(&set(set_text), pods, claims)), expected, "{set_text}: {pods}: {claims}");
}

#[test]
fn claims_come_before_their_pods() {
    check_claims("1 claims", "", "", &["claim data-web-0", "create 0 new"]);
    check_claims("1 claims", "", "0", &["create 0 new"]);
    check_claims("1 claims", "", "0 going", &["wait for data-web-0", "create 0 new"]);
    check_claims("1 claims", "0 Pending", "", &["claim data-web-0"]);
    check_claims("1 claims", "0 Ready", "", &[]);
    // An earlier pod's claim is about to go with it.
    check_claims("1 claims scaled=Delete", "", "0 owner=Pod/web-0/earlier", &[]);
    check_claims("1 claims", "", "0 owner=Pod/web-0/earlier", &["create 0 new"]);
}

#[test]
fn the_retention_policy_says_who_owns_claims() {
    let own = |owners: &str| format!("own data-web-0 Some([{owners}])");
    check_claims("1 claims", "0 Ready", "0", &[]);
    check_claims("1 claims", "0 Ready", "0 owner=StatefulSet/web/set", &["mend 0 false", &own("")]);
    check_claims("1 claims deleted=Delete", "0 Ready", "0", &["mend 0 false", &own("\"set\"")]);
    check_claims("1 claims deleted=Delete", "0 Ready", "0 owner=StatefulSet/web/set", &[]);
    check_claims(
        "1 claims deleted=Delete",
        "0 Ready",
        "0 loose owner=StatefulSet/web/set",
        &["mend 0 false", &own("\"set\"")],
    );
    check_claims("1 claims scaled=Delete", "0 Ready", "0", &[]);
    check_claims("0 claims scaled=Delete", "0 Ready", "0", &[&own("\"uid-0\""), "delete 0"]);
    check_claims(
        "0 claims scaled=Delete deleted=Delete",
        "0 Ready",
        "0 owner=StatefulSet/web/set",
        &[&own("\"uid-0\""), "delete 0"],
    );
    check_claims("0 claims scaled=Delete", "0 Ready", "0 owner=Pod/web-0/uid-0", &["delete 0"]);
    // Another's claim is left alone, but for what was ours of it.
    check_claims("1 claims deleted=Delete", "0 Ready", "0 owner=Other/x/y", &[]);
    check_claims(
        "1 claims deleted=Delete",
        "0 Ready",
        "0 owner=Other/x/y owner=StatefulSet/web/set",
        &["mend 0 false", "own data-web-0 Some([\"y\"]) conflict"],
    );
    check_claims("1 claims deleted=Delete", "0 Ready", "0 owner=StatefulSet/web/earlier", &[]);
}

#[test]
fn claims_are_named_and_labelled_for_the_set() {
    let set = set("1 claims");
    let claim = claims::new_claim(&set, &claims::templates(&set)[0], 3);
    assert_eq!(claim.metadata.name.as_deref(), Some("data-web-3"));
    assert_eq!(claim.metadata.namespace.as_deref(), Some("n"));
    assert_eq!(claim.metadata.labels.unwrap()["app"], "web");
    let pod = pod(&set, "0 Ready");
    assert!(!claims::must_wait(&set, &PersistentVolumeClaim::default(), PodRef::of(&pod, 0)));
}

#[test]
fn pods_know_who_they_are() {
    let set = set("1 claims");
    let pod = identity::new_pod(&set, &template("x"), "web-abc", 4);
    let labels = pod.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "web-4");
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "4");
    assert_eq!((labels["controller-revision-hash"].as_str(), labels["app"].as_str()), ("web-abc", "web"));
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-4"), Some("svc")));
    assert!(identity::storage_matches(&set, &pod, 4) && !identity::storage_matches(&set, &pod, 3));
    assert!(identity::is_member(&set, &pod));
    for (name, expected) in [
        ("web-4", Some(("web", Some(4)))),
        ("a-b-10", Some(("a-b", Some(10)))),
        ("web-99999999999", Some(("web", None))),
        ("web-x", None),
        ("web-", None),
        ("web", None),
    ] {
        assert_eq!(identity::parse(name), expected, "{name}");
    }
}

/// `replicas ready available current updated`, and the current revision.
fn check_status(set_text: &str, pods: &str, expected: ([i32; 5], &str)) {
    let set = set(set_text);
    let plan = run(&set, pods, "");
    let rolled = plan.phases.iter().filter(|p| p.rolling).map(|p| p.tasks.len()).sum();
    let status = status::finish(&set, plan.status, rolled);
    let n = |v: Option<i32>| v.unwrap_or(0);
    let counts = [
        status.replicas,
        n(status.ready_replicas),
        n(status.available_replicas),
        n(status.current_replicas),
        n(status.updated_replicas),
    ];
    assert_eq!((counts, status.current_revision.as_deref().unwrap()), expected, "{set_text}: {pods}");
    assert_eq!((status.observed_generation, status.collision_count), (Some(2), Some(0)));
}

#[test]
fn the_status_counts() {
    check_status("3", "", ([0, 0, 0, 0, 0], "old"));
    check_status("3", "0 Ready, 1 Running, 2 Pending", ([3, 1, 1, 0, 3], "old"));
    check_status("2 minReady=30", "0 Ready ready=10, 1 Ready", ([2, 2, 1, 2, 2], "new"));
    check_status("2", "0 Ready rev=old, 1 Ready rev=old", ([2, 2, 2, 1, 0], "old"));
    check_status("2", "0 Ready rev=old, 1 Ready going rev=old", ([2, 2, 2, 1, 0], "old"));
    check_status("2", "0 Ready, 1 Ready", ([2, 2, 2, 2, 2], "new"));
    check_status("2 onDelete", "0 Ready, 1 Ready", ([2, 2, 2, 0, 2], "old"));
    check_status("1", "0 Ready, 1 Ready", ([2, 2, 2, 0, 2], "old"));
    check_status("1", "0 Ready rev=adopted", ([1, 1, 1, 0, 0], "old"));
}

#[test]
fn the_status_is_written_when_it_says_something_new() {
    let mut set = set("1");
    let status = run(&set, "0 Ready", "").status;
    assert!(status::differs(&set, &status));
    set.status = Some(StatefulSetStatus { current_replicas: Some(0), ..status.clone() });
    assert!(!status::differs(&set, &status));
    assert!(status::differs(&set, &run(&set, "0 Running", "").status));
}

#[test]
fn a_pod_about_to_be_available_is_awaited() {
    let next = |text: &str| run(&set("2 minReady=30"), text, "").next.map(|d| d.as_secs());
    assert_eq!(next("0 Ready ready=10, 1 Ready ready=20"), Some(10));
    assert_eq!(next("0 Ready, 1 Ready"), None);
}
