use super::backoff::Backoff;
use super::eligible::{Demands, Verdict, tolerations};
use super::plan::{Plan, Snapshot, plan};
use super::revisions::{self, Present};
use super::{pods, status};
use crate::workloads::history;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
};
use k8s_openapi::api::core::v1::{
    Affinity, Container, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    NodeSpec, Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use std::sync::Arc;
use std::time::Duration;

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn after<'a>(words: &[&'a str], prefix: &str) -> Option<&'a str> {
    words.iter().find_map(|w| w.strip_prefix(prefix))
}

/// `[node=<name>] [select=<k>:<v>] [affinity=<k>:<operator>:<v>] [tolerate=<key>:<operator>:<value>:<effect>]
/// [hostNetwork]`
fn template(text: &str) -> PodTemplateSpec {
    let words: Vec<&str> = text.split_whitespace().collect();
    let affinity = after(&words, "affinity=").map(|a| {
        let parts: Vec<&str> = a.split(':').collect();
        let requirement = NodeSelectorRequirement {
            key: parts[0].into(),
            operator: parts[1].into(),
            values: parts.get(2).map(|v| v.split('|').map(str::to_owned).collect()),
        };
        let field = parts[0] == "metadata.name";
        let term = NodeSelectorTerm {
            match_fields: field.then(|| vec![requirement.clone()]),
            match_expressions: (!field).then(|| vec![requirement]),
        };
        Affinity {
            node_affinity: Some(NodeAffinity {
                required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                    node_selector_terms: vec![term],
                }),
                ..NodeAffinity::default()
            }),
            ..Affinity::default()
        }
    });
    let toleration = after(&words, "tolerate=").map(|t| {
        let parts: Vec<&str> = t.split(':').collect();
        let word = |n: usize| (!parts[n].is_empty()).then(|| parts[n].to_owned());
        vec![Toleration {
            key: word(0),
            operator: word(1),
            value: word(2),
            effect: word(3),
            toleration_seconds: None,
        }]
    });
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some([("app".into(), "agent".into())].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![Container {
                image: after(&words, "image=").map(Into::into),
                ..Container::default()
            }],
            node_name: after(&words, "node=").map(Into::into),
            node_selector: after(&words, "select=")
                .and_then(|s| s.split_once(':'))
                .map(|(k, v)| [(k.to_owned(), v.to_owned())].into()),
            affinity,
            tolerations: toleration,
            host_network: words.contains(&"hostNetwork").then_some(true),
            ..PodSpec::default()
        }),
    }
}

/// `<name> [k:v]... [taint=<key>:<value>:<effect>]...`
fn node(text: &str) -> Arc<Node> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let taints = words.iter().filter_map(|w| w.strip_prefix("taint=")).map(|t| {
        let parts: Vec<&str> = t.split(':').collect();
        Taint {
            key: parts[0].into(),
            value: Some(parts[1].into()).filter(|v: &String| !v.is_empty()),
            effect: parts[2].into(),
            time_added: None,
        }
    });
    let labels = words[1..].iter().filter(|w| !w.starts_with("taint=")).filter_map(|w| w.split_once(':'));
    Arc::new(Node {
        metadata: ObjectMeta {
            name: Some(words[0].into()),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: Some(taints.collect()), ..NodeSpec::default() }),
        status: None,
    })
}

fn judge(demands: &str, on: &str, expected: Verdict) {
    assert_eq!(Demands::of(Some(&template(demands))).judge(&node(on)), expected, "{demands}: {on}");
}

