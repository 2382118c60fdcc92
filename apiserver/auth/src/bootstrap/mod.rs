//! The bootstrap policy: the roles and bindings every cluster starts with, kept whole at each start.
//!
//! The facts are in `policy.json`, one object a line: roles with rules (or the labels they aggregate),
//! bindings as `Kind/name` of the role and `Kind/[namespace/]name` of each subject. Every object carries the
//! bootstrapping label and the autoupdate annotation.

use crate::rbac::covers;
use crate::resources::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES};
use gantry_types::reader::ObjectReader;
use gantry_types::{Document, GroupResource};
use k8s_openapi::api::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

const POLICY: &str = include_str!("policy.json");
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
const RBAC: &str = "rbac.authorization.k8s.io";

#[derive(Deserialize)]
struct RoleEntry {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    rules: Vec<PolicyRule>,
    #[serde(default)]
    aggregate: Vec<String>,
}

#[derive(Deserialize)]
struct BindingEntry {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    role: String,
    subjects: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    cluster_roles: Vec<RoleEntry>,
    cluster_role_bindings: Vec<BindingEntry>,
    roles: Vec<RoleEntry>,
    role_bindings: Vec<BindingEntry>,
}

fn table() -> Table {
    // The text is compiled in and read whole by a test.
    serde_json::from_str(POLICY).expect("the committed policy parses")
}

/// The bootstrap policy as objects.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Aggregated roles carry the rules the aggregation controller would compute.
    pub cluster_roles: Vec<ClusterRole>,
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    pub roles: Vec<Role>,
    pub role_bindings: Vec<RoleBinding>,
}

fn meta(name: &str, namespace: &Option<String>, labels: BTreeMap<String, String>) -> ObjectMeta {
    let mut labels = labels;
    labels.insert(BOOTSTRAPPING.0.to_owned(), BOOTSTRAPPING.1.to_owned());
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.clone(),
        labels: Some(labels),
        annotations: Some(BTreeMap::from([(AUTOUPDATE.to_owned(), "true".to_owned())])),
        ..ObjectMeta::default()
    }
}

fn role_ref(text: &str) -> RoleRef {
    let (kind, name) = text.split_once('/').unwrap_or(("ClusterRole", text));
    RoleRef { api_group: Some(RBAC.to_owned()), kind: kind.to_owned(), name: name.to_owned() }
}

fn subject(text: &str) -> Subject {
    let (kind, rest) = text.split_once('/').unwrap_or(("User", text));
    if let ("ServiceAccount", Some((namespace, name))) = (kind, rest.split_once('/')) {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        return Subject { api_group: None, kind, name, namespace: Some(namespace.to_owned()) };
    }
    Subject {
        api_group: Some(RBAC.to_owned()),
        kind: kind.to_owned(),
        name: rest.to_owned(),
        namespace: None,
    }
}

/// The rules of every role with one of the labels, each once, in the order of role names.
fn aggregated(roles: &[ClusterRole], labels: &[String]) -> Vec<PolicyRule> {
    let mut sources: Vec<&ClusterRole> = roles
        .iter()
        .filter(|role| {
            let own = role.metadata.labels.as_ref();
            labels.iter().any(|label| own.and_then(|l| l.get(label)).is_some_and(|v| v == "true"))
        })
        .collect();
    sources.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut out: Vec<PolicyRule> = Vec::new();
    for rule in sources.into_iter().flat_map(|role| role.rules.iter().flatten()) {
        if !out.contains(rule) {
            out.push(rule.clone());
        }
    }
    out
}

