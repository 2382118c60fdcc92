//! Containers, init containers and ephemeral containers.

use super::mounts::Volumes;
use super::options::PodOptions;
use super::probes::Kind::{Liveness, Readiness, Startup};
use super::resources::ClaimNames;
use super::{env, mounts, probes, resources, security};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerResizePolicy, ContainerRestartRule, EphemeralContainer, PodOS,
};
use std::collections::BTreeSet;

/// What the containers of one pod share.
pub struct Shared<'a> {
    pub volumes: Volumes<'a>,
    pub claims: ClaimNames,
    pub grace: Option<i64>,
    pub os: Option<&'a PodOS>,
    pub restart_policy: &'a str,
    pub host_users: bool,
    pub options: PodOptions,
}

/// The part of an ephemeral container that is a container.
pub fn as_container(e: &EphemeralContainer) -> Container {
    let e = e.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        lifecycle: e.lifecycle,
        liveness_probe: e.liveness_probe,
        name: e.name,
        ports: e.ports,
        readiness_probe: e.readiness_probe,
        resize_policy: e.resize_policy,
        resources: e.resources,
        restart_policy: e.restart_policy,
        restart_policy_rules: e.restart_policy_rules,
        security_context: e.security_context,
        startup_probe: e.startup_probe,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_devices: e.volume_devices,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
    }
}

pub fn is_sidecar(c: &Container) -> bool {
    c.restart_policy.as_deref() == Some("Always")
}

fn common(c: &Container, cx: &Shared<'_>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let name_at = path.child("name");
    if c.name.is_empty() {
        errs.push(Error::required(&name_at, ""));
    } else {
        errs.extend(invalid_each(&name_at, &c.name, names::dns1123_label(&c.name)));
    }
    if text(&c.image).is_empty() {
        errs.push(Error::required(&path.child("image"), ""));
    }
    let at = path.child("terminationMessagePolicy");
    match text(&c.termination_message_policy) {
        "File" | "FallbackToLogsOnError" => {}
        "" => errs.push(Error::required(&at, "")),
        other => errs.push(Error::not_supported(&at, other, &["File", "FallbackToLogsOnError"])),
    }
    errs.extend(ports(list(&c.ports), &path.child("ports")));
    errs.extend(env::env(list(&c.env), &path.child("env")));
    errs.extend(env::env_from(list(&c.env_from), &path.child("envFrom")));
    errs.extend(mounts::mounts(c, &cx.volumes, &path.child("volumeMounts")));
    errs.extend(mounts::devices(c, &cx.volumes, &path.child("volumeDevices")));
    errs.extend(pull_policy(text(&c.image_pull_policy), &path.child("imagePullPolicy")));
    if let Some(r) = &c.resources {
        let indivisible = cx.options.allow_indivisible_huge_pages;
        errs.extend(resources::container(r, &cx.claims, indivisible, &path.child("resources")));
    }
    errs.extend(resize_policies(list(&c.resize_policy), cx.restart_policy, &path.child("resizePolicy")));
    if let Some(s) = &c.security_context {
        errs.extend(security::container(s, cx.host_users, &path.child("securityContext")));
    }
    errs
}

pub fn pull_policy(policy: &str, path: &Path) -> Option<Error> {
    match policy {
        "Always" | "IfNotPresent" | "Never" => None,
        "" => Some(Error::required(path, "")),
        other => Some(Error::not_supported(path, other, &["Always", "IfNotPresent", "Never"])),
    }
}

fn ports(ports: &[ContainerPort], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, p) in ports.iter().enumerate() {
        let at = path.index(i);
        let name = text(&p.name);
        if !name.is_empty() {
            let messages = names::port_name(name);
            if !messages.is_empty() {
                errs.extend(invalid_each(&at.child("name"), name, messages));
            } else if !seen.insert(name) {
                errs.push(Error::duplicate(&at.child("name"), name));
            }
        }
        let mut number = |field: &str, n: i32| {
            let messages = names::port_number(i64::from(n));
            errs.extend(messages.into_iter().map(|m| Error::invalid(&at.child(field), &n, m)));
        };
        if p.container_port != 0 {
            number("containerPort", p.container_port);
        }
        if let Some(n) = p.host_port.filter(|n| *n != 0) {
            number("hostPort", n);
        }
        if p.container_port == 0 {
            errs.push(Error::required(&at.child("containerPort"), ""));
        }
        errs.extend(protocol(text(&p.protocol), &at.child("protocol")));
    }
    errs
}