#[test]
fn nodes_are_chosen_by_name_labels_and_taints() {
    use Verdict::{Leave, Run, Stay};
    judge("", "a", Run);
    judge("node=a", "a", Run);
    judge("node=b", "a", Leave);
    judge("select=disk:ssd", "a disk:ssd", Run);
    judge("select=disk:ssd", "a disk:hdd", Leave);
    judge("affinity=disk:In:ssd|nvme", "a disk:nvme", Run);
    judge("affinity=disk:NotIn:ssd", "a disk:ssd", Leave);
    judge("affinity=disk:NotIn:ssd", "a", Run);
    judge("affinity=disk:Exists", "a", Leave);
    judge("affinity=disk:DoesNotExist", "a", Run);
    judge("affinity=cores:Gt:4", "a cores:8", Run);
    judge("affinity=cores:Lt:4", "a cores:8", Leave);
    judge("affinity=cores:Gt:4", "a cores:many", Leave);
    judge("affinity=metadata.name:In:a", "a", Run);
    judge("affinity=metadata.name:In:b", "a", Leave);
    judge("", "a taint=own::NoSchedule", Stay);
    judge("", "a taint=own::NoExecute", Leave);
    judge("", "a taint=own::PreferNoSchedule", Run);
    judge("", "a taint=own::NoSchedule taint=other::NoExecute", Leave);
    judge("tolerate=own:Exists::", "a taint=own:x:NoExecute", Run);
    judge("tolerate=own:Equal:x:NoSchedule", "a taint=own:x:NoSchedule", Run);
    judge("tolerate=own:Equal:y:NoSchedule", "a taint=own:x:NoSchedule", Stay);
    judge("tolerate=own:Gt:1:NoSchedule", "a taint=own:2:NoSchedule", Stay);
    judge("tolerate=:Exists::", "a taint=own:x:NoExecute", Run);
    judge("", "a taint=node.kubernetes.io/unschedulable::NoSchedule", Run);
    judge("", "a taint=node.kubernetes.io/not-ready::NoExecute", Run);
    judge("", "a taint=node.kubernetes.io/not-ready::NoSchedule", Stay);
    judge("", "a taint=node.kubernetes.io/network-unavailable::NoSchedule", Stay);
    judge("hostNetwork", "a taint=node.kubernetes.io/network-unavailable::NoSchedule", Run);
}

#[test]
fn known_tolerations_are_not_doubled() {
    let count = |text: &str| tolerations(template(text).spec.as_ref().unwrap()).len();
    assert_eq!(count(""), 6);
    assert_eq!(count("hostNetwork"), 7);
    assert_eq!(count("tolerate=node.kubernetes.io/not-ready:Exists::NoExecute"), 6);
    assert_eq!(count("tolerate=own:Exists::"), 7);
}

/// `[max=<n>] [surge=<n>] [onDelete] [minReady=<n>] [select=...]`
fn set(text: &str) -> DaemonSet {
    let words: Vec<&str> = text.split_whitespace().collect();
    let value = |prefix: &str, otherwise: &str| {
        let text = after(&words, prefix).unwrap_or(otherwise);
        Some(text.parse().map_or_else(|_| IntOrString::String(text.into()), IntOrString::Int))
    };
    let kind = if words.contains(&"onDelete") { "OnDelete" } else { "RollingUpdate" };
    DaemonSet {
        metadata: ObjectMeta {
            name: Some("agent".into()),
            namespace: Some("n".into()),
            uid: Some("set".into()),
            generation: Some(3),
            ..ObjectMeta::default()
        },
        spec: Some(DaemonSetSpec {
            template: template(text),
            min_ready_seconds: after(&words, "minReady=").map(|n| n.parse().unwrap()),
            revision_history_limit: Some(1),
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some(kind.into()),
                rolling_update: (kind == "RollingUpdate").then(|| RollingUpdateDaemonSet {
                    max_unavailable: value("max=", "1"),
                    max_surge: value("surge=", "0"),
                }),
            }),
            ..DaemonSetSpec::default()
        }),
        status: None,
    }
}

