//! `/status` of a pod.

use super::options::PodOptions;
use super::{ip, meta, pod_annotations};
use crate::kinds::go_types;
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus};
use std::collections::BTreeSet;

pub fn update(new: &Pod, old: &Pod, options: &PodOptions) -> ErrorList {
    let mut errs = meta::object_meta_update(&new.metadata, &old.metadata);
    let at = Path::new("metadata").child("annotations");
    errs.extend(pod_annotations::update(&new.metadata, &old.metadata, &at));
    let (spec, old_spec) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    errs.extend(pod_annotations::pod(&new.metadata, &spec, options, &at));
    let (status, had) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    let path = Path::new("status");
    errs.extend(conditions(&status, &path.child("conditions")));
    if text(&spec.node_name) != text(&old_spec.node_name) {
        errs.push(Error::forbidden(&path.child("nodeName"), "may not be changed directly"));
    }
    let at = path.child("nominatedNodeName");
    let nominated = text(&status.nominated_node_name);
    if nominated != text(&had.nominated_node_name) && !nominated.is_empty() {
        errs.extend(invalid_each(&at, nominated, meta::subdomain_name(nominated, false)));
        if !text(&old_spec.node_name).is_empty() {
            errs.push(Error::forbidden(&at, "may not be set on pods that are already bound to a node"));
        }
    }
    if let Some(g) = status.observed_generation.filter(|g| *g < 0) {
        let at = path.child("observedGeneration");
        errs.push(Error::invalid(&at, &g, "must be a non-negative integer"));
    }
    errs.extend(meta::immutable(text(&status.qos_class), text(&had.qos_class), &path.child("qosClass")));
    errs.extend(transitions(&status, &had, &old_spec, &path));
    errs.extend(claim_statuses(&status, &spec, &path.child("resourceClaimStatuses")));
    errs.extend(ips(&status, &had, &path));
    for (field, all, of) in [
        ("containerStatuses", &status.container_statuses, Some(spec.containers.as_slice())),
        ("initContainerStatuses", &status.init_container_statuses, Some(list(&spec.init_containers))),
        ("ephemeralContainerStatuses", &status.ephemeral_container_statuses, None),
    ] {
        for (i, s) in list(all).iter().enumerate() {
            errs.extend(users(s, &spec, &path.child(field).index(i)));
            errs.extend(allocated(s, of, &path.child(field).index(i).child("allocatedResourcesStatus")));
        }
    }
    errs
}

fn conditions(status: &PodStatus, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, c) in list(&status.conditions).iter().enumerate() {
        let at = path.index(i);
        if let Some(g) = c.observed_generation.filter(|g| *g < 0) {
            let at = at.child("observedGeneration");
            errs.push(Error::invalid(&at, &g, "must be a non-negative integer"));
        }
        if !matches!(c.type_.as_str(), "PodScheduled" | "Ready" | "Initialized") {
            errs.extend(invalid_each(&at.child("Type"), &c.type_, names::qualified_name(&c.type_)));
        }
    }
    errs
}

/// Containers that have ended for good stay ended.
fn transitions(new: &PodStatus, old: &PodStatus, spec: &PodSpec, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let all_may_restart = spec
        .containers
        .iter()
        .chain(list(&spec.init_containers))
        .any(|c| list(&c.restart_policy_rules).iter().any(|r| r.action == "RestartAllContainers"));
    let sets: [(&str, _, _, Option<&[Container]>); 3] = [
        ("containerStatuses", &new.container_statuses, &old.container_statuses, Some(&spec.containers)),
        (
            "initContainerStatuses",
            &new.init_container_statuses,
            &old.init_container_statuses,
            Some(list(&spec.init_containers)),
        ),
        (
            "ephemeralContainerStatuses",
            &new.ephemeral_container_statuses,
            &old.ephemeral_container_statuses,
            None,
        ),
    ];
    for (field, new, old, containers) in sets {
        if containers.is_some() && all_may_restart {
            continue;
        }
        for (i, o) in list(old).iter().enumerate() {
            let ended = o.state.as_ref().and_then(|s| s.terminated.as_ref());
            let Some(ended) = ended else { continue };
            let lives = |n: &&ContainerStatus| {
                n.name == o.name && n.state.as_ref().is_none_or(|s| s.terminated.is_none())
            };
            if list(new).iter().find(lives).is_none() {
                continue;
            }
            let container = containers.and_then(|cs| cs.iter().find(|c| c.name == o.name));
            if !container.is_some_and(|c| should_restart(c, spec, ended.exit_code)) {
                let at = path.child(field).index(i).child("state");
                errs.push(Error::forbidden(&at, "may not be transitioned to non-terminated state"));
            }
        }
    }
    errs
}

/// Whether a container that ended so will be started again.
fn should_restart(c: &Container, spec: &PodSpec, exit_code: i32) -> bool {
    let by_policy = |policy: &str| match policy {
        "OnFailure" => exit_code != 0,
        "Never" => false,
        _ => true,
    };
    let Some(own) = &c.restart_policy else { return by_policy(text(&spec.restart_policy)) };
    let by_rule = list(&c.restart_policy_rules).iter().any(|r| {
        r.exit_codes.as_ref().is_some_and(|e| {
            let listed = list(&e.values).contains(&exit_code);
            match e.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        })
    });
    by_rule || by_policy(own)
}

