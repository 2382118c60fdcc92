//! Our decisions and reasons against those of the reference apiserver, under the bootstrap policy.

mod common;

use common::Fixed;
use gantry_auth::bootstrap::{self, Action, Policy};
use gantry_auth::node::NodeAuthorizer;
use gantry_auth::rbac::rule::Request;
use gantry_auth::rbac::{Index, Rbac};
use gantry_auth::{Union, resources};
use gantry_types::UserInfo;
use gantry_types::user::{Attributes, Authorizer, Decision};
use std::sync::Arc;

fn index() -> Index {
    let (mut index, policy) = (Index::default(), Policy::load());
    policy.cluster_roles.into_iter().for_each(|r| index.put_cluster_role(r));
    policy.cluster_role_bindings.into_iter().for_each(|b| index.put_cluster_role_binding(b));
    policy.roles.into_iter().for_each(|r| index.put_role(r));
    policy.role_bindings.into_iter().for_each(|b| index.put_role_binding(b));
    index
}

fn attributes(user: &UserInfo, text: &str) -> Attributes {
    let fields: Vec<&str> = text.split(' ').collect();
    if let [verb, path] = fields[..] {
        return Attributes {
            user: user.clone(),
            verb: verb.into(),
            path: path.into(),
            ..Attributes::default()
        };
    }
    let or_empty = |s: &str| if s == "-" || s == "core" { String::new() } else { s.to_owned() };
    let (resource, subresource) = fields[2].split_once('/').unwrap_or((fields[2], ""));
    Attributes {
        user: user.clone(),
        verb: fields[0].into(),
        group: or_empty(fields[1]),
        version: "*".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: or_empty(fields[3]),
        name: or_empty(fields[4]),
        resource_request: true,
        ..Attributes::default()
    }
}

#[test]
fn decisions_are_upstreams() {
    let union = Union::new(Some(Arc::new(NodeAuthorizer::default())), Arc::new(Rbac::of(index())));
    let index = index();
    let (mut user, mut checked) = (UserInfo::default(), 0);
    for line in include_str!("decisions.txt").lines().filter(|l| !l.starts_with('#')) {
        if let Some(who) = line.strip_prefix("> ") {
            let (name, groups) = who.split_once(' ').unwrap();
            let groups = groups.split(',').map(str::to_owned).collect();
            user = UserInfo { name: name.into(), groups, ..UserInfo::default() };
            continue;
        }
        let (answer, rest) = line.split_once(' ').unwrap();
        let (text, reason) = rest.split_once('\t').unwrap_or((rest, ""));
        let asked = attributes(&user, text);
        checked += 1;
        match union.authorize(&asked) {
            Decision::Allow { reason: ours } => {
                assert_eq!(answer, "+", "{}: {text}: {ours}", user.name);
                // Where several bindings allow, upstream names any of them.
                let mut every = Vec::new();
                index.visit(&user, &asked.namespace, |grant, rules| {
                    if rules.unwrap().iter().any(|rule| Request::of(&asked).allowed_by(rule)) {
                        every.push(format!("RBAC: allowed by {grant}"));
                    }
                    true
                });
                assert_eq!(reason.is_empty(), ours.is_empty(), "{}: {text}: {ours}", user.name);
                assert!(
                    ours.is_empty() || (every.contains(&ours) && every.iter().any(|r| r == reason)),
                    "{text}: {reason}"
                );
            }
            Decision::NoOpinion { reason: ours } => {
                assert_eq!((answer, reason), ("-", &*ours), "{}: {text}", user.name);
            }
            Decision::Deny { .. } => panic!("{text}: nothing denies"),
        }
    }
    assert!(checked > 1000);
}

#[tokio::test]
async fn the_policy_is_planned_once() {
    let reader = Fixed::default();
    let planned = bootstrap::plan(&reader);
    assert_eq!(planned.len(), 137);
    assert!(planned.iter().all(|p| p.action == Action::Create));
    for p in &planned {
        reader.put(&p.resource, std::str::from_utf8(&p.object.to_json()).unwrap());
    }
    assert_eq!(bootstrap::plan(&reader).len(), 0, "nothing to do the second time");

    // A rule taken away comes back; what was added stays; what is protected is left alone.
    reader.put(
        &resources::CLUSTER_ROLES,
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"system:discovery","resourceVersion":"7","annotations":{"x":"y"}},"rules":[{"verbs":["get"],"nonResourceURLs":["/mine"]}]}"#,
    );
    reader.put(
        &resources::CLUSTER_ROLES,
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"system:basic-user","annotations":{"rbac.authorization.kubernetes.io/autoupdate":"false"}},"rules":[]}"#,
    );
    let planned = bootstrap::plan(&reader);
    assert_eq!(planned.len(), 1);
    let object = String::from_utf8(planned[0].object.to_json()).unwrap();
    assert_eq!((planned[0].action, &*planned[0].name), (Action::Update, "system:discovery"));
    for part in ["\"/mine\"", "\"/healthz\"", "\"x\":\"y\"", "\"resourceVersion\":\"7\"", "rbac-defaults"] {
        assert!(object.contains(part), "{part}: {object}");
    }

    let (rbac, mut synced) = Rbac::start(&reader);
    synced.wait().await;
    let jane =
        UserInfo { name: "jane".into(), groups: vec!["system:authenticated".into()], ..UserInfo::default() };
    assert!(rbac.authorize(&attributes(&jane, "get /mine")).allowed());
}
