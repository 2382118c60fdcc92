use super::annotations;
use super::plan::{Plan, Sizes, Snapshot, Step, hash, plan};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus,
    RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use std::collections::HashMap;
use std::sync::Arc;

fn value(text: &str) -> IntOrString {
    text.parse().map_or_else(|_| IntOrString::String(text.into()), IntOrString::Int)
}

fn template(image: &str) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some([("app".into(), "web".into())].into()),
            ..Default::default()
        }),
        spec: Some(PodSpec {
            containers: vec![Container { image: Some(image.into()), ..Default::default() }],
            ..Default::default()
        }),
    }
}

fn deployment(replicas: i32, surge: &str, unavailable: &str) -> Deployment {
    Deployment {
        metadata: ObjectMeta {
            name: Some("web".into()),
            uid: Some("d".into()),
            generation: Some(1),
            annotations: Some([("deployment.kubernetes.io/revision".into(), "2".into())].into()),
            ..Default::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            selector: LabelSelector {
                match_labels: Some([("app".into(), "web".into())].into()),
                match_expressions: None,
            },
            template: template("new"),
            revision_history_limit: Some(1),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(value(surge)),
                    max_unavailable: Some(value(unavailable)),
                }),
            }),
            ..Default::default()
        }),
        status: None,
    }
}

/// `name revision size available [desired max]`; a name beginning with `new` has the wanted template.
fn sets(text: &str) -> Vec<Arc<ReplicaSet>> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    lines
        .enumerate()
        .map(|(n, line)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let size: i32 = words[2].parse().unwrap();
            let mut annotations = std::collections::BTreeMap::from([(
                "deployment.kubernetes.io/revision".to_owned(),
                words[1].to_owned(),
            )]);
            if words.len() > 5 {
                annotations.insert("deployment.kubernetes.io/desired-replicas".into(), words[4].into());
                annotations.insert("deployment.kubernetes.io/max-replicas".into(), words[5].into());
            }
            Arc::new(ReplicaSet {
                metadata: ObjectMeta {
                    name: Some(words[0].into()),
                    uid: Some(words[0].into()),
                    creation_timestamp: Some(Time(Timestamp::from_second(n as i64).unwrap())),
                    annotations: Some(annotations),
                    ..Default::default()
                },
                spec: Some(ReplicaSetSpec {
                    replicas: Some(size),
                    template: Some(template(if words[0].starts_with("new") { "new" } else { words[0] })),
                    ..Default::default()
                }),
                status: Some(ReplicaSetStatus {
                    replicas: size,
                    available_replicas: Some(words[3].parse().unwrap()),
                    ..Default::default()
                }),
            })
        })
        .collect()
}

fn run(deployment: Deployment, text: &str) -> Plan {
    let snapshot = Snapshot { deployment: Arc::new(deployment), sets: sets(text), pods: HashMap::new() };
    plan(&snapshot, Timestamp::from_second(1000).unwrap())
}

fn describe(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            Step::CreateSet { set, .. } => {
                Some(format!("create {}", set.spec.as_ref().unwrap().replicas.unwrap()))
            }
            Step::UpdateSet { set, message: Some(_) } => {
                let size = set.spec.as_ref().unwrap().replicas.unwrap();
                Some(format!("{} {size}", set.metadata.name.as_deref().unwrap()))
            }
            Step::UpdateSet { message: None, set } => {
                Some(format!("annotate {}", set.metadata.name.as_deref().unwrap()))
            }
            Step::DeleteSet(set) => Some(format!("delete {}", set.metadata.name.as_deref().unwrap())),
            Step::Event { message, .. } => Some(message.clone()),
            Step::Update(_) => Some("update".into()),
            Step::UpdateStatus(_) => None,
        })
        .collect()
}

fn check(replicas: i32, surge: &str, unavailable: &str, text: &str, expected: &[&str]) {
    assert_eq!(describe(&run(deployment(replicas, surge, unavailable), text)), expected, "{text}");
}