/// `<name> <node, or ->node> <phase, or Ready> [age=<n>] [ready=<n>] [rev=<hash>] [going]`
fn daemon_pods(set: &DaemonSet, text: &str) -> Vec<Arc<Pod>> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let revision = after(&words, "rev=").unwrap_or("new");
        let mut pod = pods::new_pod(set, words[1].trim_start_matches('>'), revision);
        pod.metadata.name = Some(words[0].into());
        let age: i64 = after(&words, "age=").map_or(100, |a| a.parse().unwrap());
        pod.metadata.creation_timestamp = Some(Time(at(NOW - age)));
        pod.metadata.deletion_timestamp = words.contains(&"going").then(|| Time(at(NOW)));
        if !words[1].starts_with('>') {
            pod.spec.as_mut().unwrap().node_name = Some(words[1].into());
        }
        let ready = after(&words, "ready=").map(|a| a.parse().unwrap());
        let ready: Option<i64> = ready.or((words[2] == "Ready").then_some(100));
        pod.status = Some(PodStatus {
            phase: Some(if words[2] == "Ready" { "Running" } else { words[2] }.into()),
            conditions: ready.map(|age| {
                vec![PodCondition {
                    type_: "Ready".into(),
                    status: "True".into(),
                    last_transition_time: Some(Time(at(NOW - age))),
                    ..PodCondition::default()
                }]
            }),
            ..PodStatus::default()
        });
        Arc::new(pod)
    };
    text.split(',').map(str::trim).filter(|l| !l.is_empty()).map(one).collect()
}

fn run(set: &DaemonSet, nodes: &str, pods: &str, backoff: &mut Backoff) -> Plan {
    let snapshot = Snapshot {
        set,
        nodes: nodes.split(',').map(str::trim).filter(|n| !n.is_empty()).map(node).collect(),
        pods: daemon_pods(set, pods),
        revision: "new",
    };
    plan(&snapshot, backoff, at(NOW))
}

/// `+node` for creations, `-pod` for deletions.
fn describe(plan: &Plan) -> Vec<String> {
    let made = plan.create.iter().map(|n| format!("+{n}"));
    made.chain(plan.delete.iter().map(|p| format!("-{}", p.metadata.name.as_deref().unwrap()))).collect()
}

fn check(set_text: &str, nodes: &str, pods: &str, expected: &[&str]) {
    let plan = run(&set(set_text), nodes, pods, &mut Backoff::default());
    assert_eq!(describe(&plan), expected, "{set_text}: {nodes}: {pods}");
}

#[test]
fn every_wanted_node_gets_one_pod() {
    check("", "", "", &[]);
    check("", "a, b, c", "", &["+a", "+b", "+c"]);
    check("", "a, b", "p a Ready", &["+b"]);
    check("", "a, b", "p >a Pending, q b Running", &[]);
    check("", "a", "p a Running going", &[]);
    check("", "a", "p a Failed going", &["+a"]);
    check("select=k:v", "a k:v, b", "", &["+a"]);
    let many: Vec<String> = (0..300).map(|n| format!("n{n}")).collect();
    assert_eq!(run(&set(""), &many.join(","), "", &mut Backoff::default()).create.len(), 250);
}

#[test]
fn surplus_pods_go_the_oldest_stays() {
    check("", "a", "old a Ready age=90, young a Ready age=10", &["-young"]);
    check("", "a", "old >a Pending age=90, young a Ready age=10", &["-old"]);
    check("select=k:v", "a", "p a Ready", &["-p"]);
    check("", "a taint=t::NoExecute", "p a Ready", &["-p"]);
    check("", "a taint=t::NoSchedule", "p a Ready", &[]);
    check("", "a taint=t::NoSchedule", "", &[]);
    check("", "", "lost >gone Pending, there gone Ready", &["-lost"]);
}

