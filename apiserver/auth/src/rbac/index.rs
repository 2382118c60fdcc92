//! Roles by name and bindings by subject.

use crate::token::service_account_user;
use gantry_types::UserInfo;
use gantry_types::field::go_quote;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Rules shared by everyone bound to a role.
pub type RoleRules = Arc<[PolicyRule]>;

struct Binding {
    /// Empty for a ClusterRoleBinding.
    namespace: String,
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// A binding that applies to someone, with the subject that made it apply. Prints as in upstream's reasons.
pub struct Grant<'a> {
    binding: &'a Binding,
    subject: &'a Subject,
}

impl fmt::Display for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (binding, subject) = (self.binding, self.subject);
        if binding.namespace.is_empty() {
            write!(f, "ClusterRoleBinding {}", go_quote(&binding.name))?;
        } else {
            write!(f, "RoleBinding {}", go_quote(&format!("{}/{}", binding.name, binding.namespace)))?;
        }
        write!(f, " of {} {} to {} ", binding.role.kind, go_quote(&binding.role.name), subject.kind)?;
        if subject.kind == "ServiceAccount" {
            let namespace =
                subject.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or(&binding.namespace);
            f.write_str(&go_quote(&format!("{}/{namespace}", subject.name)))
        } else {
            f.write_str(&go_quote(&subject.name))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    User,
    Group,
}

/// Bindings of one scope: the cluster, or one namespace. Each entry names the subject's place in the binding.
#[derive(Default)]
struct Subjects {
    users: HashMap<String, Vec<(Arc<Binding>, usize)>>,
    groups: HashMap<String, Vec<(Arc<Binding>, usize)>>,
}

impl Subjects {
    fn side(&mut self, who: Who) -> &mut HashMap<String, Vec<(Arc<Binding>, usize)>> {
        match who {
            Who::User => &mut self.users,
            Who::Group => &mut self.groups,
        }
    }

    fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }
}

/// Whom a subject names; a service account is the user of its name. `None` for what names nobody.
fn who(subject: &Subject, namespace: &str) -> Option<(Who, String)> {
    match &*subject.kind {
        "User" => Some((Who::User, subject.name.clone())),
        "Group" => Some((Who::Group, subject.name.clone())),
        "ServiceAccount" => {
            let namespace = subject.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or(namespace);
            (!namespace.is_empty()).then(|| (Who::User, service_account_user(namespace, &subject.name)))
        }
        _ => None,
    }
}

/// The whole of RBAC, indexed so that a decision touches only bindings that name the user or a group of theirs.
#[derive(Default)]
pub struct Index {
    cluster_roles: HashMap<String, RoleRules>,
    roles: HashMap<String, HashMap<String, RoleRules>>,
    /// By namespace (empty: cluster) and name.
    bindings: HashMap<String, HashMap<String, Arc<Binding>>>,
    subjects: HashMap<String, Subjects>,
}

impl Index {
    pub fn put_cluster_role(&mut self, role: ClusterRole) {
        let name = role.metadata.name.unwrap_or_default();
        self.cluster_roles.insert(name, role.rules.unwrap_or_default().into());
    }

    pub fn remove_cluster_role(&mut self, name: &str) {
        self.cluster_roles.remove(name);
    }

    pub fn clear_cluster_roles(&mut self) {
        self.cluster_roles.clear();
    }

    pub fn put_role(&mut self, role: Role) {
        let (namespace, name) =
            (role.metadata.namespace.unwrap_or_default(), role.metadata.name.unwrap_or_default());
        self.roles.entry(namespace).or_default().insert(name, role.rules.unwrap_or_default().into());
    }

    pub fn remove_role(&mut self, namespace: &str, name: &str) {
        if let Some(roles) = self.roles.get_mut(namespace) {
            roles.remove(name);
            if roles.is_empty() {
                self.roles.remove(namespace);
            }
        }
    }

    pub fn clear_roles(&mut self) {
        self.roles.clear();
    }