#[test]
fn fenceposts_resolve_as_upstream() {
    for (replicas, surge, unavailable, expected) in [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (10, "0", "0%", (0, 1)),
        (2, "0%", "50%", (0, 1)),
        (3, "1", "10", (1, 3)),
        (0, "1", "1", (1, 0)),
    ] {
        let sizes = Sizes::of(&deployment(replicas, surge, unavailable));
        assert_eq!((sizes.max_surge, sizes.max_unavailable), expected, "{replicas} {surge} {unavailable}");
    }
}

#[test]
fn a_rollout_goes_step_by_step() {
    check(10, "2", "1", "", &["create 10"]);
    check(10, "2", "1", "old 1 10 10 10 12", &["create 2"]);
    check(10, "2", "1", "old 1 10 10 10 12\n new 2 0 0 10 12", &["new 2"]);
    check(10, "2", "1", "old 1 10 10 10 12\n new 2 2 0 10 12", &["old 9"]);
    check(10, "2", "1", "old 1 9 9 10 12\n new 2 2 0 10 12", &["new 3"]);
    check(10, "2", "1", "old 1 9 9 10 12\n new 2 3 0 10 12", &[]);
    check(10, "2", "1", "old 1 9 9 10 12\n new 2 3 3 10 12", &["old 6"]);
    check(10, "2", "1", "old 1 10 4 10 12\n new 2 2 0 10 12", &["old 9"]);
    check(10, "2", "1", "old 1 2 2 10 12\n new 2 10 10 10 12", &["old 0"]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    check(20, "0", "1", "old 1 5 5 10 10\n new 2 5 5 10 10", &["new 10", "old 10"]);
    check(12, "3", "2", "old 1 8 8 10 13\n new 2 5 0 10 13", &["old 9", "new 6"]);
    check(5, "0", "1", "old 1 5 5 10 10\n new 2 5 5 10 10", &["old 2", "new 3"]);
    check(4, "1", "1", "new 2 3 3 3 4", &["new 4"]);
}

/// The sizes after a step of scaling to `replicas`, in the order of the sets.
fn check_sizes(replicas: i32, surge: &str, text: &str, expected: &[(&str, i32)]) {
    let mut sizes: Vec<(String, i32)> = sets(text)
        .iter()
        .map(|s| (s.metadata.name.clone().unwrap(), s.spec.as_ref().unwrap().replicas.unwrap()))
        .collect();
    let mut deployment = deployment(replicas, surge, "0");
    // As it stands: the last set's revision is the deployment's.
    let revision =
        sets(text).last().unwrap().metadata.annotations.as_ref().unwrap()[annotations::REVISION].clone();
    deployment.metadata.annotations = Some([(annotations::REVISION.to_owned(), revision)].into());
    for step in run(deployment, text).steps {
        if let Step::UpdateSet { set, .. } = step {
            let name = set.metadata.name.clone().unwrap();
            sizes.iter_mut().find(|(n, _)| *n == name).unwrap().1 =
                set.spec.as_ref().unwrap().replicas.unwrap();
        }
    }
    let found: Vec<_> = sizes.iter().map(|(name, size)| (name.as_str(), *size)).collect();
    assert_eq!(found, expected, "{replicas}: {text}");
}

#[test]
fn shares_are_upstreams() {
    check_sizes(12, "0", "new 1 10 10 10 10", &[("new", 12)]);
    check_sizes(5, "0", "new 1 10 10 10 10", &[("new", 5)]);
    check_sizes(10, "0", "a 1 3 3 5 5\n new 2 2 2 5 5", &[("a", 6), ("new", 4)]);
    check_sizes(3, "0", "a 1 3 3 5 5\n new 2 2 2 5 5", &[("a", 2), ("new", 1)]);
    check_sizes(4, "0", "a 1 1 1 9 9\n new 2 8 8 9 9", &[("a", 0), ("new", 4)]);
    check_sizes(10, "0", "a 1 2 2 7 7\n b 2 3 3 7 7\n new 3 2 2 7 7", &[("a", 3), ("b", 4), ("new", 3)]);
    check_sizes(8, "0", "a 1 3 3 13 13\n b 2 8 8 13 13\n new 3 2 2 13 13", &[("a", 2), ("b", 5), ("new", 1)]);
    check_sizes(4, "0", "a 1 1 1 3 3\n b 2 1 1 3 3\n new 3 1 1 3 3", &[("a", 1), ("b", 1), ("new", 2)]);
    check_sizes(2, "0", "a 1 1 1 3 3\n b 2 1 1 3 3\n new 3 1 1 3 3", &[("a", 0), ("b", 1), ("new", 1)]);
    check_sizes(5, "0", "a 1 2 2 4 4\n b 2 2 2 4 4", &[("a", 2), ("b", 3)]);
    check_sizes(0, "0", "a 1 1 1 6 6\n b 2 2 2 6 6\n new 3 3 3 6 6", &[("a", 0), ("b", 0), ("new", 0)]);
    check_sizes(5, "0", "a 1 1 1 5 5\n b 2 1 1 3 3\n new 3 2 2 5 5", &[("a", 1), ("b", 2), ("new", 2)]);
    check_sizes(20, "2", "a 1 6 6 10 12\n new 2 6 6 10 12", &[("a", 11), ("new", 11)]);
    check_sizes(50, "6", "a 1 8 8 10 13\n new 2 5 5 10 13", &[("a", 34), ("new", 22)]);
    check_sizes(14, "0", "a 1 3 3 10 10\n b 2 7 7 10 10", &[("a", 4), ("b", 10)]);
}

#[test]
fn revisions_history_and_limits() {
    check(1, "1", "0", "old 3 0 0\n new 2 1 1 1 2", &["annotate new"]);
    let mut done = deployment(1, "1", "0");
    done.metadata.annotations = Some([("deployment.kubernetes.io/revision".into(), "9".into())].into());
    done.status = Some(k8s_openapi::api::apps::v1::DeploymentStatus {
        observed_generation: Some(1),
        replicas: Some(1),
        updated_replicas: Some(1),
        available_replicas: Some(1),
        ..Default::default()
    });
    let found = run(done, "a 1 0 0\n b 2 0 0\n c 8 0 0\n new 9 1 1 1 2");
    assert_eq!(describe(&found), ["delete a", "delete b"]);
}

#[test]
fn rolling_back_takes_the_old_template() {
    let mut deployment = deployment(1, "1", "0");
    deployment
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert("deprecated.deployment.rollback.to".into(), "0".into());
    let found = run(deployment, "old 1 0 0\n new 2 1 1 1 2");
    assert_eq!(describe(&found), ["update", "Rolled back deployment \"web\" to revision 1"]);
    let Step::Update(changed) = &found.steps[0] else { panic!() };
    assert_eq!(changed.spec.as_ref().unwrap().template, template("old"));
    assert!(
        !changed.metadata.annotations.as_ref().unwrap().contains_key("deprecated.deployment.rollback.to")
    );
}

#[test]
fn recreate_waits_for_the_old_ones() {
    let mut recreate = deployment(2, "0", "0");
    recreate.spec.as_mut().unwrap().strategy =
        Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None });
    assert_eq!(describe(&run(recreate.clone(), "old 1 2 2 2 2")), ["old 0"]);
    assert_eq!(describe(&run(recreate, "old 1 0 0 2 2")), ["create 2"]);
}

#[test]
fn the_hash_is_stable_and_follows_template_and_collisions() {
    let mut one = deployment(1, "1", "0");
    let first = hash(&one);
    assert_eq!(first, hash(&deployment(7, "9", "9")));
    assert_eq!(first, "8549c7b678", "the hash of a fixed template must never change");
    one.status = Some(Default::default());
    one.status.as_mut().unwrap().collision_count = Some(1);
    assert_ne!(first, hash(&one));
}