pub fn protocol(protocol: &str, path: &Path) -> Option<Error> {
    match protocol {
        "TCP" | "UDP" | "SCTP" => None,
        "" => Some(Error::required(path, "")),
        other => Some(Error::not_supported(path, other, &["SCTP", "TCP", "UDP"])),
    }
}

fn resize_policies(policies: &[ContainerResizePolicy], pod_restart: &str, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, p) in policies.iter().enumerate() {
        if !seen.insert(&p.resource_name) {
            errs.push(Error::duplicate(&path.index(i), &p.resource_name));
        }
        match p.resource_name.as_str() {
            "cpu" | "memory" => {}
            "" => errs.push(Error::required(path, "")),
            other => errs.push(Error::not_supported(path, other, &["cpu", "memory"])),
        }
        match p.restart_policy.as_str() {
            "NotRequired" | "RestartContainer" => {}
            "" => errs.push(Error::required(path, "")),
            other => errs.push(Error::not_supported(path, other, &["NotRequired", "RestartContainer"])),
        }
        if pod_restart == "Never" && p.restart_policy != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errs.push(Error::invalid(path, &p.restart_policy, why));
        }
    }
    errs
}

fn restart_policy(c: &Container, path: &Path) -> ErrorList {
    let rules = list(&c.restart_policy_rules);
    let at = path.child("restartPolicy");
    let mut errs = ErrorList::new();
    match c.restart_policy.as_deref() {
        None if rules.is_empty() => return errs,
        None => {
            errs.push(Error::required(&at, "must specify restartPolicy when restart rules are used"));
        }
        Some("Always" | "Never" | "OnFailure") => {}
        Some(other) => errs.push(Error::not_supported(&at, other, &["Always", "Never", "OnFailure"])),
    }
    let at = path.child("restartPolicyRules");
    if rules.len() > 20 {
        errs.push(Error::too_many(&at, rules.len(), 20));
    }
    for (i, ContainerRestartRule { action, exit_codes }) in rules.iter().enumerate() {
        let at = at.index(i);
        if !matches!(action.as_str(), "Restart" | "RestartAllContainers") {
            let actions = ["Restart", "RestartAllContainers"];
            errs.push(Error::not_supported(&at.child("action"), action, &actions));
        }
        let at = at.child("exitCodes");
        let Some(codes) = exit_codes else {
            errs.push(Error::required(&at, "must be specified"));
            continue;
        };
        if !matches!(codes.operator.as_str(), "In" | "NotIn") {
            errs.push(Error::not_supported(&at.child("operator"), &codes.operator, &["In", "NotIn"]));
        }
        let values = list(&codes.values).len();
        if values > 255 {
            errs.push(Error::too_many(&at.child("values"), values, 255));
        }
    }
    errs
}

fn probes(c: &Container, grace: Option<i64>, path: &Path) -> ErrorList {
    let mut errs = probes::probe(c.liveness_probe.as_ref(), Liveness, grace, &path.child("livenessProbe"));
    errs.extend(probes::probe(c.readiness_probe.as_ref(), Readiness, grace, &path.child("readinessProbe")));
    errs.extend(probes::probe(c.startup_probe.as_ref(), Startup, grace, &path.child("startupProbe")));
    errs
}

/// Host ports no two containers may share.
fn host_port_conflicts(containers: &[Container], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (ci, c) in containers.iter().enumerate() {
        let at = path.index(ci).child("ports");
        for (pi, p) in list(&c.ports).iter().enumerate() {
            let Some(port) = p.host_port.filter(|n| *n != 0) else { continue };
            let key = format!("{}/{}/{port}", text(&p.protocol), text(&p.host_ip));
            if seen.contains(&key) {
                errs.push(Error::duplicate(&at.index(pi).child("hostPort"), &key));
            } else {
                seen.insert(key);
            }
        }
    }
    errs
}

pub fn regular(containers: &[Container], cx: &Shared<'_>, path: &Path) -> ErrorList {
    if containers.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errs = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, c) in containers.iter().enumerate() {
        let at = path.index(i);
        errs.extend(common(c, cx, &at));
        if !seen.insert(&c.name) {
            errs.push(Error::duplicate(&at.child("name"), &c.name));
        }
        if let Some(l) = &c.lifecycle {
            errs.extend(probes::lifecycle(l, cx.grace, cx.os, &at.child("lifecycle")));
        }
        errs.extend(probes(c, cx.grace, &at));
        errs.extend(restart_policy(c, &at));
    }
    errs.extend(host_port_conflicts(containers, path));
    errs
}

