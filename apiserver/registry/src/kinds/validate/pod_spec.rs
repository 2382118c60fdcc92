//! A pod's spec, whether its own or a template's.

use super::containers::{self, Shared, as_container};
use super::options::PodOptions;
use super::{
    affinity, dns, meta, pod_annotations, resources, security, spread, tolerations, volumes, windows,
};
use crate::kinds::prelude::*;
use crate::kinds::scheduling::priority_class::preemption_policy;
use gantry_types::k8s_openapi::api::core::v1::{Container, PodResourceClaim, PodSpec, PodTemplateSpec};
use std::collections::BTreeSet;

/// Calls `f` with every container of the spec and where it sits: init containers, containers, ephemeral ones.
pub fn visit(spec: &PodSpec, path: &Path, mut f: impl FnMut(&Container, &Path)) {
    for (i, c) in list(&spec.init_containers).iter().enumerate() {
        f(c, &path.child("initContainers").index(i));
    }
    for (i, c) in spec.containers.iter().enumerate() {
        f(c, &path.child("containers").index(i));
    }
    for (i, e) in list(&spec.ephemeral_containers).iter().enumerate() {
        f(&as_container(e), &path.child("ephemeralContainers").index(i));
    }
}

/// `pod` is the metadata of the pod itself, absent for templates.
pub fn spec(s: &PodSpec, pod: Option<&ObjectMeta>, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if s.termination_grace_period_seconds.is_none() {
        errs.push(Error::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let (sound, found) = volumes::volumes(list(&s.volumes), pod, options, &path.child("volumes"));
    errs.extend(found);
    let claims = list(&s.resource_claims);
    errs.extend(resource_claims(claims, pod, &path.child("resourceClaims")));
    let restart_policy = text(&s.restart_policy);
    let cx = Shared {
        volumes: sound,
        claims: claims.iter().filter(|c| !c.name.is_empty()).map(|c| c.name.clone()).collect(),
        grace: s.termination_grace_period_seconds,
        os: s.os.as_ref(),
        restart_policy,
        host_users: s.host_users != Some(false),
        options: *options,
    };
    let init = list(&s.init_containers);
    errs.extend(containers::regular(&s.containers, &cx, &path.child("containers")));
    errs.extend(containers::init(init, &s.containers, &cx, &path.child("initContainers")));
    let ephemeral = list(&s.ephemeral_containers);
    let at = path.child("ephemeralContainers");
    errs.extend(containers::ephemeral(ephemeral, &s.containers, init, &cx, &at));
    errs.extend(resources::pod_level(s, &cx.claims, options.allow_indivisible_huge_pages, path));
    errs.extend(host_network_ports(s, options, &path.child("containers")));
    errs.extend(one_of_restart_policies(restart_policy, &path.child("restartPolicy")));
    let dns_policy = text(&s.dns_policy);
    errs.extend(dns::policy(dns_policy, &path.child("dnsPolicy")));
    errs.extend(meta::labels(s.node_selector.as_ref(), &path.child("nodeSelector")));
    if let Some(c) = &s.security_context {
        errs.extend(security::pod(c, s, options, &path.child("securityContext")));
    }
    if let Some(a) = &s.affinity {
        errs.extend(affinity::affinity(a, options, &path.child("affinity")));
    }
    errs.extend(dns::config(s.dns_config.as_ref(), dns_policy, &path.child("dnsConfig")));
    for (i, g) in list(&s.readiness_gates).iter().enumerate() {
        let at = path.child("readinessGates").index(i).child("conditionType");
        errs.extend(invalid_each(&at, &g.condition_type, names::qualified_name(&g.condition_type)));
    }
    errs.extend(scheduling_gates(s, &path.child("schedulingGates")));
    let constraints = list(&s.topology_spread_constraints);
    errs.extend(spread::constraints(constraints, options, &path.child("topologySpreadConstraints")));
    errs.extend(windows::host_process(s, path));
    errs.extend(host_users(s, options, path));
    errs.extend(hostname_override(s, path));
    errs.extend(plain_fields(s, options, path));
    errs.extend(windows::by_os(s, path));
    errs.extend(file_key_volumes(s, path));
    errs
}

/// Fields judged alone.
fn plain_fields(s: &PodSpec, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut named = |field: &str, value: &str, messages: fn(&str) -> Vec<String>| {
        if !value.is_empty() {
            errs.extend(invalid_each(&path.child(field), value, messages(value)));
        }
    };
    let subdomain: fn(&str) -> Vec<String> = |v| meta::subdomain_name(v, false);
    named("serviceAccountName", text(&s.service_account_name), subdomain);
    named("nodeName", text(&s.node_name), subdomain);
    if let Some(n) = s.active_deadline_seconds.filter(|n| !(1..=i64::from(i32::MAX)).contains(n)) {
        let why = names::inclusive_range_error(1, i64::from(i32::MAX));
        errs.push(Error::invalid(&path.child("activeDeadlineSeconds"), &n, why));
    }
    let mut named = |field: &str, value: &str, messages: fn(&str) -> Vec<String>| {
        if !value.is_empty() {
            errs.extend(invalid_each(&path.child(field), value, messages(value)));
        }
    };
    named("hostname", text(&s.hostname), names::dns1123_label);
    named("subdomain", text(&s.subdomain), names::dns1123_label);
    errs.extend(tolerations::tolerations(list(&s.tolerations), options, &path.child("tolerations")));
    errs.extend(dns::host_aliases(list(&s.host_aliases), &path.child("hostAliases")));
    let class = text(&s.priority_class_name);
    if !class.is_empty() {
        errs.extend(invalid_each(&path.child("priorityClassName"), class, subdomain(class)));
    }
    if let Some(class) = &s.runtime_class_name {
        errs.extend(invalid_each(&path.child("runtimeClassName"), class, subdomain(class)));
    }
    if let Some(policy) = &s.preemption_policy {
        errs.extend(preemption_policy(policy, &path.child("preemptionPolicy")));
    }
    if let Some(overhead) = &s.overhead {
        let as_limits = gantry_types::k8s_openapi::api::core::v1::ResourceRequirements {
            limits: Some(overhead.clone()),
            ..Default::default()
        };
        let indivisible = options.allow_indivisible_huge_pages;
        errs.extend(resources::container(&as_limits, &BTreeSet::new(), indivisible, &path.child("overhead")));
    }
    errs
}

fn one_of_restart_policies(policy: &str, path: &Path) -> Option<Error> {
    match policy {
        "Always" | "OnFailure" | "Never" => None,
        "" => Some(Error::required(path, "")),
        other => Some(Error::not_supported(path, other, &["Always", "OnFailure", "Never"])),
    }
}

fn resource_claims(claims: &[PodResourceClaim], pod: Option<&ObjectMeta>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, c) in claims.iter().enumerate() {
        if pod.is_some_and(pod_annotations::is_mirror) {
            let mut e = Error::forbidden(&Path::root(), "static pods do not support resource claims");
            e.field = "[]".to_owned();
            errs.push(e);
            continue;
        }
        let at = path.index(i);
        let name_at = at.child("name");
        if c.name.is_empty() {
            errs.push(Error::required(&name_at, ""));
        } else if seen.contains(&c.name) {
            errs.push(Error::duplicate(&name_at, &c.name));
        } else {
            errs.extend(invalid_each(&name_at, &c.name, names::dns1123_label(&c.name)));
            seen.insert(&c.name);
        }
        let printed = || crate::kinds::go_types::print("PodResourceClaim", c);
        match (&c.resource_claim_name, &c.resource_claim_template_name) {
            (Some(_), Some(_)) => {
                let why =
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errs.push(invalid_raw(&at, printed(), why));
            }
            (None, None) => {
                let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errs.push(invalid_raw(&at, printed(), why));
            }
            _ => {}
        }
        for (field, name) in [
            ("resourceClaimName", &c.resource_claim_name),
            ("resourceClaimTemplateName", &c.resource_claim_template_name),
        ] {
            if let Some(name) = name {
                errs.extend(invalid_each(&at.child(field), name, meta::subdomain_name(name, false)));
            }
        }
    }
    errs
}

fn host_network_ports(s: &PodSpec, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if !flag(s.host_network) {
        return errs;
    }
    for (i, c) in s.containers.iter().enumerate() {
        for (j, p) in list(&c.ports).iter().enumerate() {
            let host = p.host_port.unwrap_or(0);
            if (options.is_pod || host != 0) && host != p.container_port {
                let at = path.index(i).child("ports").index(j).child("hostPort");
                let why = "must match `containerPort` when `hostNetwork` is true";
                errs.push(Error::invalid(&at, &host, why));
            }
        }
    }
    errs
}

fn scheduling_gates(s: &PodSpec, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, g) in list(&s.scheduling_gates).iter().enumerate() {
        let at = path.index(i);
        errs.extend(invalid_each(&at, &g.name, names::qualified_name(&g.name)));
        if !seen.insert(&g.name) {
            errs.push(Error::duplicate(&at, &g.name));
        }
    }
    errs
}

