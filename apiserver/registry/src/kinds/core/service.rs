//! `v1` Service.

use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::validate::service::{externally_accessible, is_headless, needs_health_check, spec_of};
use crate::kinds::validate::{ip, meta, service as rules};
use gantry_types::k8s_openapi::api::core::v1::{
    ClientIPConfig, Service, ServicePort, ServiceSpec, ServiceStatus, SessionAffinityConfig,
};
use std::collections::BTreeSet;

/// Addresses and node ports come from [`crate::alloc`]; fields that belong to a type go with it.
pub struct Services;

fn default_port(p: &mut ServicePort) {
    default_text(&mut p.protocol, "TCP");
    let unset = match &p.target_port {
        None | Some(IntOrString::Int(0)) => true,
        Some(IntOrString::String(s)) => s.is_empty(),
        Some(IntOrString::Int(_)) => false,
    };
    if unset {
        p.target_port = Some(IntOrString::Int(p.port));
    }
}

fn default_spec(s: &mut ServiceSpec) {
    default_text(&mut s.session_affinity, "None");
    match text(&s.session_affinity) {
        "None" => s.session_affinity_config = None,
        "ClientIP" => {
            let timeout =
                s.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()?.timeout_seconds);
            s.session_affinity_config = Some(SessionAffinityConfig {
                client_ip: Some(ClientIPConfig { timeout_seconds: Some(timeout.unwrap_or(10800)) }),
            });
        }
        _ => {}
    }
    default_text(&mut s.type_, "ClusterIP");
    s.ports.iter_mut().flatten().for_each(default_port);
    if externally_accessible(s) {
        default_text(&mut s.external_traffic_policy, "Cluster");
    }
    let kind = text(&s.type_).to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        s.internal_traffic_policy.get_or_insert_with(|| "Cluster".to_owned());
    }
    if kind == "LoadBalancer" {
        s.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

/// What belonged to the old type and was not changed goes with it.
fn drop_by_type(new: &mut ServiceSpec, old: &ServiceSpec) {
    let kind = |s: &ServiceSpec| text(&s.type_).to_owned();
    let (now, was) = (kind(new), kind(old));
    if was != "ExternalName" && now == "ExternalName" {
        if text(&new.cluster_ip) == text(&old.cluster_ip) && same(&new.cluster_ips, &old.cluster_ips) {
            new.cluster_ip = None;
            new.cluster_ips = None;
        }
        if same(&new.ip_families, &old.ip_families) {
            new.ip_families = None;
        }
        if text(&new.ip_family_policy) == text(&old.ip_family_policy) {
            new.ip_family_policy = None;
        }
    }
    let node_ports = |s: &ServiceSpec| -> BTreeSet<i32> {
        list(&s.ports).iter().filter_map(|p| p.node_port.filter(|n| *n != 0)).collect()
    };
    let ported = |k: &str| matches!(k, "NodePort" | "LoadBalancer");
    if ported(&was) && !ported(&now) && node_ports(old).is_superset(&node_ports(new)) {
        for p in new.ports.iter_mut().flatten() {
            p.node_port = None;
        }
    }
    let checked = new.health_check_node_port.unwrap_or(0) == old.health_check_node_port.unwrap_or(0);
    if needs_health_check(old) && !needs_health_check(new) && checked {
        new.health_check_node_port = None;
    }
    if was == "LoadBalancer" && now != "LoadBalancer" {
        if new.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
        if new.load_balancer_class == old.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
    let same_policy = text(&new.external_traffic_policy) == text(&old.external_traffic_policy);
    if externally_accessible(old) && !externally_accessible(new) && same_policy {
        new.external_traffic_policy = None;
    }
    let served = |k: &str| matches!(k, "ClusterIP" | "NodePort" | "LoadBalancer");
    let same_policy = text(&new.internal_traffic_policy) == text(&old.internal_traffic_policy);
    if served(&was) && !served(&now) && same_policy {
        new.internal_traffic_policy = None;
    }
}

fn warnings(s: &Service) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let mut out = Vec::new();
    if s.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(HINTS)) {
        out.push(format!(
            "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let spec = spec_of(s);
    let path = Path::new("spec");
    let kind = text(&spec.type_);
    if !matches!(text(&spec.cluster_ip), "" | "None") {
        for (i, value) in list(&spec.cluster_ips).iter().enumerate() {
            out.extend(ip::warning(value, &path.child("clusterIPs").index(i)));
        }
    }
    let headless = kind == "ClusterIP" && text(&spec.cluster_ip) == "None";
    let external = list(&spec.external_ips);
    let mut say = |text: &str| out.push(text.to_owned());
    if headless {
        if !text(&spec.load_balancer_ip).is_empty() {
            say("spec.loadBalancerIP is ignored for headless services");
        }
        if !external.is_empty() {
            say("spec.externalIPs is ignored for headless services");
        }
        if text(&spec.session_affinity) != "None" {
            say("spec.SessionAffinity is ignored for headless services");
        }
    }
    for (i, value) in external.iter().enumerate() {
        out.extend(ip::warning(value, &path.child("externalIPs").index(i)));
    }
    if !external.is_empty() && !headless && kind != "ExternalName" {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    out.extend(ip::warning(text(&spec.load_balancer_ip), &path.child("loadBalancerIP")));
    for (i, r) in list(&spec.load_balancer_source_ranges).iter().enumerate() {
        out.extend(ip::cidr_warnings(r, &path.child("loadBalancerSourceRanges").index(i)));
    }
    if kind == "ExternalName" && !external.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if kind != "ExternalName" && !text(&spec.external_name).is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(&spec.traffic_distribution) == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
    out
}

fn external_ip(s: &Service, spec: &ServiceSpec) -> String {
    let external = list(&spec.external_ips).join(",");
    let ingress = s.status.as_ref().and_then(|s| s.load_balancer.as_ref()).map(|b| list(&b.ingress));
    let balanced: BTreeSet<&str> = ingress
        .unwrap_or_default()
        .iter()
        .map(|i| if text(&i.ip).is_empty() { text(&i.hostname) } else { text(&i.ip) })
        .filter(|v| !v.is_empty())
        .collect();
    let balanced = balanced.into_iter().collect::<Vec<_>>().join(",");
    match text(&spec.type_) {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => external,
        "LoadBalancer" => match (balanced.is_empty(), external.is_empty()) {
            (true, true) => "<pending>".to_owned(),
            (true, false) => external,
            (false, true) => balanced,
            (false, false) => format!("{balanced},{external}"),
        },
        "ExternalName" => text(&spec.external_name).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

impl Strategy for Services {
    type Kind = Service;

    fn default(&self, s: &mut Service) {
        let spec = s.spec.get_or_insert_default();
        default_spec(spec);
        let balanced = text(&spec.type_) == "LoadBalancer";
        let status = s.status.get_or_insert_default().load_balancer.get_or_insert_default();
        for i in status.ingress.iter_mut().flatten() {
            if balanced && !text(&i.ip).is_empty() {
                i.ip_mode.get_or_insert_with(|| "VIP".to_owned());
            }
        }
    }

    fn prepare_create(&self, _cx: &Context<'_>, s: &mut Service) {
        s.status = None;
    }

    fn prepare_update(&self, cx: &Context<'_>, s: &mut Service, old: &Service) {
        if cx.subresource == "status" {
            s.spec.clone_from(&old.spec);
            return;
        }
        s.status.clone_from(&old.status);
        if let (Some(new), Some(had)) = (&mut s.spec, &old.spec) {
            drop_by_type(new, had);
            // The old name was cleared or changed, and the list left as it was.
            if text(&new.cluster_ip) != text(&had.cluster_ip) && same(&new.cluster_ips, &had.cluster_ips) {
                new.cluster_ips = match text(&new.cluster_ip) {
                    "" => None,
                    one => Some(vec![one.to_owned()]),
                };
            }
        }
        if text(&spec_of(s).type_) != "LoadBalancer" {
            s.status = Some(ServiceStatus {
                load_balancer: None,
                conditions: s.status.take().and_then(|s| s.conditions),
            });
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, s: &Service) -> ErrorList {
        rules::create(s)
    }

    fn validate_update(&self, cx: &Context<'_>, s: &Service, old: &Service) -> ErrorList {
        if cx.subresource == "status" { rules::status_update(s, old) } else { rules::update(s, old) }
    }

    fn warnings(&self, cx: &Context<'_>, s: &Service, _old: Option<&Service>) -> Vec<String> {
        if cx.subresource != "status" {
            return warnings(s);
        }
        let ingress = s.status.as_ref().and_then(|s| s.load_balancer.as_ref()).map(|b| list(&b.ingress));
        let path = Path::new("status").child("loadBalancer").child("ingress");
        let each = ingress.unwrap_or_default().iter().enumerate();
        each.filter_map(|(i, e)| ip::warning(text(&e.ip), &path.index(i))).collect()
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn fields(&self, s: &Service) -> Vec<(&'static str, String)> {
        let spec = spec_of(s);
        vec![
            ("spec.clusterIP", text(&spec.cluster_ip).to_owned()),
            ("spec.type", text(&spec.type_).to_owned()),
        ]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, s: &Service, now: Timestamp) -> Vec<Cell> {
        let spec = spec_of(s);
        let ports: Vec<String> = list(&spec.ports)
            .iter()
            .map(|p| match p.node_port.unwrap_or(0) {
                n if n > 0 => format!("{}:{n}/{}", p.port, text(&p.protocol)),
                _ => format!("{}/{}", p.port, text(&p.protocol)),
            })
            .collect();
        let internal = list(&spec.cluster_ips).first().map_or("<none>", String::as_str);
        vec![
            print::name(&s.metadata),
            text(&spec.type_).into(),
            internal.into(),
            external_ip(s, &spec).into(),
            if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }.into(),
            print::age(s.metadata.creation_timestamp.as_ref(), now).into(),
            print::labels(spec.selector.as_ref()).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::label_name(name, prefix)
    }
}

/// Whether a service without addresses of its own.
pub fn headless(s: &Service) -> bool {
    is_headless(&spec_of(s))
}
