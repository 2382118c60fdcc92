//! Pods: what they ask for, as long as they may run.

use super::amounts::{Amounts, add, one, parse};
use super::{names_fit, resources};
use gantry_types::k8s_openapi::api::core::v1::{
    Container, Pod, PodAffinityTerm, PodSpec, ScopedResourceSelectorRequirement,
};
use gantry_types::k8s_openapi::jiff::{SignedDuration, Timestamp};
use gantry_types::names;
use std::collections::{BTreeMap, BTreeSet};

const COUNT: &str = "count/pods";
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What every container has to state where a quota limits it.
const DEMANDED: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";

pub(super) fn covers(name: &str) -> bool {
    let plain = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    let asked = name.strip_prefix("requests.");
    matches!(name, COUNT | "pods")
        || COMPUTE.contains(&plain)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
        || asked.is_some_and(|rest| !is_native(name) || rest.starts_with(DEVICE_CLASS))
}

/// The amounts of a quota that requests and limits come to.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut out = Amounts::from([("pods".to_owned(), one())]);
    for (name, amount) in requests {
        let paired = COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-");
        if paired {
            out.insert(name.clone(), amount.clone());
        }
        if paired || is_extended(name) || name.starts_with(DEVICE_CLASS) {
            out.insert(format!("requests.{name}"), amount.clone());
        }
    }
    for (name, amount) in limits.iter().filter(|(n, _)| COMPUTE.contains(&n.as_str())) {
        out.insert(format!("limits.{name}"), amount.clone());
    }
    out
}

/// Whether a pod has a claim to resources: it has not ended, and its time to end has not run out.
fn counts(pod: &Pod, now: Timestamp) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    let meta = &pod.metadata;
    let overdue = match (&meta.deletion_timestamp, meta.deletion_grace_period_seconds) {
        (Some(at), Some(grace)) => {
            at.0.checked_add(SignedDuration::from_secs(grace)).is_ok_and(|end| now > end)
        }
        _ => false,
    };
    !matches!(phase, "Failed" | "Succeeded") && !overdue
}

pub(super) fn usage(pod: &Pod, now: Timestamp) -> Amounts {
    let mut out = Amounts::from([(COUNT.to_owned(), one())]);
    if counts(pod, now) {
        add(&mut out, &compute(&resources::requests(pod), &resources::limits(pod)));
    }
    out
}

/// Whether a pod runs for a limited time only.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.active_deadline_seconds).is_some_and(|s| s >= 0)
}

fn is_best_effort(pod: &Pod) -> bool {
    if let Some(class) = pod.status.as_ref().and_then(|s| s.qos_class.as_deref()).filter(|c| !c.is_empty()) {
        return class == "BestEffort";
    }
    let Some(spec) = &pod.spec else { return true };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let all = containers.filter_map(|c| c.resources.as_ref()).chain(&spec.resources);
    let asks = |list: Option<&BTreeMap<_, _>>| {
        parse(list).iter().any(|(name, q)| matches!(name.as_str(), "cpu" | "memory") && q.sign() > 0)
    };
    !all.into_iter().any(|r| asks(r.requests.as_ref()) || asks(r.limits.as_ref()))
}

/// Whether a pod's affinities look into other namespaces.
pub fn crosses_namespaces(spec: &PodSpec) -> bool {
    let crosses = |t: &PodAffinityTerm| {
        t.namespaces.as_ref().is_some_and(|n| !n.is_empty()) || t.namespace_selector.is_some()
    };
    let Some(affinity) = &spec.affinity else { return false };
    let near = affinity.pod_affinity.iter().map(|a| {
        (
            &a.required_during_scheduling_ignored_during_execution,
            &a.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let far = affinity.pod_anti_affinity.iter().map(|a| {
        (
            &a.required_during_scheduling_ignored_during_execution,
            &a.preferred_during_scheduling_ignored_during_execution,
        )
    });
    near.chain(far).any(|(required, preferred)| {
        required.iter().flatten().any(crosses)
            || preferred.iter().flatten().any(|w| crosses(&w.pod_affinity_term))
    })
}

pub(super) fn in_scope(pod: &Pod, scope: &ScopedResourceSelectorRequirement) -> bool {
    match scope.scope_name.as_str() {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = pod.spec.as_ref().and_then(|s| s.priority_class_name.as_deref());
            let names: Vec<&str> = class.into_iter().filter(|c| !c.is_empty()).collect();
            names_fit(scope, &names)
        }
        "CrossNamespacePodAffinity" => pod.spec.as_ref().is_some_and(crosses_namespaces),
        _ => false,
    }
}

/// What containers fail to state of what a quota limits; `None` where nothing is missing.
pub(super) fn unstated(pod: &Pod, limited: &[&str]) -> Option<String> {
    let spec = pod.spec.as_ref().filter(|s| !resources::has_pod_level(s))?;
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let stated = |c: &Container| {
        let r = c.resources.as_ref();
        compute(&parse(r.and_then(|r| r.requests.as_ref())), &parse(r.and_then(|r| r.limits.as_ref())))
    };
    for c in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let stated = stated(c);
        let demanded = limited.iter().filter(|name| DEMANDED.contains(name));
        for name in demanded.filter(|name| !stated.contains_key(**name)) {
            missing.entry(name).or_default().insert(&c.name);
        }
    }
    if missing.is_empty() {
        return None;
    }
    let each = |(name, containers): (&str, BTreeSet<&str>)| {
        format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    };
    Some(format!("must specify {}", missing.into_iter().map(each).collect::<Vec<_>>().join("; ")))
}
