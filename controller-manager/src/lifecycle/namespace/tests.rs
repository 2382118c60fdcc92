use super::plan::{Findings, Remaining, update_conditions};
use crate::discovery::ApiResource;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceStatus;

fn resource(group: &str, name: &str) -> ApiResource {
    ApiResource {
        group: group.into(),
        version: "v1".into(),
        resource: name.into(),
        kind: String::new(),
        namespaced: true,
        verbs: Vec::new(),
    }
}

fn check(findings: &Findings, kind: &str, status: &str, reason: &str, message: &str) {
    let mut found = NamespaceStatus::default();
    assert!(update_conditions(&mut found, findings, Timestamp::UNIX_EPOCH));
    assert!(
        !update_conditions(&mut found, findings, Timestamp::UNIX_EPOCH),
        "the second time nothing changes"
    );
    let conditions = found.conditions.unwrap();
    let condition = conditions.iter().find(|c| c.type_ == kind).unwrap();
    let text = |o: &Option<String>| o.clone().unwrap();
    assert_eq!(
        (condition.status.as_str(), text(&condition.reason), text(&condition.message)),
        (status, reason.into(), message.into())
    );
}

#[test]
fn an_empty_namespace_is_said_to_be_so() {
    let findings = Findings::default();
    check(
        &findings,
        "NamespaceContentRemaining",
        "False",
        "ContentRemoved",
        "All content successfully removed",
    );
    assert_eq!((findings.wait(), findings.failure()), (None, None));
}

#[test]
fn what_remains_is_named_with_its_finalizers() {
    let mut findings = Findings::default();
    let left = Remaining { count: 2, grace_seconds: 0, finalizers: vec!["x.io/a".into(), "x.io/a".into()] };
    findings.add(&resource("", "configmaps"), Ok(left), "n");
    check(
        &findings,
        "NamespaceContentRemaining",
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: configmaps. has 2 resource instances",
    );
    check(
        &findings,
        "NamespaceFinalizersRemaining",
        "True",
        "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: x.io/a in 2 resource instances",
    );
    assert_eq!(findings.wait().unwrap().as_secs(), 8);
}

#[test]
fn errors_are_reported_and_retried() {
    let mut findings = Findings::default();
    findings.add(&resource("apps", "deployments"), Err("boom".into()), "n");
    check(
        &findings,
        "NamespaceDeletionContentFailure",
        "True",
        "ContentDeletionFailed",
        "Failed to delete all resource types, 1 remaining: boom",
    );
    assert_eq!(findings.failure().as_deref(), Some("boom"));
    let mut pods = Findings::default();
    pods.add(
        &resource("", "pods"),
        Ok(Remaining { count: 1, grace_seconds: 30, finalizers: Vec::new() }),
        "n",
    );
    assert_eq!(pods.wait().unwrap().as_secs(), 16);
}
