//! Services.

use super::{containers, ip, meta, probes};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec, ServiceStatus};
use serde::Serialize;
use std::collections::BTreeSet;

pub fn spec_of(s: &Service) -> ServiceSpec {
    s.spec.clone().unwrap_or_default()
}

pub fn is_headless(s: &ServiceSpec) -> bool {
    matches!(list(&s.cluster_ips), [only] if only == "None")
}

pub fn externally_accessible(s: &ServiceSpec) -> bool {
    match text(&s.type_) {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !list(&s.external_ips).is_empty(),
        _ => false,
    }
}

pub fn needs_health_check(s: &ServiceSpec) -> bool {
    text(&s.type_) == "LoadBalancer" && text(&s.external_traffic_policy) == "Local"
}

fn spec_path() -> Path {
    Path::new("spec")
}

pub fn create(s: &Service) -> ErrorList {
    let mut errs = meta::object_meta(&s.metadata, true, meta::label_name);
    errs.extend(service(s, None));
    errs
}

pub fn update(s: &Service, old: &Service) -> ErrorList {
    let mut errs = meta::object_meta_update(&s.metadata, &old.metadata);
    let (new_spec, old_spec) = (spec_of(s), spec_of(old));
    errs.extend(cluster_ips_kept(&new_spec, &old_spec));
    errs.extend(families_kept(&new_spec, &old_spec));
    let balanced = |s: &ServiceSpec| text(&s.type_) == "LoadBalancer";
    if balanced(&new_spec)
        && balanced(&old_spec)
        && new_spec.load_balancer_class != old_spec.load_balancer_class
    {
        let at = spec_path().child("loadBalancerClass");
        errs.push(Error::invalid(&at, &new_spec.load_balancer_class, "may not change once set"));
    }
    errs.extend(load_balancer_class(&new_spec));
    if needs_health_check(&old_spec)
        && needs_health_check(&new_spec)
        && new_spec.health_check_node_port != old_spec.health_check_node_port
    {
        errs.push(Error::forbidden(&spec_path().child("healthCheckNodePort"), meta::IMMUTABLE));
    }
    errs.extend(service(s, Some(old)));
    errs
}