#[test]
fn ended_pods_are_replaced_with_growing_waits() {
    check("", "a", "p a Succeeded", &["-p"]);
    let (set, mut backoff) = (set(""), Backoff::default());
    let first = run(&set, "a", "p a Failed", &mut backoff);
    assert_eq!(describe(&first), ["-p"]);
    assert_eq!(first.events[0].1, "FailedDaemonPod");
    assert_eq!(first.events[0].2, "Found failed daemon pod n/p on node a, will try to kill it");
    let second = run(&set, "a", "p a Failed", &mut backoff);
    assert_eq!((describe(&second).len(), second.next), (0, Some(Duration::from_secs(1))));
    let mut waits = Backoff::default();
    let mut admit = |second: i64| waits.admit("k".into(), at(second)).err().map(|d| d.as_secs());
    assert_eq!((admit(0), admit(0), admit(1), admit(2), admit(3)), (None, Some(1), None, Some(2), None));
    assert_eq!((admit(6), admit(7)), (Some(4), None));
    assert_eq!((admit(7 + 1801), admit(7 + 1801)), (None, Some(1)));
}

#[test]
fn updates_replace_as_many_as_may_be_missing() {
    let all = "a, b, c, d";
    let old = "pa a Ready rev=old, pb b Ready rev=old, pc c Ready rev=old, pd d Ready rev=old";
    check("max=1", all, old, &["-pa"]);
    check("max=2", all, old, &["-pa", "-pb"]);
    check("max=50%", all, old, &["-pa", "-pb"]);
    check("max=0", all, old, &["-pa"]);
    check("onDelete", all, old, &[]);
    check("max=1", "a, b", "pa a Ready, pb b Ready rev=old", &["-pb"]);
    check("max=1", "a, b", "pa a Running, pb b Ready rev=old", &[]);
    check("max=1", "a, b", "pa a Running rev=old, pb b Ready rev=old", &["-pa"]);
    check("max=1", "a, b", "pa a Ready rev=old going, pb b Ready rev=old", &[]);
    check("max=1 minReady=50", "a, b", "pa a Ready ready=10, pb b Ready rev=old", &[]);
    // What is missing comes before what is old.
    check("max=1", "a, b, c", "pa a Ready rev=old, pb b Ready rev=old", &["+c"]);
}

#[test]
fn updates_with_surge_add_before_they_take() {
    let old = "pa a Ready rev=old, pb b Ready rev=old";
    check("surge=1 max=0", "a, b", old, &["+a"]);
    check("surge=100% max=0", "a, b", old, &["+a", "+b"]);
    check("surge=1 max=0", "a, b", &format!("{old}, na a Running"), &[]);
    check("surge=1 max=0", "a, b", &format!("{old}, na a Ready"), &["-pa"]);
    check("surge=1 max=0", "a, b", "pa a Running rev=old, pb b Ready rev=old", &["+a", "+b"]);
    check("surge=1 max=0 minReady=50", "a", "pa a Ready rev=old, na a Ready ready=10", &[]);
    check("surge=1 max=0", "a", "pa a Running rev=old, na a Running", &["-pa"]);
    check("surge=1 max=0", "a", "pa a Running rev=old going", &["+a"]);
    check("surge=1 max=0", "a", "x a Ready age=9, y a Ready age=5", &["-y"]);
    // On a node the set no longer wants, an old pod goes once enough others are available.
    let tainted = "a taint=t::NoSchedule, b";
    check("surge=1 max=0", tainted, "pa a Ready rev=old, pb b Ready", &["-pa"]);
    check("surge=1 max=0", tainted, "pa a Ready rev=old, pb b Running", &[]);
    check("surge=1 max=0", tainted, "pa a Running rev=old, pb b Ready", &["-pa"]);
}

/// `desired current misscheduled ready available unavailable updated`
fn check_status(set_text: &str, nodes: &str, pods: &str, expected: [i32; 7]) {
    let set = set(set_text);
    let status = run(&set, nodes, pods, &mut Backoff::default()).status;
    let n = |v: Option<i32>| v.unwrap_or(0);
    let counts = [
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_misscheduled,
        status.number_ready,
        n(status.number_available),
        n(status.number_unavailable),
        n(status.updated_number_scheduled),
    ];
    assert_eq!(counts, expected, "{set_text}: {nodes}: {pods}");
    assert_eq!(status.observed_generation, Some(3));
    assert!(status::differs(&set, &status));
    let written = DaemonSet { status: Some(status.clone()), ..set };
    assert!(!status::differs(&written, &status));
}

