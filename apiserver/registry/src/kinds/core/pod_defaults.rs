//! Functional defaults of pods and pod templates.

use crate::kinds::prelude::*;
use crate::kinds::validate::resources::{self, ResourceList, parse};
use gantry_types::k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, EphemeralContainer, HTTPGetAction, Pod, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, Volume,
};
use gantry_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use std::collections::BTreeMap;

/// Rounds amounts up to thousandths and prints them canonically.
pub fn resource_list(l: &mut Option<ResourceList>) {
    for q in l.iter_mut().flat_map(BTreeMap::values_mut) {
        if let Some(mut amount) = parse(q) {
            amount.round_up(-3);
            q.0 = amount.to_string();
        }
    }
}

fn requirements(r: &mut Option<ResourceRequirements>) {
    if let Some(r) = r {
        resource_list(&mut r.limits);
        resource_list(&mut r.requests);
    }
}

/// One part of an image's path: lower-case words joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(part: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let sound = part.chars().all(|c| word(c) || matches!(c, '.' | '_' | '-'));
    sound
        && part.starts_with(word)
        && part.ends_with(word)
        && part.split(word).all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

/// Whether the name of an image, without tag and digest, is one.
fn is_image_name(name: &str) -> bool {
    let is_domain = |first: &str| {
        first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
    };
    let path = match name.split_once('/') {
        Some((domain, path)) if is_domain(domain) => path,
        _ => name,
    };
    let id = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    !id && path.split('/').all(is_path_component)
}

/// Whether an image reference means the tag `latest`: it says so, or says neither tag nor digest. Nothing is
/// known of the tag of what is no reference.
fn is_latest(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    let start = name.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match name[start..].rfind(':') {
        Some(i) => (&name[..start + i], Some(&name[start + i + 1..])),
        None => (name, None),
    };
    is_image_name(name) && tag.map_or(!digest, |tag| tag == "latest")
}

fn pull_policy(image: &str) -> &'static str {
    if is_latest(image) { "Always" } else { "IfNotPresent" }
}

fn number(n: &mut Option<i32>, value: i32) {
    if n.unwrap_or(0) == 0 {
        *n = Some(value);
    }
}

fn http_get(h: &mut Option<HTTPGetAction>) {
    if let Some(h) = h {
        default_text(&mut h.path, "/");
        default_text(&mut h.scheme, "HTTP");
    }
}

fn probe(p: &mut Option<Probe>) {
    let Some(p) = p else { return };
    number(&mut p.timeout_seconds, 1);
    number(&mut p.period_seconds, 10);
    number(&mut p.success_threshold, 1);
    number(&mut p.failure_threshold, 3);
    http_get(&mut p.http_get);
    if let Some(g) = &mut p.grpc {
        g.service.get_or_insert_default();
    }
}

fn env(vars: &mut Option<Vec<EnvVar>>) {
    for from in vars.iter_mut().flatten().filter_map(|v| v.value_from.as_mut()) {
        if let Some(f) = &mut from.field_ref {
            default_text(&mut f.api_version, "v1");
        }
        if let Some(r) = &mut from.resource_field_ref {
            r.divisor.get_or_insert_with(|| ApiQuantity("0".to_owned()));
        }
        if let Some(f) = &mut from.file_key_ref {
            f.optional.get_or_insert(false);
        }
    }
}

/// Flags that are not pointers upstream are stored only when set.
fn drop_false(b: &mut Option<bool>) {
    if *b == Some(false) {
        *b = None;
    }
}

macro_rules! container_defaults {
    ($c:expr) => {{
        let c = $c;
        let policy = pull_policy(text(&c.image));
        default_text(&mut c.image_pull_policy, policy);
        default_text(&mut c.termination_message_path, "/dev/termination-log");
        default_text(&mut c.termination_message_policy, "File");
        for p in c.ports.iter_mut().flatten() {
            default_text(&mut p.protocol, "TCP");
        }
        env(&mut c.env);
        for off in [&mut c.stdin, &mut c.stdin_once, &mut c.tty] {
            drop_false(off);
        }
        for m in c.volume_mounts.iter_mut().flatten() {
            drop_false(&mut m.read_only);
        }
        c.resources.get_or_insert_default();
        requirements(&mut c.resources);
        for p in [&mut c.liveness_probe, &mut c.readiness_probe, &mut c.startup_probe] {
            probe(p);
        }
        if let Some(l) = &mut c.lifecycle {
            for h in [&mut l.post_start, &mut l.pre_stop].into_iter().flatten() {
                http_get(&mut h.http_get);
            }
        }
        if let Some(s) = &mut c.security_context
            && s.proc_mount.as_deref() == Some("")
        {
            s.proc_mount = Some("Default".to_owned());
        }
    }};
}