fn service(s: &Service, old: Option<&Service>) -> ErrorList {
    let mut errs = ErrorList::new();
    let annotation =
        |s: &Service, key: &str| s.metadata.annotations.as_ref().and_then(|a| a.get(key).cloned());
    const MODE: &str = "service.kubernetes.io/topology-mode";
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let annotations_at = Path::new("metadata").child("annotations");
    if let (Some(mode), Some(hints)) = (annotation(s, MODE), annotation(s, HINTS))
        && mode != hints
    {
        let why = format!("must match annotations[{HINTS}] when both are specified");
        errs.push(Error::invalid(&annotations_at.key(MODE), &mode, why));
    }
    let spec = spec_of(s);
    let old_spec = old.map(spec_of);
    let path = spec_path();
    let kind = text(&spec.type_);
    let ports = list(&spec.ports);
    let headless = is_headless(&spec);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errs.push(Error::required(&path.child("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            errs.push(Error::invalid(&path.child("clusterIPs").index(0), "None", why));
        }
        "ExternalName" => errs.extend(external_name(&spec)),
        _ => {}
    }
    let mut names_seen = BTreeSet::new();
    for (i, p) in ports.iter().enumerate() {
        errs.extend(port(p, ports.len() > 1, &mut names_seen, &path.child("ports").index(i)));
    }
    errs.extend(meta::labels(spec.selector.as_ref(), &path.child("selector")));
    errs.extend(session_affinity(&spec));
    errs.extend(cluster_ips(&spec, old_spec.as_ref()));
    let stored: Vec<&str> = old_spec
        .as_ref()
        .map(|o| list(&o.external_ips).iter().map(String::as_str).collect())
        .unwrap_or_default();
    for (i, value) in list(&spec.external_ips).iter().enumerate() {
        let at = path.child("externalIPs").index(i);
        let found = ip::legacy(value, &at, &stored);
        if found.is_empty() {
            errs.extend(ip::endpoint(value, &at));
        }
        errs.extend(found);
    }
    const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if kind.is_empty() {
        errs.push(Error::required(&path.child("type"), ""));
    } else if !TYPES.contains(&kind) {
        errs.push(Error::not_supported(&path.child("type"), kind, TYPES));
    }
    errs.extend(port_numbers(ports, kind));
    errs.extend(source_ranges(s, &spec, old, old_spec.as_ref()));
    if spec.allocate_load_balancer_node_ports.is_some() && kind != "LoadBalancer" {
        let at = path.child("allocateLoadBalancerNodePorts");
        errs.push(Error::forbidden(&at, "may only be used when `type` is 'LoadBalancer'"));
    }
    if spec.allocate_load_balancer_node_ports.is_none() && kind == "LoadBalancer" {
        errs.push(Error::required(&Path::new("allocateLoadBalancerNodePorts"), ""));
    }
    errs.extend(load_balancer_class(&spec));
    errs.extend(traffic(&spec));
    errs
}

fn external_name(s: &ServiceSpec) -> ErrorList {
    const WHY: &str = "may not be set for ExternalName services";
    let path = spec_path();
    let mut errs = ErrorList::new();
    for (field, set) in [
        ("clusterIPs", !list(&s.cluster_ips).is_empty()),
        ("ipFamilies", !list(&s.ip_families).is_empty()),
        ("ipFamilyPolicy", s.ip_family_policy.is_some()),
    ] {
        if set {
            errs.push(Error::forbidden(&path.child(field), WHY));
        }
    }
    let name = text(&s.external_name);
    let name = name.strip_suffix('.').unwrap_or(name);
    let at = path.child("externalName");
    if name.is_empty() {
        errs.push(Error::required(&at, ""));
    } else {
        errs.extend(invalid_each(&at, name, names::dns1123_subdomain(name)));
    }
    errs
}

fn port<'a>(p: &'a ServicePort, named: bool, seen: &mut BTreeSet<&'a str>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let name = text(&p.name);
    let at = path.child("name");
    if !name.is_empty() {
        errs.extend(invalid_each(&at, name, names::dns1123_label(name)));
        if !seen.insert(name) {
            errs.push(Error::duplicate(&at, name));
        }
    } else if named {
        errs.push(Error::required(&at, ""));
    }
    let messages = names::port_number(i64::from(p.port));
    errs.extend(messages.into_iter().map(|m| Error::invalid(&path.child("port"), &p.port, m)));
    errs.extend(containers::protocol(text(&p.protocol), &path.child("protocol")));
    let zero = IntOrString::Int(0);
    errs.extend(probes::port(p.target_port.as_ref().unwrap_or(&zero), &path.child("targetPort")));
    if let Some(app) = &p.app_protocol {
        errs.extend(invalid_each(&path.child("appProtocol"), app, names::qualified_name(app)));
    }
    errs
}

fn session_affinity(s: &ServiceSpec) -> ErrorList {
    let path = spec_path();
    let config_at = path.child("sessionAffinityConfig");
    let at = path.child("sessionAffinity");
    const NEEDED: &str = "when session affinity type is ClientIP";
    match text(&s.session_affinity) {
        "" => vec![Error::required(&at, "")],
        "None" => {
            let why = "must not be set when session affinity is None";
            s.session_affinity_config.iter().map(|_| Error::forbidden(&config_at, why)).collect()
        }
        "ClientIP" => {
            let Some(config) = &s.session_affinity_config else {
                return vec![Error::required(&config_at, NEEDED)];
            };
            let at = config_at.child("clientIP");
            let Some(client) = &config.client_ip else { return vec![Error::required(&at, NEEDED)] };
            let at = at.child("timeoutSeconds");
            match client.timeout_seconds {
                None => vec![Error::required(&at, NEEDED)],
                Some(n) if !(1..=86400).contains(&n) => {
                    vec![Error::invalid(&at, &n, "must be greater than 0 and less than 86400")]
                }
                Some(_) => ErrorList::new(),
            }
        }
        other => vec![Error::not_supported(&at, other, &["ClientIP", "None"])],
    }
}

