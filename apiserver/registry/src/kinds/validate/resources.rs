//! Resource requests, limits and claims.

use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{Container, PodSpec, ResourceClaim, ResourceRequirements};
use gantry_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use gantry_types::quantity::Quantity;
use std::collections::BTreeMap;

pub type ResourceList = BTreeMap<String, ApiQuantity>;

pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const HUGE_PAGES: &str = "hugepages-";

/// The exact amount; `None` where the text is none (the decoder refuses those before).
pub fn parse(q: &ApiQuantity) -> Option<Quantity> {
    Quantity::try_from(q).ok()
}

pub fn is_huge_page(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether requests may stay below limits.
pub fn overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

const COUNTS: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "storage",
    "requests.storage",
];

/// Whether a bare name is one of the API's own.
pub fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name)
        || COUNTS.contains(&name)
        || is_huge_page(name)
        || name.starts_with("requests.hugepages-")
}

/// Whether a resource is counted in whole numbers.
pub fn is_integer(name: &str) -> bool {
    COUNTS.contains(&name) || is_extended(name)
}

/// A resource's name: qualified, and standard when bare.
pub fn resource_name(name: &str, path: &Path) -> ErrorList {
    let errs: ErrorList = invalid_each(path, name, names::qualified_name(name)).collect();
    if errs.is_empty() && !name.contains('/') && !is_standard(name) {
        return vec![Error::invalid(path, name, "must be a standard resource type or fully qualified")];
    }
    errs
}

/// A resource's name where a container asks for it.
pub fn container_resource_name(name: &str, path: &Path) -> ErrorList {
    let mut errs = resource_name(name, path);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page(name) {
            errs.push(Error::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errs.push(Error::invalid(path, name, "doesn't follow extended resource name standard"));
    }
    errs
}

/// Resources a pod as a whole may be given.
pub fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_page(name)
}

fn pod_resource_name(name: &str, path: &Path) -> ErrorList {
    let errs = resource_name(name, path);
    if errs.is_empty() && !is_pod_level(name) {
        return vec![Error::not_supported(path, name, &["cpu", "hugepages-", "memory"])];
    }
    errs
}

/// Not negative, and whole where the resource is counted.
pub fn quantity_value(name: &str, q: &ApiQuantity, path: &Path) -> ErrorList {
    let Some(amount) = parse(q) else {
        let why =
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        return vec![Error::invalid(path, &q.0, why)];
    };
    let mut errs = ErrorList::new();
    if amount.sign() < 0 {
        errs.push(Error::invalid(path, &amount.to_string(), NOT_NEGATIVE));
    }
    if is_integer(name) && amount.milli_value() % 1000 != 0 {
        errs.push(Error::invalid(path, &amount.to_string(), "must be an integer"));
    }
    errs
}

fn huge_page_error(name: &str, amount: &Quantity) -> Option<String> {
    let size: Option<Quantity> = name.strip_prefix(HUGE_PAGES).and_then(|s| s.parse().ok());
    let divisible = size.is_some_and(|s| {
        let (amount, size) = (amount.value(), s.value());
        amount >= 0 && size > 0 && amount % size == 0
    });
    (!divisible).then(|| format!("{amount} is not positive integer multiple of {name}"))
}

/// Whether a stored spec asks for huge pages in fractions of a page.
pub fn has_indivisible_huge_pages(spec: &PodSpec) -> bool {
    let each = |r: &Option<ResourceRequirements>| {
        let lists = r.iter().flat_map(|r| [&r.limits, &r.requests]).flatten();
        lists.flatten().any(|(name, q)| {
            is_huge_page(name) && parse(q).is_none_or(|amount| huge_page_error(name, &amount).is_some())
        })
    };
    spec.containers.iter().chain(list(&spec.init_containers)).any(|c| each(&c.resources))
        || spec.overhead.iter().flatten().any(|(name, q)| {
            is_huge_page(name) && parse(q).is_none_or(|amount| huge_page_error(name, &amount).is_some())
        })
}