impl Policy {
    pub fn load() -> Self {
        let table = table();
        let aggregates: Vec<(usize, Vec<String>)> = table
            .cluster_roles
            .iter()
            .enumerate()
            .filter(|(_, entry)| !entry.aggregate.is_empty())
            .map(|(i, entry)| (i, entry.aggregate.clone()))
            .collect();
        let mut cluster_roles: Vec<ClusterRole> = table
            .cluster_roles
            .into_iter()
            .map(|entry| ClusterRole {
                metadata: meta(&entry.name, &None, entry.labels),
                aggregation_rule: (!entry.aggregate.is_empty()).then(|| selectors(&entry.aggregate)),
                rules: Some(entry.rules),
            })
            .collect();
        // Aggregated roles feed each other (view into edit into admin): as many rounds as there are of them
        // settle every chain.
        for _ in 0..aggregates.len() {
            for (i, labels) in &aggregates {
                cluster_roles[*i].rules = Some(aggregated(&cluster_roles, labels));
            }
        }
        let role = |entry: RoleEntry| Role {
            metadata: meta(&entry.name, &entry.namespace, entry.labels),
            rules: Some(entry.rules),
        };
        let subjects = |entry: &BindingEntry| Some(entry.subjects.iter().map(|s| subject(s)).collect());
        Self {
            cluster_roles,
            cluster_role_bindings: table
                .cluster_role_bindings
                .iter()
                .map(|entry| ClusterRoleBinding {
                    metadata: meta(&entry.name, &None, BTreeMap::new()),
                    role_ref: role_ref(&entry.role),
                    subjects: subjects(entry),
                })
                .collect(),
            roles: table.roles.into_iter().map(role).collect(),
            role_bindings: table
                .role_bindings
                .iter()
                .map(|entry| RoleBinding {
                    metadata: meta(&entry.name, &entry.namespace, BTreeMap::new()),
                    role_ref: role_ref(&entry.role),
                    subjects: subjects(entry),
                })
                .collect(),
        }
    }
}

fn selectors(labels: &[String]) -> AggregationRule {
    let selector = |label: &String| LabelSelector {
        match_labels: Some(BTreeMap::from([(label.clone(), "true".to_owned())])),
        match_expressions: None,
    };
    AggregationRule { cluster_role_selectors: Some(labels.iter().map(selector).collect()) }
}

/// The rules of `system:node`, which the Node authorizer grants every node.
pub fn node_rules() -> Vec<PolicyRule> {
    let roles = table().cluster_roles;
    roles.into_iter().find(|role| role.name == "system:node").map(|role| role.rules).unwrap_or_default()
}

/// What an object becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Update,
    /// The binding names another role, which cannot be changed: delete it (if its UID still is
    /// `object`'s) and create this one.
    Replace,
}

/// One write that makes the stored policy whole. Updates carry the `resourceVersion` they were planned on.
#[derive(Clone, Debug)]
pub struct Planned {
    pub action: Action,
    pub resource: GroupResource,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    pub name: String,
    pub object: Document,
}

fn read<K: DeserializeOwned>(
    reader: &dyn ObjectReader,
    resource: &GroupResource,
    meta: &ObjectMeta,
) -> Option<K> {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    reader.get(resource, namespace, meta.name.as_deref().unwrap_or_default())?.typed().ok()
}

/// Adds the labels and annotations an object lacks, keeping what is there; whether anything changed.
fn merge_meta(existing: &mut ObjectMeta, wanted: &ObjectMeta) -> bool {
    let mut changed = false;
    let pairs = [(&mut existing.labels, &wanted.labels), (&mut existing.annotations, &wanted.annotations)];
    for (have, want) in pairs {
        for (key, value) in want.iter().flatten() {
            let have = have.get_or_insert_default();
            if !have.contains_key(key) {
                have.insert(key.clone(), value.clone());
                changed = true;
            }
        }
    }
    changed
}

fn protected(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().and_then(|a| a.get(AUTOUPDATE)).is_some_and(|v| v == "false")
}

/// Adds the rules an existing role lacks; whether anything changed.
fn merge_rules(existing: &mut Option<Vec<PolicyRule>>, wanted: &[PolicyRule]) -> bool {
    let have = existing.get_or_insert_default();
    let missing: Vec<PolicyRule> =
        wanted.iter().filter(|rule| !covers(have, std::slice::from_ref(rule)).is_empty()).cloned().collect();
    let changed = !missing.is_empty();
    have.extend(missing);
    changed
}

fn merge_subjects(existing: &mut Option<Vec<Subject>>, wanted: &Option<Vec<Subject>>) -> bool {
    let have = existing.get_or_insert_default();
    let missing: Vec<Subject> = wanted.iter().flatten().filter(|s| !have.contains(s)).cloned().collect();
    let changed = !missing.is_empty();
    have.extend(missing);
    changed
}

