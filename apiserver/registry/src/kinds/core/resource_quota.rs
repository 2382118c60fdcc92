//! `v1` ResourceQuota.

use crate::kinds::core::pod_defaults::resource_list;
use crate::kinds::prelude::*;
use crate::kinds::validate::resources::{
    self, ResourceList, is_integer, is_standard, parse, quantity_value, resource_name,
};
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::core::v1::{
    ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus, ScopeSelector, ScopedResourceSelectorRequirement,
};
use serde::Serialize;

/// How much a namespace may hold in all, by resource; scopes narrow what counts.
pub struct ResourceQuotas;

const BEST_EFFORT: &str = "BestEffort";
const NOT_BEST_EFFORT: &str = "NotBestEffort";
const TERMINATING: &str = "Terminating";
const NOT_TERMINATING: &str = "NotTerminating";
const CROSS_NAMESPACE: &str = "CrossNamespacePodAffinity";
const PRIORITY_CLASS: &str = "PriorityClass";
const VOLUME_ATTRIBUTES: &str = "VolumeAttributesClass";

const SCOPES: &[&str] = &[
    TERMINATING,
    NOT_TERMINATING,
    BEST_EFFORT,
    NOT_BEST_EFFORT,
    PRIORITY_CLASS,
    VOLUME_ATTRIBUTES,
    CROSS_NAMESPACE,
];

/// Pairs of scopes that leave nothing over.
const CONFLICTS: [[&str; 2]; 2] = [[BEST_EFFORT, NOT_BEST_EFFORT], [TERMINATING, NOT_TERMINATING]];

const POD_COMPUTE: &[&str] =
    &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

fn is_standard_for_quota(name: &str) -> bool {
    name != "storage" && (is_standard(name) || (is_integer(name) && !name.contains('/')))
}

/// Whether a scope says anything about a resource.
fn scope_fits(scope: &str, resource: &str) -> bool {
    match scope {
        TERMINATING | NOT_TERMINATING | NOT_BEST_EFFORT | PRIORITY_CLASS | CROSS_NAMESPACE => {
            resource == "pods" || POD_COMPUTE.contains(&resource)
        }
        BEST_EFFORT => resource == "pods",
        VOLUME_ATTRIBUTES => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn amounts(list: Option<&ResourceList>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (name, q) in list.into_iter().flatten() {
        let at = path.key(name);
        errs.extend(resource_name(name, &at));
        if !name.contains('/') && !is_standard_for_quota(name) {
            errs.push(Error::invalid(&at, name, "must be a standard resource for quota"));
        }
        errs.extend(quantity_value(name, q, &at));
    }
    errs
}

fn misapplied(scope: &str, spec: &ResourceQuotaSpec) -> usize {
    let names = spec.hard.iter().flatten().map(|(name, _)| name);
    names.filter(|name| is_standard_for_quota(name) && !scope_fits(scope, name)).count()
}

fn conflicting(scopes: &[&str]) -> usize {
    CONFLICTS.iter().filter(|pair| pair.iter().all(|s| scopes.contains(s))).count()
}

fn scopes(spec: &ResourceQuotaSpec, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let all: Vec<&str> = list(&spec.scopes).iter().map(String::as_str).collect();
    let mut refuse = |why: &str| errs.push(Error::invalid(path, &all, why));
    for scope in &all {
        if !SCOPES.contains(scope) {
            refuse("unsupported scope");
        }
        (0..misapplied(scope, spec)).for_each(|_| refuse("unsupported scope applied to resource"));
    }
    (0..conflicting(&all)).for_each(|_| refuse("conflicting scopes"));
    errs
}

/// As Go prints the internal type, which has no JSON names.
fn go_selector(selector: &ScopeSelector) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Term<'a> {
        scope_name: &'a str,
        operator: &'a str,
        values: Option<&'a Vec<String>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Selector<'a> {
        match_expressions: Option<Vec<Term<'a>>>,
    }
    fn term(r: &ScopedResourceSelectorRequirement) -> Term<'_> {
        Term { scope_name: &r.scope_name, operator: &r.operator, values: r.values.as_ref() }
    }
    let terms = selector.match_expressions.as_ref().map(|all| all.iter().map(term).collect());
    meta::go_json(&Selector { match_expressions: terms })
}

fn requirement(r: &ScopedResourceSelectorRequirement, path: &Path) -> ErrorList {
    const ONLY_EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
    let mut errs = ErrorList::new();
    let (operator_at, values_at) = (path.child("operator"), path.child("values"));
    let valued = matches!(r.scope_name.as_str(), PRIORITY_CLASS | VOLUME_ATTRIBUTES);
    if !valued && SCOPES.contains(&r.scope_name.as_str()) && r.operator != "Exists" {
        errs.push(Error::invalid(&operator_at, &r.operator, ONLY_EXISTS));
    }
    match r.operator.as_str() {
        "In" | "NotIn" if list(&r.values).is_empty() => {
            let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errs.push(Error::required(&values_at, why));
        }
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !list(&r.values).is_empty() => {
            let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errs.push(Error::invalid(&values_at, list(&r.values), why));
        }
        "Exists" | "DoesNotExist" => {}
        other => errs.push(Error::invalid(&operator_at, other, "not a valid selector operator")),
    }
    errs
}