fn claim_statuses(status: &PodStatus, spec: &PodSpec, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, s) in list(&status.resource_claim_statuses).iter().enumerate() {
        let at = path.index(i);
        if !list(&spec.resource_claims).iter().any(|c| c.name == s.name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errs.push(Error::invalid(&at.child("name"), &s.name, why));
        }
        if !seen.insert(&s.name) {
            errs.push(Error::duplicate(&at.child("name"), &s.name));
        }
        if let Some(name) = &s.resource_claim_name {
            let at = at.child("resourceClaimName");
            errs.extend(invalid_each(&at, name, meta::subdomain_name(name, false)));
        }
    }
    errs
}

fn ips(new: &PodStatus, old: &PodStatus, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let pods: Vec<&str> = list(&new.pod_ips).iter().map(|p| p.ip.as_str()).collect();
    let had: Vec<&str> = list(&old.pod_ips).iter().map(|p| p.ip.as_str()).collect();
    const FAMILIES: &str = "may specify no more than one IP for each IP family";
    let at = path.child("podIPs");
    for (i, value) in pods.iter().enumerate() {
        errs.extend(ip::legacy(value, &at.index(i), &had));
    }
    if pods.len() > 1 && (pods.len() > 2 || !ip::is_dual_stack(&pods)) {
        errs.push(invalid_raw(&at, go_types::print("[PodIP", &list(&new.pod_ips)), FAMILIES));
    }
    let hosts: Vec<&str> = list(&new.host_ips).iter().map(|p| p.ip.as_str()).collect();
    let had: Vec<&str> = list(&old.host_ips).iter().map(|p| p.ip.as_str()).collect();
    let at = path.child("hostIPs");
    let Some(first) = hosts.first() else { return errs };
    if text(&new.host_ip) != *first {
        errs.push(Error::invalid(&at.index(0).child("ip"), *first, "must be equal to `hostIP`"));
    }
    for (i, value) in hosts.iter().enumerate() {
        errs.extend(ip::legacy(value, &at.index(i), &had));
    }
    if hosts.len() > 1 && (hosts.len() > 2 || !ip::is_dual_stack(&hosts)) {
        errs.push(invalid_raw(&at, go_types::print("[HostIP", &list(&new.host_ips)), FAMILIES));
    }
    errs
}

fn users(s: &ContainerStatus, spec: &PodSpec, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let Some(user) = s.user.as_ref().and_then(|u| u.linux.as_ref()) else { return errs };
    let at = path.child("user").child("linux");
    match spec.os.as_ref().map_or("linux", |os| os.name.as_str()) {
        "windows" => errs.push(Error::forbidden(&at, "cannot be set for a windows pod")),
        "linux" => {
            let groups = list(&user.supplemental_groups).iter().enumerate();
            let groups = groups.map(|(i, g)| (at.child("supplementalGroups").index(i), *g));
            let ids = [(at.child("uid"), user.uid), (at.child("gid"), user.gid)];
            for (at, id) in ids.into_iter().chain(groups) {
                errs.extend(names::user_or_group_id(id).into_iter().map(|m| Error::invalid(&at, &id, m)));
            }
        }
        _ => {}
    }
    errs
}

fn allocated(s: &ContainerStatus, containers: Option<&[Container]>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let all = list(&s.allocated_resources_status);
    let Some(containers) = containers else {
        if !all.is_empty() {
            errs.push(Error::forbidden(path, "must not be specified in container status"));
        }
        return errs;
    };
    let container = containers.iter().find(|c| c.name == s.name);
    for (i, a) in all.iter().enumerate() {
        let at = path.index(i);
        if let Some(c) = container {
            let resources = c.resources.clone().unwrap_or_default();
            let (found, why) = if a.name.starts_with("claim:") {
                let matches = list(&resources.claims).iter().any(|c| match text(&c.request) {
                    "" => a.name == format!("claim:{}", c.name),
                    request => a.name == format!("claim:{}/{request}", c.name),
                });
                (
                    matches,
                    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
                )
            } else {
                let matches = resources.requests.iter().flatten().any(|(name, _)| *name == a.name);
                (matches, "must match one of the container's resource requests")
            };
            if !found {
                errs.push(Error::invalid(&at.child("name"), &a.name, why));
            }
        }
        let mut seen = BTreeSet::new();
        for (j, r) in list(&a.resources).iter().enumerate() {
            let at = at.child("resources").index(j);
            let health = text(&r.health);
            if !matches!(health, "Healthy" | "Unhealthy" | "Unknown") {
                let all = ["Healthy", "Unhealthy", "Unknown"];
                errs.push(unsupported(&at.child("health"), health, &all));
            }
            if !seen.insert(&r.resource_id) {
                errs.push(Error::duplicate(&at.child("resourceID"), &r.resource_id));
            }
        }
    }
    errs
}