fn host_users(s: &PodSpec, options: &PodOptions, path: &Path) -> ErrorList {
    const WHY: &str = "when `hostUsers` is false";
    let mut errs = ErrorList::new();
    if s.host_users != Some(false) {
        return errs;
    }
    for (field, set) in [
        ("hostNetwork", flag(s.host_network) && !options.allow_user_ns_host_network),
        ("HostPID", flag(s.host_pid)),
        ("HostIPC", flag(s.host_ipc)),
    ] {
        if set {
            errs.push(Error::forbidden(&path.child(field), WHY));
        }
    }
    if !options.allow_user_ns_volume_devices {
        visit(s, path, |c, at| {
            if !list(&c.volume_devices).is_empty() {
                errs.push(Error::forbidden(&at.child("volumeDevices"), WHY));
            }
        });
    }
    errs
}

fn hostname_override(s: &PodSpec, path: &Path) -> ErrorList {
    let Some(name) = &s.hostname_override else { return ErrorList::new() };
    let at = path.child("hostnameOverride");
    let mut errs = ErrorList::new();
    if flag(s.set_hostname_as_fqdn) {
        errs.push(Error::forbidden(&at, "may not be specified when setHostnameAsFQDN is true"));
    }
    if flag(s.host_network) {
        errs.push(Error::forbidden(&at, "may not be specified when hostNetwork is true"));
    }
    if name.len() > 64 {
        errs.push(Error::too_long(&at, 64));
    }
    errs.extend(invalid_each(&at, name, names::dns1123_subdomain(name)));
    errs
}