fn scope_selector(spec: &ResourceQuotaSpec, path: &Path) -> ErrorList {
    let Some(selector) = &spec.scope_selector else { return ErrorList::new() };
    let path = path.child("matchExpressions");
    let mut errs = ErrorList::new();
    let all: Vec<&str> = list(&selector.match_expressions).iter().map(|r| r.scope_name.as_str()).collect();
    for r in list(&selector.match_expressions) {
        if !SCOPES.contains(&r.scope_name.as_str()) {
            errs.push(Error::invalid(&path.child("scopeName"), &r.scope_name, "unsupported scope"));
        }
        let why = "unsupported scope applied to resource";
        let wrong = misapplied(&r.scope_name, spec);
        errs.extend((0..wrong).map(|_| invalid_raw(&path, go_selector(selector), why)));
        errs.extend(requirement(r, &path));
    }
    let conflicts = conflicting(&all);
    errs.extend((0..conflicts).map(|_| Error::invalid(&path, &spec.scopes, "conflicting scopes")));
    errs
}

fn validate_spec(spec: Option<&ResourceQuotaSpec>) -> ErrorList {
    let Some(spec) = spec else { return ErrorList::new() };
    let path = Path::new("spec");
    let mut errs = amounts(spec.hard.as_ref(), &path.child("hard"));
    errs.extend(scopes(spec, &path.child("scopes")));
    errs.extend(scope_selector(spec, &path.child("scopeSelector")));
    errs
}

fn validate_status(status: Option<&ResourceQuotaStatus>) -> ErrorList {
    let Some(status) = status else { return ErrorList::new() };
    let path = Path::new("status");
    let mut errs = amounts(status.hard.as_ref(), &path.child("hard"));
    errs.extend(amounts(status.used.as_ref(), &path.child("used")));
    errs
}

fn scope_set(quota: &ResourceQuota) -> std::collections::BTreeSet<&str> {
    let scopes = quota.spec.as_ref().map(|s| list(&s.scopes)).unwrap_or_default();
    scopes.iter().map(String::as_str).collect()
}

impl Strategy for ResourceQuotas {
    type Kind = ResourceQuota;

    fn default(&self, quota: &mut ResourceQuota) {
        resource_list(&mut quota.spec.get_or_insert_default().hard);
        let status = quota.status.get_or_insert_default();
        resource_list(&mut status.hard);
        resource_list(&mut status.used);
    }

    fn prepare_create(&self, _cx: &Context<'_>, quota: &mut ResourceQuota) {
        quota.status = None;
    }

    fn prepare_update(&self, cx: &Context<'_>, quota: &mut ResourceQuota, old: &ResourceQuota) {
        if cx.subresource == "status" {
            quota.spec.clone_from(&old.spec);
        } else {
            quota.status.clone_from(&old.status);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, quota: &ResourceQuota) -> ErrorList {
        let mut errs = meta::object_meta(&quota.metadata, true, meta::subdomain_name);
        errs.extend(validate_spec(quota.spec.as_ref()));
        errs.extend(validate_status(quota.status.as_ref()));
        errs
    }

    fn validate_update(&self, cx: &Context<'_>, quota: &ResourceQuota, old: &ResourceQuota) -> ErrorList {
        let mut errs = meta::object_meta_update(&quota.metadata, &old.metadata);
        if cx.subresource == "status" {
            errs.extend(validate_status(quota.status.as_ref()));
            return errs;
        }
        errs.extend(validate_spec(quota.spec.as_ref()));
        if scope_set(quota) != scope_set(old) {
            let scopes = quota.spec.as_ref().and_then(|s| s.scopes.as_ref());
            errs.push(Error::invalid(&Path::new("spec").child("scopes"), &scopes, "field is immutable"));
        }
        errs
    }

    fn warnings(&self, _cx: &Context<'_>, quota: &ResourceQuota, old: Option<&ResourceQuota>) -> Vec<String> {
        if old.is_some() {
            return Vec::new();
        }
        let hard = quota.spec.as_ref().and_then(|s| s.hard.as_ref());
        let amount = |name: &str| hard.and_then(|h| h.get(name)).and_then(resources::parse);
        let mut out = Vec::new();
        for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
            let (mut asked, limited) = (format!("requests.{name}"), format!("limits.{name}"));
            if amount(&asked).is_none() && matches!(name, "cpu" | "memory") {
                asked = name.to_owned();
            }
            if let (Some(request), Some(limit)) = (amount(&asked), amount(&limited))
                && request > limit
            {
                out.push(format!(
                    "ResourceQuota {asked} ({request}) should be less than {limited} ({limit})"
                ));
            }
        }
        out
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, quota: &ResourceQuota, now: Timestamp) -> Vec<Cell> {
        let status = quota.status.clone().unwrap_or_default();
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in status.hard.iter().flatten() {
            let used = status.used.as_ref().and_then(|u| u.get(name)).and_then(parse).unwrap_or_default();
            let hard = parse(hard).unwrap_or_default();
            let column = if name.starts_with("limits.") { &mut limits } else { &mut requests };
            column.push(format!("{name}: {used}/{hard}"));
        }
        vec![
            print::name(&quota.metadata),
            requests.join(", ").into(),
            limits.join(", ").into(),
            print::age(quota.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