fn planned<K: serde::Serialize>(
    out: &mut Vec<Planned>,
    action: Action,
    resource: &GroupResource,
    meta: &ObjectMeta,
    object: &K,
) {
    match Document::from_typed(object) {
        Ok(object) => out.push(Planned {
            action,
            resource: resource.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            object,
        }),
        Err(error) => tracing::error!(%error, "bootstrap object does not serialize"),
    }
}

/// What to write so that the bootstrap policy is whole: missing objects, missing rules and subjects of
/// those that may be updated. Nothing is ever taken away. Empty when all is well.
pub fn plan(reader: &dyn ObjectReader) -> Vec<Planned> {
    let policy = Policy::load();
    let mut out = Vec::new();
    for role in &policy.cluster_roles {
        let Some(mut existing) = read::<ClusterRole>(reader, &CLUSTER_ROLES, &role.metadata) else {
            planned(&mut out, Action::Create, &CLUSTER_ROLES, &role.metadata, role);
            continue;
        };
        if protected(&existing.metadata) {
            continue;
        }
        let mut changed = merge_meta(&mut existing.metadata, &role.metadata);
        if role.aggregation_rule.is_none() {
            changed |= merge_rules(&mut existing.rules, role.rules.as_deref().unwrap_or_default());
        } else if existing.aggregation_rule.is_none() {
            existing.aggregation_rule.clone_from(&role.aggregation_rule);
            changed = true;
        }
        if changed {
            planned(&mut out, Action::Update, &CLUSTER_ROLES, &role.metadata, &existing);
        }
    }
    for role in &policy.roles {
        let Some(mut existing) = read::<Role>(reader, &ROLES, &role.metadata) else {
            planned(&mut out, Action::Create, &ROLES, &role.metadata, role);
            continue;
        };
        let changed = !protected(&existing.metadata)
            && (merge_meta(&mut existing.metadata, &role.metadata)
                | merge_rules(&mut existing.rules, role.rules.as_deref().unwrap_or_default()));
        if changed {
            planned(&mut out, Action::Update, &ROLES, &role.metadata, &existing);
        }
    }
    macro_rules! bindings {
        ($kind:ty, $list:expr, $resource:expr) => {
            for binding in $list {
                let Some(mut existing) = read::<$kind>(reader, $resource, &binding.metadata) else {
                    planned(&mut out, Action::Create, $resource, &binding.metadata, binding);
                    continue;
                };
                if protected(&existing.metadata) {
                    continue;
                }
                let replace = existing.role_ref != binding.role_ref;
                let changed = merge_meta(&mut existing.metadata, &binding.metadata)
                    | merge_subjects(&mut existing.subjects, &binding.subjects);
                if replace {
                    existing.role_ref = binding.role_ref.clone();
                    planned(&mut out, Action::Replace, $resource, &binding.metadata, &existing);
                } else if changed {
                    planned(&mut out, Action::Update, $resource, &binding.metadata, &existing);
                }
            }
        };
    }
    bindings!(ClusterRoleBinding, &policy.cluster_role_bindings, &CLUSTER_ROLE_BINDINGS);
    bindings!(RoleBinding, &policy.role_bindings, &ROLE_BINDINGS);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_whole() {
        let policy = Policy::load();
        let counts = (
            policy.cluster_roles.len(),
            policy.cluster_role_bindings.len(),
            policy.roles.len(),
            policy.role_bindings.len(),
        );
        // One cluster role and its binding are our own: `roll-on-change-controller`.
        assert_eq!(counts, (71, 52, 7, 7));
        let rules = |name: &str| {
            let role =
                policy.cluster_roles.iter().find(|r| r.metadata.name.as_deref() == Some(name)).unwrap();
            role.rules.clone().unwrap()
        };
        assert!(
            covers(&rules("admin"), &rules("edit")).is_empty()
                && covers(&rules("edit"), &rules("view")).is_empty()
        );
        assert!(
            !covers(&rules("view"), &rules("edit")).is_empty()
                && !covers(&rules("edit"), &rules("admin")).is_empty()
        );
        assert!(!node_rules().is_empty());
        for binding in &policy.cluster_role_bindings {
            let known =
                policy.cluster_roles.iter().any(|r| r.metadata.name.as_ref() == Some(&binding.role_ref.name));
            assert!(known, "{:?}", binding.role_ref);
        }
    }
}