pub fn init(containers: &[Container], regular: &[Container], cx: &Shared<'_>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen: BTreeSet<&str> = regular.iter().map(|c| c.name.as_str()).collect();
    for (i, c) in containers.iter().enumerate() {
        let at = path.index(i);
        errs.extend(common(c, cx, &at));
        errs.extend(restart_policy(c, &at));
        if seen.contains(c.name.as_str()) {
            errs.push(Error::duplicate(&at.child("name"), &c.name));
        } else if !c.name.is_empty() {
            seen.insert(&c.name);
        }
        errs.extend(host_port_conflicts(std::slice::from_ref(c), path));
        if is_sidecar(c) {
            if let Some(l) = &c.lifecycle {
                errs.extend(probes::lifecycle(l, cx.grace, cx.os, &at.child("lifecycle")));
            }
            errs.extend(probes(c, cx.grace, &at));
            continue;
        }
        for (field, set) in [
            ("lifecycle", c.lifecycle.is_some()),
            ("livenessProbe", c.liveness_probe.is_some()),
            ("readinessProbe", c.readiness_probe.is_some()),
            ("startupProbe", c.startup_probe.is_some()),
        ] {
            if set {
                let why = "may not be set for init containers without restartPolicy=Always";
                errs.push(Error::forbidden(&at.child(field), why));
            }
        }
        if !cx.options.allow_restart_container_on_init {
            for (j, p) in list(&c.resize_policy).iter().enumerate() {
                if p.restart_policy == "RestartContainer" {
                    let at = at.child("resizePolicy").index(j).child("restartPolicy");
                    let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                    errs.push(Error::invalid(&at, &p.restart_policy, why));
                }
            }
        }
    }
    errs
}

pub fn ephemeral(
    containers: &[EphemeralContainer],
    regular: &[Container],
    init: &[Container],
    cx: &Shared<'_>,
    path: &Path,
) -> ErrorList {
    let mut errs = ErrorList::new();
    let others: BTreeSet<&str> = regular.iter().chain(init).map(|c| c.name.as_str()).collect();
    let mut all = others.clone();
    for (i, e) in containers.iter().enumerate() {
        let at = path.index(i);
        let c = as_container(e);
        errs.extend(common(&c, cx, &at));
        errs.extend(image_untrimmed(&c, &at));
        if !all.insert(&e.name) {
            errs.push(Error::duplicate(&at.child("name"), &e.name));
        }
        let target = text(&e.target_container_name);
        if !target.is_empty() && !others.contains(target) {
            errs.push(Error::not_found(&at.child("targetContainerName"), target));
        }
        const WHY: &str = "cannot be set for an Ephemeral Container";
        let resources = e.resources.as_ref();
        for (field, set) in [
            ("ports", e.ports.is_some()),
            (
                "resources",
                resources.is_some_and(|r| r.limits.is_some() || r.requests.is_some() || r.claims.is_some()),
            ),
            ("resizePolicy", e.resize_policy.is_some()),
            ("restartPolicy", e.restart_policy.is_some()),
            ("restartPolicyRules", e.restart_policy_rules.is_some()),
            ("livenessProbe", e.liveness_probe.is_some()),
            ("readinessProbe", e.readiness_probe.is_some()),
            ("startupProbe", e.startup_probe.is_some()),
            ("lifecycle", e.lifecycle.is_some()),
        ] {
            if set {
                errs.push(Error::forbidden(&at.child(field), WHY));
            }
        }
        for (i, m) in list(&e.volume_mounts).iter().enumerate() {
            let at = at.child("volumeMounts").index(i);
            for (field, value) in [("subPath", &m.sub_path), ("subPathExpr", &m.sub_path_expr)] {
                if !text(value).is_empty() {
                    errs.push(Error::forbidden(&at.child(field), WHY));
                }
            }
        }
    }
    errs
}

/// Pods, unlike templates, may not have images in spaces.
pub fn image_untrimmed(c: &Container, path: &Path) -> Option<Error> {
    let image = text(&c.image);
    (image.trim() != image)
        .then(|| Error::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"))
}
