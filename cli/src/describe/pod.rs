//! Pods.

use super::container::containers;
use super::text::{Text, controller, time};
use super::volume;
use k8s_openapi::api::core::v1::{Container, Pod, Toleration, TopologySpreadConstraint};
use k8s_openapi::jiff::Timestamp;

/// The value of a downward API field.
pub fn field(pod: &Pod, path: &str) -> String {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let found = match path {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()),
        "status.hostIP" => status.and_then(|s| s.host_ip.clone()),
        "status.podIP" => status.and_then(|s| s.pod_ip.clone()),
        _ => None,
    };
    found.unwrap_or_default()
}

pub fn pod(t: &mut Text, p: &Pod) {
    let spec = p.spec.clone().unwrap_or_default();
    let status = p.status.clone().unwrap_or_default();
    let m = &p.metadata;
    t.pair(0, "Name", m.name.as_deref().unwrap_or_default());
    t.pair(0, "Namespace", m.namespace.as_deref().unwrap_or_default());
    if let Some(priority) = spec.priority {
        t.pair(0, "Priority", priority);
    }
    for (name, value) in [
        ("Priority Class Name", &spec.priority_class_name),
        ("Runtime Class Name", &spec.runtime_class_name),
        ("Service Account", &spec.service_account_name),
    ] {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
            t.pair(0, name, value);
        }
    }
    match spec.node_name.as_deref() {
        None | Some("") => t.pair(0, "Node", "<none>"),
        Some(node) => t.pair(0, "Node", format!("{node}/{}", status.host_ip.as_deref().unwrap_or_default())),
    }
    if let Some(start) = &status.start_time {
        t.pair(0, "Start Time", time(start.0));
    }
    t.labels("Labels", m.labels.as_ref());
    t.annotations("Annotations", m.annotations.as_ref());
    let phase = status.phase.clone().unwrap_or_default();
    match &m.deletion_timestamp {
        Some(at) if phase != "Failed" && phase != "Succeeded" => {
            let since = gantry_types::time::age(Some(at.0), Timestamp::now());
            t.pair(0, "Status", format!("Terminating (lasts {since})"));
            t.pair(
                0,
                "Termination Grace Period",
                format!("{}s", m.deletion_grace_period_seconds.unwrap_or_default()),
            );
        }
        _ => t.pair(0, "Status", phase),
    }
    for (name, value) in [("Reason", &status.reason), ("Message", &status.message)] {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
            t.pair(0, name, value);
        }
    }
    if let Some(profile) = spec.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref()) {
        t.pair(0, "SeccompProfile", &profile.type_);
        if let Some(local) = &profile.localhost_profile {
            t.pair(0, "LocalhostProfile", local);
        }
    }
    t.pair(0, "IP", status.pod_ip.as_deref().unwrap_or_default());
    let ips = status.pod_ips.clone().unwrap_or_default();
    if ips.is_empty() {
        t.line(0, "IPs:\t<none>");
    } else {
        t.line(0, "IPs:");
        for ip in ips {
            t.pair(1, "IP", ip.ip);
        }
    }
    if let Some(owner) = controller(m) {
        t.pair(0, "Controlled By", owner);
    }
    if let Some(node) = status.nominated_node_name.as_ref().filter(|n| !n.is_empty()) {
        t.pair(0, "NominatedNodeName", node);
    }
    if let Some(init) = spec.init_containers.as_ref().filter(|c| !c.is_empty()) {
        let statuses = status.init_container_statuses.as_deref().unwrap_or_default();
        containers(t, "Init Containers", init, statuses, Some(p), "");
    }
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    containers(t, "Containers", &spec.containers, statuses, Some(p), "");
    if let Some(ephemeral) = spec.ephemeral_containers.as_ref().filter(|c| !c.is_empty()) {
        let all: Vec<Container> = ephemeral
            .iter()
            .filter_map(|c| gantry_types::Document::from_typed(c).ok()?.to_typed().ok())
            .collect();
        let statuses = status.ephemeral_container_statuses.as_deref().unwrap_or_default();
        containers(t, "Ephemeral Containers", &all, statuses, Some(p), "");
    }
    let conditions = status.conditions.unwrap_or_default();
    if let Some(gates) = spec.readiness_gates.as_ref().filter(|g| !g.is_empty()) {
        t.line(0, "Readiness Gates:\n  Type\tStatus");
        for gate in gates {
            let now =
                conditions.iter().find(|c| c.type_ == gate.condition_type).map_or("<none>", |c| &c.status);
            t.line(1, &format!("{} \t{now} ", gate.condition_type));
        }
    }
    if !conditions.is_empty() {
        t.line(0, "Conditions:\n  Type\tStatus");
        for c in conditions {
            t.line(1, &format!("{} \t{} ", c.type_, c.status));
        }
    }
    volume::volumes(t, spec.volumes.as_deref().unwrap_or_default(), "");
    t.pair(0, "QoS Class", status.qos_class.as_deref().unwrap_or_default());
    t.labels("Node-Selectors", spec.node_selector.as_ref());
    tolerations(t, "Tolerations", spec.tolerations.as_deref().unwrap_or_default());
    spread(t, spec.topology_spread_constraints.as_deref().unwrap_or_default(), "");
}

pub fn tolerations(t: &mut Text, title: &str, all: &[Toleration]) {
    let mut sorted = all.to_vec();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let lines: Vec<String> = sorted
        .iter()
        .map(|x| {
            let mut line = x.key.clone().unwrap_or_default();
            let value = x.value.as_deref().unwrap_or_default();
            if !value.is_empty() {
                line += &format!("={value}");
            }
            if let Some(effect) = x.effect.as_ref().filter(|e| !e.is_empty()) {
                line += &format!(":{effect}");
            }
            if x.operator.as_deref() == Some("Exists") && value.is_empty() {
                line += if line.is_empty() { "op=Exists" } else { " op=Exists" };
            }
            if let Some(seconds) = x.toleration_seconds {
                line += &format!(" for {seconds}s");
            }
            line
        })
        .collect();
    t.list(title, &lines);
}

pub fn spread(t: &mut Text, all: &[TopologySpreadConstraint], space: &str) {
    let mut sorted = all.to_vec();
    sorted.sort_by(|a, b| a.topology_key.cmp(&b.topology_key));
    let lines: Vec<String> = sorted
        .iter()
        .map(|c| {
            let mut line = format!(
                "{}:{} when max skew {} is exceeded",
                c.topology_key, c.when_unsatisfiable, c.max_skew
            );
            if let Some(s) = &c.label_selector {
                let labels: Vec<String> =
                    s.match_labels.iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
                line += &format!(" for selector {}", labels.join(","));
            }
            line
        })
        .collect();
    if !lines.is_empty() {
        t.list(&format!("{space}Topology Spread Constraints"), &lines);
    }
}