/// Names of resource claims a container may refer to.
pub type ClaimNames = std::collections::BTreeSet<String>;

/// Requests, limits and claims of a container.
pub fn container(r: &ResourceRequirements, claims: &ClaimNames, indivisible: bool, path: &Path) -> ErrorList {
    requirements(r, container_resource_name, claims, indivisible, path)
}

fn requirements(
    r: &ResourceRequirements,
    name_check: fn(&str, &Path) -> ErrorList,
    claims: &ClaimNames,
    indivisible: bool,
    path: &Path,
) -> ErrorList {
    let (limits_at, requests_at) = (path.child("limits"), path.child("requests"));
    let mut errs = ErrorList::new();
    let (mut compute, mut huge) = (false, false);
    let mut common = |name: &str, q: &ApiQuantity, at: &Path, errs: &mut ErrorList| {
        errs.extend(name_check(name, at));
        errs.extend(quantity_value(name, q, at));
        compute |= matches!(name, "cpu" | "memory");
    };
    let mut huge_page = |name: &str, q: &ApiQuantity, at: &Path, errs: &mut ErrorList| {
        if is_huge_page(name) {
            huge = true;
            if let Some(amount) = parse(q).filter(|_| !indivisible) {
                let why = huge_page_error(name, &amount);
                errs.extend(why.map(|why| Error::invalid(at, &amount.to_string(), why)));
            }
        }
    };
    for (name, q) in r.limits.iter().flatten() {
        let at = limits_at.key(name);
        common(name, q, &at, &mut errs);
        huge_page(name, q, &at, &mut errs);
    }
    for (name, q) in r.requests.iter().flatten() {
        let at = requests_at.key(name);
        common(name, q, &at, &mut errs);
        let limit = r.limits.as_ref().and_then(|l| l.get(name));
        match (limit.and_then(parse), parse(q)) {
            (Some(limit), Some(amount)) => {
                if amount != limit && !overcommit_allowed(name) {
                    let why = format!("must be equal to {name} limit of {limit}");
                    errs.push(Error::invalid(&requests_at, &amount.to_string(), why));
                } else if amount > limit {
                    let why = format!("must be less than or equal to {name} limit of {limit}");
                    errs.push(Error::invalid(&requests_at, &amount.to_string(), why));
                }
            }
            (None, _) if limit.is_none() && !overcommit_allowed(name) => {
                errs.push(Error::required(&limits_at, "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
        huge_page(name, q, &at, &mut errs);
    }
    if !compute && huge {
        errs.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
    errs.extend(claim_refs(list(&r.claims), claims, &path.child("claims")));
    errs
}

fn claim_refs(refs: &[ResourceClaim], claims: &ClaimNames, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen: Vec<String> = Vec::new();
    for (i, claim) in refs.iter().enumerate() {
        let at = path.index(i);
        let name = &claim.name;
        if name.is_empty() {
            errs.push(Error::required(&at, ""));
            continue;
        }
        if seen.contains(name) {
            errs.push(Error::duplicate(&at, name));
        } else {
            let request = text(&claim.request);
            let mut key = name.clone();
            if !request.is_empty() {
                errs.extend(invalid_each(&at.child("request"), request, names::dns1123_label(request)));
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                errs.push(Error::duplicate(&at, &key));
            } else if request.is_empty() {
                let before = seen.iter().filter(|k| k.split_once('/').is_some_and(|(n, _)| n == name));
                errs.extend(before.map(|_| Error::duplicate(&at, name)));
            }
            seen.push(key);
        }
        if !claims.contains(name) {
            let mut e = Error::not_found(&at, name);
            e.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if claims.is_empty() {
                e.detail.push_str(" which is empty");
            } else {
                let all: Vec<&str> = claims.iter().map(String::as_str).collect();
                e.detail.push_str(&format!(": {}", all.join(", ")));
            }
            errs.push(e);
        }
    }
    errs
}

/// Requests and limits of the pod as a whole, and that its containers fit in.
pub fn pod_level(spec: &PodSpec, claims: &ClaimNames, indivisible: bool, path: &Path) -> ErrorList {
    let Some(resources) = &spec.resources else { return ErrorList::new() };
    let at = path.child("resources");
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return vec![Error::forbidden(&at, "may not be set for a windows pod")];
    }
    let mut errs = ErrorList::new();
    if resources.claims.is_some() {
        errs.push(Error::forbidden(&at.child("claims"), "claims may not be set for Resources at pod-level"));
    }
    errs.extend(requirements(resources, pod_resource_name, claims, indivisible, &at));
    errs.extend(consistency(spec, resources, &at));
    errs
}

fn consistency(spec: &PodSpec, resources: &ResourceRequirements, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (name, total) in aggregate(spec, |r| r.requests.as_ref()) {
        let Some(own) = resources.requests.as_ref().and_then(|r| r.get(&name)).and_then(parse) else {
            continue;
        };
        if total > own {
            let why = format!("must be greater than or equal to aggregate container requests of {total}");
            errs.push(Error::invalid(&path.child("requests").key(&name), &own.to_string(), why));
        }
    }
    for (name, total) in aggregate(spec, |r| r.limits.as_ref()) {
        let Some(own) = resources.limits.as_ref().and_then(|r| r.get(&name)).and_then(parse) else {
            continue;
        };
        if is_huge_page(&name) && total > own {
            let why = format!("must be greater than or equal to aggregate container limits of {total}");
            errs.push(Error::invalid(&path.child("limits").key(&name), &own.to_string(), why));
        }
    }
    for (i, c) in spec.containers.iter().enumerate() {
        for (name, q) in c.resources.iter().filter_map(|r| r.limits.as_ref()).flatten() {
            let own = resources.limits.as_ref().and_then(|r| r.get(name)).and_then(parse);
            let (Some(own), Some(amount)) = (own, parse(q)) else { continue };
            if amount > own {
                let at = path.child("containers").index(i).key(name).child("limits");
                let why = format!("must be less than or equal to pod limits of {own}");
                errs.push(Error::invalid(&at, &amount.to_string(), why));
            }
        }
    }
    errs
}

fn add(to: &mut BTreeMap<String, Quantity>, name: &str, amount: &Quantity) {
    to.entry(name.to_owned()).and_modify(|q| q.add(amount)).or_insert_with(|| amount.clone());
}

fn raise(to: &mut BTreeMap<String, Quantity>, from: &BTreeMap<String, Quantity>) {
    for (name, amount) in from {
        let slot = to.entry(name.clone()).or_insert_with(|| amount.clone());
        if *amount > *slot {
            slot.clone_from(amount);
        }
    }
}

/// What a pod's containers need together: the running ones and restartable init containers side by side, or
/// the most any plain init container needs beside the restartable ones started before it.
pub fn aggregate(
    spec: &PodSpec,
    of: impl Fn(&ResourceRequirements) -> Option<&ResourceList>,
) -> BTreeMap<String, Quantity> {
    let amounts = |c: &Container| -> BTreeMap<String, Quantity> {
        let list = c.resources.as_ref().and_then(&of);
        list.into_iter().flatten().filter_map(|(n, q)| Some((n.clone(), parse(q)?))).collect()
    };
    let mut total = BTreeMap::new();
    for c in &spec.containers {
        amounts(c).iter().for_each(|(n, q)| add(&mut total, n, q));
    }
    let mut sidecars = BTreeMap::new();
    let mut init = BTreeMap::new();
    for c in list(&spec.init_containers) {
        let mut own = amounts(c);
        if c.restart_policy.as_deref() == Some("Always") {
            for (n, q) in &own {
                add(&mut total, n, q);
                add(&mut sidecars, n, q);
            }
            own = sidecars.clone();
        } else {
            sidecars.iter().for_each(|(n, q)| add(&mut own, n, q));
        }
        raise(&mut init, &own);
    }
    raise(&mut total, &init);
    total
}