/// Addresses, families and their policy; also what the allocator checks before it allocates.
pub fn cluster_ips(s: &ServiceSpec, old: Option<&ServiceSpec>) -> ErrorList {
    let mut errs = ErrorList::new();
    if text(&s.type_) == "ExternalName" {
        return errs;
    }
    let path = spec_path();
    let (ips_at, families_at) = (path.child("clusterIPs"), path.child("ipFamilies"));
    let (one, ips) = (text(&s.cluster_ip), list(&s.cluster_ips));
    if one.is_empty() {
        if !ips.is_empty() {
            errs.push(Error::invalid(&ips_at, ips, "must be empty when `clusterIP` is not specified"));
        }
    } else if ips.is_empty() {
        errs.push(Error::required(&ips_at, ""));
    } else if ips[0] != one {
        errs.push(Error::invalid(&ips_at, ips, "first value must match `clusterIP`"));
    }
    let families = list(&s.ip_families);
    let mut seen = BTreeSet::new();
    for (i, f) in families.iter().enumerate() {
        if !matches!(f.as_str(), "IPv4" | "IPv6") {
            errs.push(Error::not_supported(&families_at.index(i), f, &["IPv4", "IPv6"]));
        }
        if !seen.insert(f) {
            errs.push(Error::duplicate(&families_at.index(i), f));
        }
    }
    const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    if let Some(p) = s.ip_family_policy.as_deref().filter(|p| !POLICIES.contains(p)) {
        errs.push(Error::not_supported(&path.child("ipFamilyPolicy"), p, POLICIES));
    }
    let stored: Vec<&str> =
        old.map(|o| list(&o.cluster_ips).iter().map(String::as_str).collect()).unwrap_or_default();
    let mut bad = false;
    for (i, value) in ips.iter().enumerate() {
        if i == 0 && value == "None" {
            if ips.len() > 1 {
                bad = true;
                errs.push(Error::invalid(&ips_at, ips, "'None' must be the first and only value"));
            }
            continue;
        }
        let found = ip::legacy(value, &ips_at.index(i), &stored);
        bad |= !found.is_empty();
        errs.extend(found);
    }
    if ips.len() > 2 {
        errs.push(Error::invalid(&ips_at, ips, "may only hold up to 2 values"));
    }
    if bad {
        return errs;
    }
    let texts: Vec<&str> = ips.iter().map(String::as_str).collect();
    if ips.len() > 1 && !ip::is_dual_stack(&texts) {
        errs.push(Error::invalid(&ips_at, ips, "may specify no more than one IP for each IP family"));
    }
    if !is_headless(s) {
        for (i, (value, family)) in ips.iter().zip(families).enumerate() {
            let is_six = value.contains(':');
            let expected = match family.as_str() {
                "IPv4" if is_six => "IPv4",
                "IPv6" if !is_six => "IPv6",
                _ => continue,
            };
            let why = format!("expected an {expected} value as indicated by `ipFamilies[{i}]`");
            errs.push(Error::invalid(&ips_at.index(i), value, why));
        }
    }
    errs
}

const FIXED: &str = "may not change once set";

fn cluster_ips_kept(new: &ServiceSpec, old: &ServiceSpec) -> ErrorList {
    let mut errs = ErrorList::new();
    let external = |s: &ServiceSpec| text(&s.type_) == "ExternalName";
    if external(new) || external(old) || (is_headless(new) && is_headless(old)) {
        return errs;
    }
    let at = spec_path().child("clusterIPs");
    let (n, o) = (list(&new.cluster_ips), list(&old.cluster_ips));
    if n.len() == o.len() {
        for (i, _) in n.iter().zip(o).enumerate().filter(|(_, (n, o))| n != o) {
            errs.push(Error::invalid(&at.index(i), n, FIXED));
        }
        return errs;
    }
    if o.len() > n.len() && n.is_empty() {
        errs.push(invalid_raw(&at.index(0), "null", "primary clusterIP can not be unset"));
    }
    if let (Some(first), Some(had)) = (n.first(), o.first())
        && first != had
    {
        errs.push(Error::invalid(&at.index(0), n, FIXED));
    }
    if o.len() > n.len() && n.len() == 1 && text(&new.ip_family_policy) != "SingleStack" {
        let why = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        errs.push(Error::invalid(&spec_path().child("ipFamilyPolicy"), &new.ip_family_policy, why));
    }
    errs
}

