//! `rbac.authorization.k8s.io/v1` Role and ClusterRole.

use crate::kinds::prelude::*;
use crate::kinds::validate::{meta, selector};
use gantry_types::k8s_openapi::api::rbac::v1::{AggregationRule, ClusterRole, PolicyRule, Role};

/// Rules within a namespace.
pub struct Roles;

/// Rules everywhere, or aggregated from other cluster roles by label.
pub struct ClusterRoles;

pub(super) fn rbac_name(name: &str, _prefix: bool) -> Vec<String> {
    names::path_segment_name(name)
}

fn rule(rule: &PolicyRule, namespaced: bool, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if rule.verbs.is_empty() {
        errs.push(Error::required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    let urls = list(&rule.non_resource_urls);
    let (groups, resources) = (list(&rule.api_groups), list(&rule.resources));
    if !urls.is_empty() {
        let at = path.child("nonResourceURLs");
        if namespaced {
            errs.push(Error::invalid(&at, urls, "namespaced rules cannot apply to non-resource URLs"));
        }
        if !(groups.is_empty() && resources.is_empty() && list(&rule.resource_names).is_empty()) {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errs.push(Error::invalid(&at, urls, why));
        }
        return errs;
    }
    if groups.is_empty() {
        let why = "resource rules must supply at least one api group";
        errs.push(Error::required(&path.child("apiGroups"), why));
    }
    if resources.is_empty() {
        errs.push(Error::required(
            &path.child("resources"),
            "resource rules must supply at least one resource",
        ));
    }
    errs
}

fn rules(all: &Option<Vec<PolicyRule>>, namespaced: bool) -> ErrorList {
    let path = Path::new("rules");
    list(all).iter().enumerate().flat_map(|(i, r)| rule(r, namespaced, &path.index(i))).collect()
}

fn validate_role(role: &Role) -> ErrorList {
    let mut errs = meta::object_meta(&role.metadata, true, rbac_name);
    errs.extend(rules(&role.rules, true));
    errs
}

fn aggregation(rule: Option<&AggregationRule>, options: selector::Options) -> ErrorList {
    let Some(rule) = rule else { return ErrorList::new() };
    let path = Path::new("aggregationRule").child("clusterRoleSelectors");
    let selectors = list(&rule.cluster_role_selectors);
    let mut errs = ErrorList::new();
    if selectors.is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errs.push(Error::required(&path, why));
    }
    for (i, s) in selectors.iter().enumerate() {
        let at = path.index(i);
        let found = selector::label_selector(Some(s), options, &at);
        let unreadable = !found.is_empty();
        errs.extend(found);
        if unreadable {
            // Upstream shadows the selector with the nil it failed to build.
            errs.push(invalid_raw(&at, "null", "invalid label selector."));
        }
    }
    errs
}

fn validate_cluster_role(role: &ClusterRole, options: selector::Options) -> ErrorList {
    let mut errs = meta::object_meta(&role.metadata, false, rbac_name);
    errs.extend(rules(&role.rules, false));
    errs.extend(aggregation(role.aggregation_rule.as_ref(), options));
    errs
}

/// The only column besides the name is the creation time itself.
fn row(metadata: &ObjectMeta) -> Vec<Cell> {
    let created = metadata.creation_timestamp.as_ref();
    let created = created.map_or(Cell::Null, |t| t.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
    vec![crate::kinds::print::name(metadata), created]
}

impl Strategy for Roles {
    type Kind = Role;

    fn validate_create(&self, _cx: &Context<'_>, role: &Role) -> ErrorList {
        validate_role(role)
    }

    fn validate_update(&self, _cx: &Context<'_>, role: &Role, old: &Role) -> ErrorList {
        let mut errs = validate_role(role);
        errs.extend(meta::object_meta_update(&role.metadata, &old.metadata));
        errs
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn row(&self, role: &Role, _now: Timestamp) -> Vec<Cell> {
        row(&role.metadata)
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        rbac_name(name, prefix)
    }
}

impl Strategy for ClusterRoles {
    type Kind = ClusterRole;

    fn validate_create(&self, _cx: &Context<'_>, role: &ClusterRole) -> ErrorList {
        validate_cluster_role(role, selector::Options::default())
    }

    fn validate_update(&self, _cx: &Context<'_>, role: &ClusterRole, old: &ClusterRole) -> ErrorList {
        let stored =
            old.aggregation_rule.as_ref().map(|r| list(&r.cluster_role_selectors)).unwrap_or_default();
        let allow_invalid_values = stored.iter().any(|s| selector::has_invalid_values(Some(s)));
        let mut errs = validate_cluster_role(role, selector::Options { allow_invalid_values });
        errs.extend(meta::object_meta_update(&role.metadata, &old.metadata));
        errs
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn row(&self, role: &ClusterRole, _now: Timestamp) -> Vec<Cell> {
        row(&role.metadata)
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        rbac_name(name, prefix)
    }
}