fn container(c: &mut Container) {
    container_defaults!(c);
}

fn ephemeral_container(c: &mut EphemeralContainer) {
    container_defaults!(c);
}

fn has_source(v: &Volume) -> bool {
    let bare = Volume { name: v.name.clone(), ..Volume::default() };
    *v != bare
}

fn volume(v: &mut Volume) {
    const MODE: i32 = 0o644;
    if !has_source(v) {
        v.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(s) = &mut v.empty_dir
        && let Some(q) = &mut s.size_limit
        && let Some(amount) = parse(q)
    {
        q.0 = amount.to_string();
    }
    if let Some(s) = &mut v.host_path {
        s.type_.get_or_insert_default();
    }
    if let Some(s) = &mut v.secret {
        s.default_mode.get_or_insert(MODE);
    }
    if let Some(s) = &mut v.config_map {
        s.default_mode.get_or_insert(MODE);
    }
    let files = |items: &mut Option<Vec<_>>| {
        for f in items.iter_mut().flatten() {
            let f: &mut gantry_types::k8s_openapi::api::core::v1::DownwardAPIVolumeFile = f;
            if let Some(r) = &mut f.field_ref {
                default_text(&mut r.api_version, "v1");
            }
            if let Some(r) = &mut f.resource_field_ref {
                r.divisor.get_or_insert_with(|| ApiQuantity("0".to_owned()));
            }
        }
    };
    if let Some(s) = &mut v.downward_api {
        s.default_mode.get_or_insert(MODE);
        files(&mut s.items);
    }
    if let Some(s) = &mut v.projected {
        s.default_mode.get_or_insert(MODE);
        for source in s.sources.iter_mut().flatten() {
            if let Some(t) = &mut source.service_account_token {
                t.expiration_seconds.get_or_insert(3600);
            }
            if let Some(d) = &mut source.downward_api {
                files(&mut d.items);
            }
        }
    }
    if let Some(s) = &mut v.iscsi {
        default_text(&mut s.iscsi_interface, "default");
    }
    if let Some(s) = &mut v.rbd {
        default_text(&mut s.pool, "rbd");
        default_text(&mut s.user, "admin");
        default_text(&mut s.keyring, "/etc/ceph/keyring");
    }
    if let Some(s) = &mut v.azure_disk {
        default_text(&mut s.caching_mode, "ReadWrite");
        default_text(&mut s.kind, "Shared");
        default_text(&mut s.fs_type, "ext4");
        s.read_only.get_or_insert(false);
    }
    if let Some(s) = &mut v.scale_io {
        default_text(&mut s.storage_mode, "ThinProvisioned");
        default_text(&mut s.fs_type, "xfs");
    }
    if let Some(s) = &mut v.image {
        let policy = pull_policy(text(&s.reference));
        default_text(&mut s.pull_policy, policy);
    }
    if let Some(t) = v.ephemeral.as_mut().and_then(|e| e.volume_claim_template.as_mut()) {
        t.spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
        if let Some(r) = &mut t.spec.resources {
            resource_list(&mut r.limits);
            resource_list(&mut r.requests);
        }
    }
}

/// Of a pod's spec and a template's alike.
pub fn spec(s: &mut PodSpec) {
    default_text(&mut s.dns_policy, "ClusterFirst");
    default_text(&mut s.restart_policy, "Always");
    s.security_context.get_or_insert_default();
    s.termination_grace_period_seconds.get_or_insert(30);
    default_text(&mut s.scheduler_name, "default-scheduler");
    // Two names of one field; the new one wins.
    if text(&s.service_account_name).is_empty() {
        if !text(&s.service_account).is_empty() {
            s.service_account_name.clone_from(&s.service_account);
        }
    } else {
        s.service_account.clone_from(&s.service_account_name);
    }
    for off in [&mut s.host_network, &mut s.host_pid, &mut s.host_ipc] {
        drop_false(off);
    }
    s.volumes.iter_mut().flatten().for_each(volume);
    s.init_containers.iter_mut().flatten().for_each(container);
    s.containers.iter_mut().for_each(container);
    s.ephemeral_containers.iter_mut().flatten().for_each(ephemeral_container);
    requirements(&mut s.resources);
    resource_list(&mut s.overhead);
    if flag(s.host_network) {
        let all = s.containers.iter_mut().chain(s.init_containers.iter_mut().flatten());
        for p in all.flat_map(|c| c.ports.iter_mut().flatten()) {
            if p.host_port.unwrap_or(0) == 0 {
                p.host_port = Some(p.container_port);
            }
        }
    }
}

/// A template has them too, except those that only show on pods.
pub fn template(t: &mut PodTemplateSpec) {
    t.metadata.get_or_insert_default();
    let s = t.spec.get_or_insert_default();
    let ports: Vec<Vec<Option<i32>>> = all_ports(s);
    spec(s);
    restore_ports(s, ports);
}

fn all_ports(s: &PodSpec) -> Vec<Vec<Option<i32>>> {
    let all = s.containers.iter().chain(list(&s.init_containers));
    all.map(|c| list(&c.ports).iter().map(|p| p.host_port).collect()).collect()
}

fn restore_ports(s: &mut PodSpec, ports: Vec<Vec<Option<i32>>>) {
    let gate_keeps = flag(s.host_network);
    let all = s.containers.iter_mut().chain(s.init_containers.iter_mut().flatten());
    for (c, ports) in all.zip(ports).filter(|_| gate_keeps) {
        for (p, host) in c.ports.iter_mut().flatten().zip(ports) {
            p.host_port = host;
        }
    }
}

/// Requests default to limits, and the pod's own resources to the sum of its containers'.
pub fn pod(p: &mut Pod) {
    let s = p.spec.get_or_insert_default();
    spec(s);
    if s.termination_grace_period_seconds.is_some_and(|n| n < 0) {
        s.termination_grace_period_seconds = Some(1);
    }
    for c in s.containers.iter_mut().chain(s.init_containers.iter_mut().flatten()) {
        let Some(r) = &mut c.resources else { continue };
        let Some(limits) = r.limits.clone() else { continue };
        let requests = r.requests.get_or_insert_default();
        for (name, q) in limits {
            requests.entry(name).or_insert(q);
        }
    }
    pod_level(s);
    s.enable_service_links.get_or_insert(true);
}

fn pod_level(s: &mut PodSpec) {
    let Some(own) = &s.resources else { return };
    let empty = |l: &Option<ResourceList>| l.as_ref().is_none_or(BTreeMap::is_empty);
    if empty(&own.limits) && empty(&own.requests) {
        return;
    }
    let mut own = own.clone();
    let mut limits = own.limits.take().unwrap_or_default();
    for (name, total) in resources::aggregate(s, |r| r.limits.as_ref()) {
        let requested = own.requests.as_ref().is_some_and(|r| r.contains_key(&name));
        if resources::is_huge_page(&name) && !requested {
            limits.entry(name).or_insert_with(|| ApiQuantity::from(&total));
        }
    }
    if !limits.is_empty() {
        let mut requests = own.requests.take().unwrap_or_default();
        for (name, total) in resources::aggregate(s, |r| r.requests.as_ref()) {
            if resources::is_pod_level(&name) && resources::overcommit_allowed(&name) {
                requests.entry(name).or_insert_with(|| ApiQuantity::from(&total));
            }
        }
        for (name, q) in &limits {
            if resources::is_pod_level(name) {
                requests.entry(name.clone()).or_insert_with(|| q.clone());
            }
        }
        own.requests = (!requests.is_empty()).then_some(requests);
        own.limits = Some(limits);
    }
    s.resources = Some(own);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_decides_the_pull_policy() {
        let check = |image: &str, want: &str| assert_eq!(pull_policy(image), want, "{image}");
        check("nginx", "Always");
        check("nginx:latest", "Always");
        check("nginx:1.27", "IfNotPresent");
        check("registry:5000/nginx", "Always");
        check("registry:5000/nginx:1", "IfNotPresent");
        check("nginx@sha256:0123", "IfNotPresent");
        check("Registry/some/app_v1.2--x", "Always");
        check("localhost/nginx:latest", "Always");
        check("Nginx", "IfNotPresent");
        check("a b", "IfNotPresent");
        check("a/b/-c:latest", "IfNotPresent");
    }
}