    pub fn put_cluster_role_binding(&mut self, binding: ClusterRoleBinding) {
        self.put_binding(Binding {
            namespace: String::new(),
            name: binding.metadata.name.unwrap_or_default(),
            role: binding.role_ref,
            subjects: binding.subjects.unwrap_or_default(),
        });
    }

    pub fn put_role_binding(&mut self, binding: RoleBinding) {
        self.put_binding(Binding {
            namespace: binding.metadata.namespace.unwrap_or_default(),
            name: binding.metadata.name.unwrap_or_default(),
            role: binding.role_ref,
            subjects: binding.subjects.unwrap_or_default(),
        });
    }

    fn put_binding(&mut self, binding: Binding) {
        self.remove_binding(&binding.namespace, &binding.name);
        let binding = Arc::new(binding);
        let scope = self.subjects.entry(binding.namespace.clone()).or_default();
        for (i, subject) in binding.subjects.iter().enumerate() {
            let Some((side, name)) = who(subject, &binding.namespace) else { continue };
            let entries = scope.side(side).entry(name).or_default();
            // One entry per binding and name, for its first subject.
            if !entries.iter().any(|(known, _)| Arc::ptr_eq(known, &binding)) {
                entries.push((binding.clone(), i));
            }
        }
        if scope.is_empty() {
            self.subjects.remove(&binding.namespace);
        }
        self.bindings.entry(binding.namespace.clone()).or_default().insert(binding.name.clone(), binding);
    }

    /// `namespace` is empty for a ClusterRoleBinding.
    pub fn remove_binding(&mut self, namespace: &str, name: &str) {
        let Some(scope) = self.bindings.get_mut(namespace) else { return };
        let Some(old) = scope.remove(name) else { return };
        if scope.is_empty() {
            self.bindings.remove(namespace);
        }
        let Some(subjects) = self.subjects.get_mut(namespace) else { return };
        for subject in &old.subjects {
            let Some((side, name)) = who(subject, namespace) else { continue };
            let side = subjects.side(side);
            if let Some(entries) = side.get_mut(&name) {
                entries.retain(|(known, _)| !Arc::ptr_eq(known, &old));
                if entries.is_empty() {
                    side.remove(&name);
                }
            }
        }
        if subjects.is_empty() {
            self.subjects.remove(namespace);
        }
    }

    /// Forgets the bindings of the cluster, or those of all namespaces.
    pub fn clear_bindings(&mut self, cluster: bool) {
        self.bindings.retain(|namespace, _| namespace.is_empty() != cluster);
        self.subjects.retain(|namespace, _| namespace.is_empty() != cluster);
    }

    fn rules(&self, role: &RoleRef, namespace: &str) -> Result<&RoleRules, String> {
        match &*role.kind {
            "ClusterRole" => self.cluster_roles.get(&role.name).ok_or_else(|| {
                format!("clusterrole.rbac.authorization.k8s.io {} not found", go_quote(&role.name))
            }),
            "Role" => {
                self.roles.get(namespace).and_then(|roles| roles.get(&role.name)).ok_or_else(|| {
                    format!("role.rbac.authorization.k8s.io {} not found", go_quote(&role.name))
                })
            }
            other => Err(format!("unsupported role reference kind: {}", go_quote(other))),
        }
    }

    /// Visits every binding that applies to `user`: the cluster's, then the namespace's where one is given.
    /// Stops when `visit` says so.
    pub fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        mut visit: impl FnMut(&Grant<'_>, Result<&RoleRules, String>) -> bool,
    ) {
        let scopes: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for scope in scopes {
            let Some(subjects) = self.subjects.get(*scope) else { continue };
            let of_user = subjects.users.get(&user.name);
            let of_groups = user.groups.iter().filter_map(|group| subjects.groups.get(group));
            for (binding, subject) in of_user.into_iter().chain(of_groups).flatten() {
                let grant = Grant { binding, subject: &binding.subjects[*subject] };
                if !visit(&grant, self.rules(&binding.role, scope)) {
                    return;
                }
            }
        }
    }
}