/// Environment files live in an `emptyDir`.
fn file_key_volumes(s: &PodSpec, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    visit(s, path, |c, at| {
        for (i, var) in list(&c.env).iter().enumerate() {
            let file = var.value_from.as_ref().and_then(|f| f.file_key_ref.as_ref());
            let Some(name) = file.map(|f| &f.volume_name) else { continue };
            let at = at.child("env").index(i).child("valueFrom").child("fileKeyRef").child("volumeName");
            match list(&s.volumes).iter().rfind(|v| v.name == *name) {
                None => errs.push(Error::not_found(&at, name)),
                Some(v) if v.empty_dir.is_none() => {
                    errs.push(Error::invalid(&at, name, "referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    });
    errs
}

/// A pod template.
pub fn template(t: &PodTemplateSpec, options: &PodOptions, path: &Path) -> ErrorList {
    let metadata = t.metadata.clone().unwrap_or_default();
    let pod_spec = t.spec.clone().unwrap_or_default();
    let at = path.child("annotations");
    let mut errs = meta::labels(metadata.labels.as_ref(), &path.child("labels"));
    errs.extend(meta::annotations(metadata.annotations.as_ref(), &at));
    errs.extend(pod_annotations::pod(&metadata, &pod_spec, options, &at));
    let at = path.child("spec");
    errs.extend(spec(&pod_spec, None, options, &at));
    errs.extend(pod_annotations::match_fields(&metadata, &pod_spec, &at));
    if !list(&pod_spec.ephemeral_containers).is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errs.push(Error::forbidden(&at.child("ephemeralContainers"), why));
    }
    errs
}