fn families_kept(new: &ServiceSpec, old: &ServiceSpec) -> ErrorList {
    let mut errs = ErrorList::new();
    let external = |s: &ServiceSpec| text(&s.type_) == "ExternalName";
    if external(new) || external(old) || is_headless(new) || is_headless(old) {
        return errs;
    }
    let at = spec_path().child("ipFamilies").index(0);
    let (n, o) = (list(&new.ip_families), list(&old.ip_families));
    if n.len() == o.len() {
        errs.extend(n.iter().zip(o).filter(|(n, o)| n != o).map(|_| Error::invalid(&at, n, FIXED)));
        return errs;
    }
    if o.len() > n.len() && list(&new.cluster_ips).is_empty() {
        errs.push(Error::invalid(&at, n, "primary ipFamily can not be unset"));
    }
    if let (Some(first), Some(had)) = (n.first(), o.first())
        && first != had
    {
        errs.push(Error::invalid(&at, list(&new.cluster_ips), FIXED));
    }
    if o.len() > n.len() && n.len() == 1 && text(&new.ip_family_policy) != "SingleStack" {
        let why = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        errs.push(Error::invalid(&spec_path().child("ipFamilyPolicy"), &new.ip_family_policy, why));
    }
    errs
}

fn port_numbers(ports: &[ServicePort], kind: &str) -> ErrorList {
    /// The key of a duplicate, as Go prints the port it builds for it.
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Key<'a> {
        name: &'a str,
        protocol: &'a str,
        app_protocol: Option<()>,
        port: i32,
        target_port: i32,
        node_port: i32,
    }
    let path = spec_path().child("ports");
    let mut errs = ErrorList::new();
    let node_port = |p: &ServicePort| p.node_port.filter(|n| *n != 0);
    if kind == "ClusterIP" {
        for (i, _) in ports.iter().enumerate().filter(|(_, p)| node_port(p).is_some()) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errs.push(Error::forbidden(&path.index(i).child("nodePort"), why));
        }
    }
    let mut seen = BTreeSet::new();
    for (i, p) in ports.iter().enumerate() {
        if let Some(n) = node_port(p)
            && !seen.insert((text(&p.protocol), n))
        {
            errs.push(Error::duplicate(&path.index(i).child("nodePort"), &n));
        }
    }
    let mut seen = BTreeSet::new();
    for (i, p) in ports.iter().enumerate() {
        if !seen.insert((text(&p.protocol), p.port)) {
            let protocol = text(&p.protocol);
            let key =
                Key { name: "", protocol, app_protocol: None, port: p.port, target_port: 0, node_port: 0 };
            let mut e = Error::duplicate(&path.index(i), "");
            e.value = Some(meta::go_json(&key));
            errs.push(e);
        }
    }
    errs
}

fn source_ranges(
    s: &Service,
    spec: &ServiceSpec,
    old: Option<&Service>,
    old_spec: Option<&ServiceSpec>,
) -> ErrorList {
    const KEY: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    const WHY: &str = "may only be used when `type` is 'LoadBalancer'";
    let mut errs = ErrorList::new();
    let balanced = text(&spec.type_) == "LoadBalancer";
    let ranges = list(&spec.load_balancer_source_ranges);
    let annotation = |s: &Service| s.metadata.annotations.as_ref().and_then(|a| a.get(KEY).cloned());
    if !ranges.is_empty() {
        let at = spec_path().child("LoadBalancerSourceRanges");
        if !balanced {
            errs.push(Error::forbidden(&at, WHY));
        }
        let stored: Vec<&str> = old_spec
            .map(|o| list(&o.load_balancer_source_ranges).iter().map(|r| r.trim()).collect())
            .unwrap_or_default();
        for (i, r) in ranges.iter().enumerate() {
            errs.extend(ip::legacy_cidr(r.trim(), &at.index(i), &stored));
        }
    } else if let Some(value) = annotation(s) {
        let at = Path::new("metadata").child("annotations").key(KEY);
        if !balanced {
            errs.push(Error::forbidden(&at, WHY));
        }
        if old.and_then(annotation).as_ref() != Some(&value) && !value.trim().is_empty() {
            for r in value.trim().split(',') {
                errs.extend(ip::legacy_cidr(r.trim(), &at, &[]));
            }
        }
    }
    errs
}

