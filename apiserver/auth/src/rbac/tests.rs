use super::*;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;

/// `verbs groups resources [names]`, comma-separated lists; `-` for an empty one; `verbs /urls` for paths.
fn policy(text: &str) -> PolicyRule {
    let mut fields = text.split(' ').map(|f| {
        let items = f.split(',').filter(|i| *i != "-");
        items.map(|i| if i == "core" { String::new() } else { i.to_owned() }).collect::<Vec<_>>()
    });
    let verbs = fields.next().unwrap();
    let second = fields.next().unwrap();
    if second[0].starts_with('/') || second == ["*"] && fields.clone().next().is_none() {
        return PolicyRule { verbs, non_resource_urls: Some(second), ..PolicyRule::default() };
    }
    PolicyRule {
        verbs,
        api_groups: Some(second),
        resources: fields.next(),
        resource_names: fields.next(),
        ..PolicyRule::default()
    }
}

fn request(text: &str) -> Attributes {
    let mut fields = text.split(' ');
    let verb = fields.next().unwrap().to_owned();
    let second = fields.next().unwrap();
    if second.starts_with('/') {
        return Attributes { verb, path: second.to_owned(), ..Attributes::default() };
    }
    let (resource, subresource) = fields.next().unwrap().split_once('/').map_or_else(
        || (text.split(' ').nth(2).unwrap().to_owned(), String::new()),
        |(r, s)| (r.to_owned(), s.to_owned()),
    );
    Attributes {
        verb,
        group: if second == "core" { String::new() } else { second.to_owned() },
        resource,
        subresource,
        name: fields.next().unwrap_or_default().to_owned(),
        resource_request: true,
        ..Attributes::default()
    }
}

#[test]
fn rules_match() {
    let check = |rule: &str, asked: &str, expected: bool| {
        assert_eq!(
            rule::Request::of(&request(asked)).allowed_by(&policy(rule)),
            expected,
            "{rule} | {asked}"
        );
    };
    check("get core pods", "get core pods a", true);
    check("get core pods", "list core pods", false);
    check("get core pods", "get apps pods a", false);
    check("get core pods", "get core pods/log a", false);
    check("* * *", "patch apps deployments/scale a", true);
    check("update * */scale", "update apps deployments/scale a", true);
    check("update * */scale", "update apps deployments a", false);
    check("update * */scale", "update apps deployments/rescale a", false);
    check("get core secrets a,b", "get core secrets b", true);
    check("get core secrets a,b", "get core secrets c", false);
    check("list core secrets a", "list core secrets", false);
    check("* * *", "get /healthz", false);
    check("get /healthz", "get /healthz", true);
    check("get /healthz", "get /healthz/etcd", false);
    check("get /healthz/*", "get /healthz/etcd", true);
    check("get /heal*", "get /healthz", true);
    check("post *", "post /anything", true);
    check("get /healthz", "get core pods", false);
}