#[test]
fn the_status_counts() {
    check_status("", "a, b", "", [2, 0, 0, 0, 0, 2, 0]);
    check_status("", "a, b, c", "pa a Ready, pb b Running rev=old", [3, 2, 0, 1, 1, 2, 1]);
    check_status("", "a, b taint=t::NoSchedule", "pa a Ready, pb b Ready", [1, 1, 1, 1, 1, 0, 1]);
    check_status("minReady=50", "a", "pa a Ready ready=10", [1, 1, 0, 1, 0, 1, 1]);
    let next = run(&set("minReady=50"), "a", "pa a Ready ready=10", &mut Backoff::default()).next;
    assert_eq!(next, Some(Duration::from_secs(40)));
}

#[test]
fn pods_are_led_to_their_node() {
    let mut set = set("affinity=disk:In:ssd");
    set.metadata.annotations = Some([("deprecated.daemonset.template.generation".into(), "7".into())].into());
    let pod = pods::new_pod(&set, "a", "hash");
    let labels = pod.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["controller-revision-hash"], "hash");
    assert_eq!(labels["pod-template-generation"], "7");
    assert_eq!(pods::target(&pod), Some("a"));
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("agent-"));
    assert!(pods::is_updated(&set, &pod, "other"), "the generation is the same");
    set.metadata.annotations = None;
    assert!(!pods::is_updated(&set, &pod, "other") && pods::is_updated(&set, &pod, "hash"));
    assert_eq!(pods::target(&Pod::default()), None);
}

/// `<name> <image> <number>`
fn revisions_of(text: &str) -> Vec<Arc<ControllerRevision>> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Arc::new(ControllerRevision {
            metadata: ObjectMeta {
                name: Some(words[0].into()),
                labels: Some([(history::POD_REVISION.to_owned(), words[0].to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(history::data(&template(&format!("image={}", words[1])))),
            revision: words[2].parse().unwrap(),
        })
    };
    text.split(',').map(str::trim).filter(|l| !l.is_empty()).map(one).collect()
}

fn check_revisions(known: &str, expected: &str, old: &[&str]) {
    let sorted = revisions::sort(&set("image=new"), revisions_of(known));
    let found = match &sorted.present {
        Present::Create(revision) => format!("create {}", revision.revision),
        Present::Known { revision, renumber, duplicates } => format!(
            "{} {:?} {}",
            revisions::label(revision),
            renumber.as_ref().map(|r| r.revision),
            duplicates.len()
        ),
    };
    let names: Vec<_> = sorted.old.iter().map(|r| revisions::label(r)).collect();
    assert_eq!((found.as_str(), names.as_slice()), (expected, old), "{known}");
}

#[test]
fn revisions_are_told_apart() {
    check_revisions("", "create 1", &[]);
    check_revisions("x a 1, y b 2", "create 3", &["x", "y"]);
    check_revisions("x a 1, y new 2", "y None 0", &["x"]);
    check_revisions("x new 1, y b 2", "x Some(3) 0", &["y"]);
    check_revisions("x new 1, y new 2", "y None 1", &[]);
    let mut bare = ControllerRevision::clone(&revisions_of("x a 1")[0]);
    bare.metadata.labels = None;
    let sorted = revisions::sort(&set("image=new"), vec![Arc::new(bare)]);
    assert_eq!(revisions::label(&sorted.unlabelled[0]), "x");
}

#[test]
fn old_revisions_without_pods_go() {
    let set = set("");
    let names = |pods: &str| {
        let gone = revisions::surplus(&set, &revisions_of("x a 1, y b 2, z c 3"), &daemon_pods(&set, pods));
        gone.iter().map(|r| revisions::label(r).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["x", "y"]);
    assert_eq!(names("p a Ready rev=x"), ["y", "z"]);
}