fn load_balancer_class(s: &ServiceSpec) -> ErrorList {
    let Some(class) = &s.load_balancer_class else { return ErrorList::new() };
    let at = spec_path().child("loadBalancerClass");
    if text(&s.type_) == "LoadBalancer" {
        return invalid_each(&at, class, names::qualified_name(class)).collect();
    }
    vec![Error::forbidden(&at, "may only be used when `type` is 'LoadBalancer'")]
}

fn traffic(s: &ServiceSpec) -> ErrorList {
    let path = spec_path();
    let mut errs = ErrorList::new();
    let at = path.child("externalTrafficPolicy");
    let policy = text(&s.external_traffic_policy);
    match (externally_accessible(s), policy) {
        (false, "") => {}
        (false, p) => errs.push(Error::invalid(&at, p, "may only be set for externally-accessible services")),
        (true, "") => errs.push(Error::required(&at, "")),
        (true, "Cluster" | "Local") => {}
        (true, p) => errs.push(Error::not_supported(&at, p, &["Cluster", "Local"])),
    }
    let at = path.child("healthCheckNodePort");
    let port = s.health_check_node_port.unwrap_or(0);
    if needs_health_check(s) {
        if port == 0 {
            errs.push(Error::required(&at, ""));
        } else {
            let messages = names::port_number(i64::from(port));
            errs.extend(messages.into_iter().map(|m| Error::invalid(&at, &port, m)));
        }
    } else if port != 0 {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errs.push(Error::invalid(&at, &port, why));
    }
    let at = path.child("internalTrafficPolicy");
    match s.internal_traffic_policy.as_deref() {
        None if matches!(text(&s.type_), "NodePort" | "LoadBalancer" | "ClusterIP") => {
            errs.push(Error::required(&at, ""));
        }
        None | Some("Cluster" | "Local") => {}
        Some(p) => errs.push(Error::not_supported(&at, p, &["Cluster", "Local"])),
    }
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(d) = s.traffic_distribution.as_deref().filter(|d| !DISTRIBUTIONS.contains(d)) {
        errs.push(Error::not_supported(&path.child("trafficDistribution"), d, DISTRIBUTIONS));
    }
    errs
}

/// `/status`.
pub fn status_update(s: &Service, old: &Service) -> ErrorList {
    let mut errs = meta::object_meta_update(&s.metadata, &old.metadata);
    let ingress = |s: &Option<ServiceStatus>| {
        let balancer = s.as_ref().and_then(|s| s.load_balancer.clone());
        balancer.and_then(|b| b.ingress).unwrap_or_default()
    };
    let (now, had) = (ingress(&s.status), ingress(&old.status));
    let path = Path::new("status").child("loadBalancer").child("ingress");
    if text(&spec_of(s).type_) != "LoadBalancer" {
        if !now.is_empty() {
            errs.push(Error::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'"));
        }
        return errs;
    }
    let stored: Vec<&str> = had.iter().map(|i| text(&i.ip)).filter(|v| !v.is_empty()).collect();
    for (i, entry) in now.iter().enumerate() {
        let at = path.index(i);
        let value = text(&entry.ip);
        if !value.is_empty() {
            errs.extend(ip::legacy(value, &at.child("ip"), &stored));
        }
        let mode_at = at.child("ipMode");
        match entry.ip_mode.as_deref() {
            None if !value.is_empty() => {
                errs.push(Error::required(&mode_at, "must be specified when `ip` is set"));
            }
            Some(_) if value.is_empty() => {
                errs.push(Error::forbidden(&mode_at, "may not be specified when `ip` is not set"));
            }
            None | Some("Proxy" | "VIP") => {}
            Some(mode) => errs.push(Error::not_supported(&mode_at, mode, &["Proxy", "VIP"])),
        }
        let host = text(&entry.hostname);
        if !host.is_empty() {
            let at = at.child("hostname");
            errs.extend(invalid_each(&at, host, names::dns1123_subdomain(host)));
            if ip::parse_sloppy(host).is_some() {
                errs.push(Error::invalid(&at, host, "must be a DNS name, not an IP address"));
            }
        }
    }
    errs
}