#[test]
fn covering_grains() {
    let check = |held: &[&str], wanted: &str, missing: &[&str]| {
        let held: Vec<_> = held.iter().map(|r| policy(r)).collect();
        assert_eq!(describe_missing(&covers(&held, &[policy(wanted)])), missing, "{held:?} | {wanted}");
    };
    check(&["get,list core pods"], "get core pods", &[]);
    check(&["get core pods", "list core pods"], "get,list core pods", &[]);
    check(
        &["get core pods"],
        "get,list,watch core pods,services",
        &[
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
            r#"{APIGroups:[""], Resources:["services"], Verbs:["get" "list" "watch"]}"#,
        ],
    );
    check(
        &["get core secrets a"],
        "get core secrets",
        &[r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#],
    );
    check(
        &["get core secrets a"],
        "get core secrets a,b",
        &[r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}"#],
    );
    check(&["* * *"], "update apps deployments/scale", &[]);
    check(&["update apps */scale"], "update apps deployments/scale", &[]);
    check(&["get /a/*"], "get /a/b", &[]);
    check(&["get /a/b"], "get /a/*", &[r#"{NonResourceURLs:["/a/*"], Verbs:["get"]}"#]);
}

fn named(namespace: &str, name: &str) -> ObjectMeta {
    let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
    ObjectMeta { name: Some(name.to_owned()), namespace, ..ObjectMeta::default() }
}

fn subject(text: &str) -> Subject {
    let mut parts = text.split('/');
    let (kind, name) = (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned());
    Subject { kind, name, namespace: parts.next().map(str::to_owned), api_group: None }
}

fn binding(
    namespace: &str,
    name: &str,
    role: &str,
    subjects: &[&str],
) -> (ObjectMeta, RoleRef, Vec<Subject>) {
    let (kind, role) = role.split_once('/').unwrap();
    let role_ref = RoleRef { api_group: None, kind: kind.to_owned(), name: role.to_owned() };
    (named(namespace, name), role_ref, subjects.iter().map(|s| subject(s)).collect())
}

#[test]
fn reasons_are_upstreams() {
    let mut index = Index::default();
    index.put_cluster_role(ClusterRole {
        metadata: named("", "reader"),
        rules: Some(vec![policy("get core pods")]),
        aggregation_rule: None,
    });
    let (metadata, role_ref, subjects) =
        binding("", "readers", "ClusterRole/reader", &["User/jane", "Group/devs"]);
    index.put_cluster_role_binding(ClusterRoleBinding { metadata, role_ref, subjects: Some(subjects) });
    let (metadata, role_ref, subjects) =
        binding("a", "local", "ClusterRole/reader", &["ServiceAccount/bot", "ServiceAccount/far/b"]);
    index.put_role_binding(RoleBinding { metadata, role_ref, subjects: Some(subjects) });
    let (metadata, role_ref, subjects) = binding("a", "broken", "Role/gone", &["User/lost"]);
    index.put_role_binding(RoleBinding { metadata, role_ref, subjects: Some(subjects) });
    let rbac = Rbac::of(index);
    let check = |user: &str, groups: &[&str], namespace: &str, expected: Decision| {
        let mut asked = request("get core pods x");
        asked.user = UserInfo {
            name: user.to_owned(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..UserInfo::default()
        };
        asked.namespace = namespace.to_owned();
        assert_eq!(rbac.authorize(&asked), expected, "{user} {groups:?} {namespace}");
    };
    let allow = |why: &str| Decision::Allow { reason: format!("RBAC: allowed by {why}") };
    let no = |why: &str| Decision::NoOpinion { reason: why.to_owned() };
    check("jane", &[], "", allow(r#"ClusterRoleBinding "readers" of ClusterRole "reader" to User "jane""#));
    check(
        "joe",
        &["devs"],
        "a",
        allow(r#"ClusterRoleBinding "readers" of ClusterRole "reader" to Group "devs""#),
    );
    check(
        "system:serviceaccount:a:bot",
        &[],
        "a",
        allow(r#"RoleBinding "local/a" of ClusterRole "reader" to ServiceAccount "bot/a""#),
    );
    check(
        "system:serviceaccount:b:far",
        &[],
        "a",
        allow(r#"RoleBinding "local/a" of ClusterRole "reader" to ServiceAccount "far/b""#),
    );
    check("system:serviceaccount:a:bot", &[], "b", no(""));
    check("lost", &[], "a", no(r#"RBAC: role.rbac.authorization.k8s.io "gone" not found"#));
    check("nobody", &["others"], "a", no(""));
}

/// One change to the policy, over few names so that they meet.
#[derive(Clone, Debug)]
enum Change {
    ClusterRole(u8, Vec<u8>),
    Role(u8, u8, Vec<u8>),
    ClusterBinding(u8, u8, Vec<u8>),
    Binding(u8, u8, bool, u8, Vec<u8>),
    RemoveClusterRole(u8),
    RemoveRole(u8, u8),
    RemoveBinding(Option<u8>, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let list = || proptest::collection::vec(0u8..6, 0..4);
    prop_oneof![
        (0u8..3, list()).prop_map(|(n, r)| Change::ClusterRole(n, r)),
        (0u8..2, 0u8..3, list()).prop_map(|(s, n, r)| Change::Role(s, n, r)),
        (0u8..3, 0u8..3, list()).prop_map(|(n, r, s)| Change::ClusterBinding(n, r, s)),
        (0u8..2, 0u8..3, any::<bool>(), 0u8..3, list())
            .prop_map(|(s, n, c, r, l)| Change::Binding(s, n, c, r, l)),
        (0u8..3).prop_map(Change::RemoveClusterRole),
        (0u8..2, 0u8..3).prop_map(|(s, n)| Change::RemoveRole(s, n)),
        (proptest::option::of(0u8..2), 0u8..3).prop_map(|(s, n)| Change::RemoveBinding(s, n)),
    ]
}

const RULES: [&str; 6] =
    ["get core pods", "* * *", "list core secrets", "get core secrets a", "update * */scale", "get /healthz"];
const SUBJECTS: [&str; 6] = [
    "User/jane",
    "Group/devs",
    "ServiceAccount/bot",
    "ServiceAccount/bot/b",
    "User/system:serviceaccount:a:bot",
    "Robot/x",
];
const SPACES: [&str; 2] = ["a", "b"];

/// The policy as plain lists, asked without any index.
#[derive(Default)]
struct Naive {
    roles: Vec<(String, String, Vec<PolicyRule>)>,
    bindings: Vec<(String, String, RoleRef, Vec<Subject>)>,
}

impl Naive {
    fn allows(&self, asked: &Attributes) -> bool {
        self.bindings.iter().any(|(namespace, _, role, subjects)| {
            let in_scope = namespace.is_empty() || (*namespace == asked.namespace);
            let applies = subjects.iter().any(|s| match &*s.kind {
                "User" => s.name == asked.user.name,
                "Group" => asked.user.groups.contains(&s.name),
                "ServiceAccount" => {
                    let home = s.namespace.clone().unwrap_or_else(|| namespace.clone());
                    !home.is_empty() && asked.user.name == format!("system:serviceaccount:{home}:{}", s.name)
                }
                _ => false,
            });
            let home = if role.kind == "Role" { &**namespace } else { "" };
            let rules = self.roles.iter().find(|(ns, name, _)| ns == home && *name == role.name);
            in_scope
                && applies
                && rules
                    .is_some_and(|(_, _, rules)| rules.iter().any(|r| rule::Request::of(asked).allowed_by(r)))
        })
    }

    fn put_role(&mut self, namespace: &str, name: &str, rules: Vec<PolicyRule>) {
        self.roles.retain(|(ns, n, _)| !(ns == namespace && n == name));
        self.roles.push((namespace.to_owned(), name.to_owned(), rules));
    }

    fn put_binding(&mut self, namespace: &str, name: &str, role: RoleRef, subjects: Vec<Subject>) {
        self.bindings.retain(|(ns, n, ..)| !(ns == namespace && n == name));
        self.bindings.push((namespace.to_owned(), name.to_owned(), role, subjects));
    }
}

fn apply(index: &mut Index, naive: &mut Naive, change: &Change) {
    let rules = |list: &[u8]| list.iter().map(|i| policy(RULES[*i as usize])).collect::<Vec<_>>();
    let subjects = |list: &[u8]| list.iter().map(|i| SUBJECTS[*i as usize]).collect::<Vec<_>>();
    match change {
        Change::ClusterRole(n, list) => {
            let name = format!("c{n}");
            naive.put_role("", &name, rules(list));
            index.put_cluster_role(ClusterRole {
                metadata: named("", &name),
                rules: Some(rules(list)),
                aggregation_rule: None,
            });
        }
        Change::Role(s, n, list) => {
            let (space, name) = (SPACES[*s as usize], format!("r{n}"));
            naive.put_role(space, &name, rules(list));
            index.put_role(Role { metadata: named(space, &name), rules: Some(rules(list)) });
        }
        Change::ClusterBinding(n, r, list) => {
            let (metadata, role_ref, subjects) =
                binding("", &format!("b{n}"), &format!("ClusterRole/c{r}"), &subjects(list));
            naive.put_binding("", &format!("b{n}"), role_ref.clone(), subjects.clone());
            index.put_cluster_role_binding(ClusterRoleBinding {
                metadata,
                role_ref,
                subjects: Some(subjects),
            });
        }
        Change::Binding(s, n, cluster, r, list) => {
            let space = SPACES[*s as usize];
            let role = if *cluster { format!("ClusterRole/c{r}") } else { format!("Role/r{r}") };
            let (metadata, role_ref, subjects) = binding(space, &format!("b{n}"), &role, &subjects(list));
            naive.put_binding(space, &format!("b{n}"), role_ref.clone(), subjects.clone());
            index.put_role_binding(RoleBinding { metadata, role_ref, subjects: Some(subjects) });
        }
        Change::RemoveClusterRole(n) => {
            naive.roles.retain(|(ns, name, _)| !(ns.is_empty() && *name == format!("c{n}")));
            index.remove_cluster_role(&format!("c{n}"));
        }
        Change::RemoveRole(s, n) => {
            let space = SPACES[*s as usize];
            naive.roles.retain(|(ns, name, _)| !(ns == space && *name == format!("r{n}")));
            index.remove_role(space, &format!("r{n}"));
        }
        Change::RemoveBinding(s, n) => {
            let space = s.map_or("", |s| SPACES[s as usize]);
            naive.bindings.retain(|(ns, name, ..)| !(ns == space && *name == format!("b{n}")));
            index.remove_binding(space, &format!("b{n}"));
        }
    }
}

proptest! {
    #[test]
    fn indexed_answers_equal_naive_ones(changes in proptest::collection::vec(change(), 0..40)) {
        let (mut index, mut naive) = (Index::default(), Naive::default());
        for change in &changes {
            apply(&mut index, &mut naive, change);
        }
        let rbac = Rbac::of(index);
        let users = [("jane", ""), ("joe", "devs"), ("system:serviceaccount:a:bot", ""), ("system:serviceaccount:b:bot", "devs")];
        for (user, group) in users {
            for namespace in ["", "a", "b", "c"] {
                for text in ["get core pods x", "list core secrets", "get core secrets a", "update apps deployments/scale x", "get /healthz"] {
                    let mut asked = request(text);
                    asked.user = UserInfo { name: user.into(), groups: vec![group.into()], ..UserInfo::default() };
                    asked.namespace = namespace.into();
                    prop_assert_eq!(rbac.authorize(&asked).allowed(), naive.allows(&asked), "{:?}", asked);
                }
            }
        }
    }
}
