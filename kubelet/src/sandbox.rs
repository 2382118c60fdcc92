//! The runtime's configuration of a pod's sandbox.

use crate::ctx::Ctx;
use gantry_kubelet_core::{dns, pods};
use gantry_kubelet_cri::{cri, labels};
use k8s_openapi::api::core::v1::{Pod, SeccompProfile};
use std::collections::HashMap;

/// The longest host name the kernel takes.
const HOST_NAME_MAX: usize = 63;

/// The pod's host name and domain; the domain is empty where the pod has none.
pub fn hostname(ctx: &Ctx, pod: &Pod) -> (String, String) {
    let spec = pods::spec(pod);
    let mut name = spec.hostname.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| pods::name(pod).into());
    if let Some(forced) = spec.hostname_override.as_ref().filter(|h| !h.is_empty()) {
        return (forced.clone(), String::new());
    }
    if name.len() > HOST_NAME_MAX {
        name.truncate(HOST_NAME_MAX);
        name.truncate(name.trim_end_matches(['-', '.']).len());
    }
    let domain = match spec.subdomain.as_deref().filter(|s| !s.is_empty()) {
        Some(sub) => format!("{sub}.{}.svc.{}", pods::namespace(pod), ctx.config.cluster_domain),
        None => String::new(),
    };
    if spec.set_hostname_as_fqdn == Some(true) && !domain.is_empty() {
        name = format!("{name}.{domain}");
    }
    (name, domain)
}

/// Whose namespaces the pod's processes are in; `target` is the container whose processes are shared.
pub fn namespaces(pod: &Pod, target: Option<String>) -> cri::NamespaceOption {
    let spec = pods::spec(pod);
    let mode = |host: bool| if host { cri::NamespaceMode::Node } else { cri::NamespaceMode::Pod } as i32;
    let pid = if spec.host_pid == Some(true) {
        cri::NamespaceMode::Node
    } else if target.is_some() {
        cri::NamespaceMode::Target
    } else if spec.share_process_namespace == Some(true) {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: mode(pods::host_network(pod)),
        ipc: mode(spec.host_ipc == Some(true)),
        pid: pid as i32,
        target_id: target.unwrap_or_default(),
        userns_options: None,
    }
}

/// A seccomp choice in the runtime's terms; `None` leaves the runtime's default for unset ones (unconfined).
pub fn seccomp(profile: Option<&SeccompProfile>, root: &std::path::Path) -> Option<cri::SecurityProfile> {
    use cri::security_profile::ProfileType as T;
    let (kind, path) = match profile?.type_.as_str() {
        "RuntimeDefault" => (T::RuntimeDefault, String::new()),
        "Localhost" => {
            let file = profile?.localhost_profile.clone().unwrap_or_default();
            (T::Localhost, root.join("seccomp").join(file).to_string_lossy().into_owned())
        }
        _ => (T::Unconfined, String::new()),
    };
    Some(cri::SecurityProfile { profile_type: kind as i32, localhost_ref: path })
}

/// Groups beyond the primary one: the pod's own, and the one that owns its volumes.
pub fn groups(pod: &Pod) -> Vec<i64> {
    let Some(s) = pods::spec(pod).security_context.as_ref() else { return Vec::new() };
    s.fs_group.iter().chain(s.supplemental_groups.iter().flatten()).copied().collect()
}

fn int(value: i64) -> cri::Int64Value {
    cri::Int64Value { value }
}

/// Builds the sandbox configuration; reads the host's resolver file.
pub fn config(ctx: &Ctx, pod: &Pod, attempt: u32) -> cri::PodSandboxConfig {
    let spec = pods::spec(pod);
    let mut tags: HashMap<String, String> =
        pod.metadata.labels.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    for (key, value) in [
        (labels::POD_NAME, pods::name(pod)),
        (labels::POD_NAMESPACE, pods::namespace(pod)),
        (labels::POD_UID, pods::uid(pod)),
    ] {
        tags.insert(key.into(), value.into());
    }
    let host =
        ctx.config.resolv_conf.as_ref().and_then(|p| std::fs::read_to_string(p).ok()).unwrap_or_default();
    let (resolver, warning) =
        dns::for_pod(pod, &dns::parse(&host), &ctx.config.cluster_dns, &ctx.config.cluster_domain);
    if let Some(text) = warning {
        ctx.event(pod, None, gantry_client::EventType::Warning, "DNSConfigForming", text);
    }
    let privileged = pods::init_containers(pod)
        .iter()
        .chain(pods::containers(pod))
        .any(|c| c.security_context.as_ref().is_some_and(|s| s.privileged == Some(true)));
    let security = spec.security_context.as_ref();
    let sandbox_security = cri::LinuxSandboxSecurityContext {
        privileged,
        namespace_options: Some(namespaces(pod, None)),
        run_as_user: security.and_then(|s| s.run_as_user).map(int),
        run_as_group: security.and_then(|s| s.run_as_group).map(int),
        supplemental_groups: groups(pod),
        seccomp: Some(cri::SecurityProfile {
            profile_type: cri::security_profile::ProfileType::RuntimeDefault as i32,
            localhost_ref: String::new(),
        }),
        ..Default::default()
    };
    let sysctls = security.and_then(|s| s.sysctls.as_ref());
    let linux = cri::LinuxPodSandboxConfig {
        cgroup_parent: ctx.pod_cgroup(pod).unwrap_or_default(),
        security_context: Some(sandbox_security),
        sysctls: sysctls.into_iter().flatten().map(|s| (s.name.replace('/', "."), s.value.clone())).collect(),
        ..Default::default()
    };
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: pods::name(pod).into(),
            uid: pods::uid(pod).into(),
            namespace: pods::namespace(pod).into(),
            attempt,
        }),
        hostname: if pods::host_network(pod) { String::new() } else { hostname(ctx, pod).0 },
        log_directory: ctx.log_dir(pod).to_string_lossy().into_owned(),
        dns_config: Some(cri::DnsConfig {
            servers: resolver.servers,
            searches: resolver.searches,
            options: resolver.options,
        }),
        port_mappings: ports(pod),
        labels: tags,
        annotations: pod.metadata.annotations.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        linux: Some(linux),
    }
}

fn ports(pod: &Pod) -> Vec<cri::PortMapping> {
    if pods::host_network(pod) {
        return Vec::new();
    }
    let sidecars = pods::init_containers(pod).iter().filter(|c| pods::is_sidecar(c));
    sidecars
        .chain(pods::containers(pod))
        .flat_map(|c| c.ports.iter().flatten())
        .filter(|p| p.host_port.is_some_and(|h| h > 0))
        .map(|p| cri::PortMapping {
            protocol: match p.protocol.as_deref() {
                Some("UDP") => cri::Protocol::Udp,
                Some("SCTP") => cri::Protocol::Sctp,
                _ => cri::Protocol::Tcp,
            } as i32,
            container_port: p.container_port,
            host_port: p.host_port.unwrap_or(0),
            host_ip: p.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}
