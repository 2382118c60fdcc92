//! Address families of a service: what it asks for, what the cluster has, what it had before.

use super::invalid;
use crate::kinds::prelude::{Error, Path, list, same, text};
use crate::kinds::validate::service::{cluster_ips, needs_health_check, spec_of};
use gantry_types::StatusResult;
use gantry_types::k8s_openapi::api::core::v1::{Service, ServiceSpec};
use std::collections::BTreeMap;

fn external(s: &ServiceSpec) -> bool {
    text(&s.type_) == "ExternalName"
}

fn same_ips(a: &ServiceSpec, b: &ServiceSpec) -> bool {
    text(&a.cluster_ip) == text(&b.cluster_ip) && same(&a.cluster_ips, &b.cluster_ips)
}

/// Brings `clusterIP` and `clusterIPs` together where a client wrote only one of them.
pub fn normalize(service: &mut Service, old: Option<&Service>) {
    let spec = service.spec.get_or_insert_default();
    let one = text(&spec.cluster_ip).to_owned();
    let Some(old) = old.map(spec_of) else {
        if !one.is_empty() && list(&spec.cluster_ips).is_empty() {
            spec.cluster_ips = Some(vec![one]);
        }
        return;
    };
    if list(&spec.cluster_ips).is_empty() && one == text(&old.cluster_ip) {
        spec.cluster_ips.clone_from(&old.cluster_ips);
    }
    if one != text(&old.cluster_ip) && same(&spec.cluster_ips, &old.cluster_ips) {
        spec.cluster_ips = (!one.is_empty()).then(|| vec![one]);
    }
}

/// An update that leaves out what was allocated keeps it.
pub fn carry_over(service: &mut Service, old: &Service) {
    let old = spec_of(old);
    let spec = service.spec.get_or_insert_default();
    if !external(&old) && !external(spec) {
        if text(&spec.cluster_ip).is_empty() {
            spec.cluster_ip.clone_from(&old.cluster_ip);
        }
        if list(&spec.cluster_ips).is_empty() {
            spec.cluster_ips.clone_from(&old.cluster_ips);
        }
    }
    let needs_ports = |s: &ServiceSpec| match text(&s.type_) {
        "NodePort" => true,
        "LoadBalancer" => s.allocate_load_balancer_node_ports.unwrap_or(true),
        _ => false,
    };
    if needs_ports(&old) && needs_ports(spec) {
        let numbers = |s: &ServiceSpec| -> Vec<i32> {
            list(&s.ports).iter().filter_map(|p| p.node_port.filter(|n| *n != 0)).collect()
        };
        let (had, has) = (numbers(&old), numbers(spec));
        let by_name: BTreeMap<&str, i32> =
            list(&old.ports).iter().map(|p| (text(&p.name), p.node_port.unwrap_or(0))).collect();
        for p in spec.ports.iter_mut().flatten().filter(|p| p.node_port.unwrap_or(0) == 0) {
            let number = by_name.get(text(&p.name)).copied().unwrap_or(0);
            if number != 0 && !(had.contains(&number) && has.contains(&number)) {
                p.node_port = Some(number);
            }
        }
    }
    if needs_health_check(&old) && needs_health_check(spec) && spec.health_check_node_port.unwrap_or(0) == 0 {
        spec.health_check_node_port = old.health_check_node_port;
    }
}

/// Whether addresses and families prefer dual stack as they did, so that nothing is to be done.
pub fn settled(service: &Service, old: &Service) -> bool {
    let (spec, old) = (spec_of(service), spec_of(old));
    let prefers = |s: &ServiceSpec| text(&s.ip_family_policy) == "PreferDualStack";
    spec.type_ == old.type_
        && matches!(text(&spec.type_), "ClusterIP" | "NodePort" | "LoadBalancer")
        && prefers(&spec)
        && (prefers(&old) || old.ip_family_policy.is_none())
        && same_ips(&spec, &old)
        && same(&spec.ip_families, &old.ip_families)
}

/// Decides policy and families. `configured` are the cluster's, the primary first.
///
/// # Errors
/// `Invalid`, where the service asks for what the cluster has not or contradicts itself.
pub fn init(service: &mut Service, old: Option<&Service>, configured: &[&'static str]) -> StatusResult<()> {
    let mut spec = spec_of(service);
    if external(&spec) {
        return Ok(());
    }
    let old = old.map(spec_of);
    let headless = text(&spec.cluster_ip) == "None";
    let selectorless = headless && spec.selector.as_ref().is_none_or(BTreeMap::is_empty);
    if spec.ip_family_policy.is_none() {
        let had = old.as_ref().and_then(|o| o.ip_family_policy.clone());
        let default = if selectorless { "RequireDualStack" } else { "SingleStack" };
        spec.ip_family_policy = Some(had.unwrap_or_else(|| default.to_owned()));
    }
    let errors = cluster_ips(&spec, old.as_ref());
    if !errors.is_empty() {
        return Err(invalid(service, errors));
    }
    let path = Path::new("spec");
    let policy = text(&spec.ip_family_policy).to_owned();
    let policy_at = path.child("ipFamilyPolicy");
    let mut errors = Vec::new();
    let single = policy == "SingleStack";
    if let Some(old) = &old {
        let (fewer_ips, fewer_families) = reduced(&spec, old);
        if single {
            if same_ips(old, &spec) {
                spec.cluster_ips.iter_mut().for_each(|l| l.truncate(1));
            }
            if same(&old.ip_families, &spec.ip_families) {
                spec.ip_families.iter_mut().for_each(|l| l.truncate(1));
            }
        } else {
            let mut must = |what: &str| {
                let why = format!("must be 'SingleStack' to release the secondary {what}");
                errors.push(Error::invalid(&policy_at, &policy, why));
            };
            if fewer_ips {
                must("cluster IP");
            }
            if fewer_families {
                must("IP family");
            }
        }
    }
    if single {
        for (what, n) in
            [("cluster IPs", list(&spec.cluster_ips).len()), ("IP families", list(&spec.ip_families).len())]
        {
            if n == 2 {
                let why = format!(
                    "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                );
                errors.push(Error::invalid(&policy_at, &policy, why));
            }
        }
    }
    let ips = list(&spec.cluster_ips).to_vec();
    let mut families = list(&spec.ip_families).to_vec();
    for (i, ip) in ips.iter().enumerate().take_while(|(_, ip)| *ip != "None") {
        let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
        if i < families.len() {
            continue;
        }
        if configured.contains(&family) {
            families.push(family.to_owned());
        } else {
            let why = format!("{family} is not configured on this cluster");
            errors.push(Error::invalid(&path.child("clusterIPs").index(i), &ips, why));
        }
    }
    if !errors.is_empty() {
        return Err(invalid(service, errors));
    }
    let primary = configured.first().copied().unwrap_or("IPv4");
    let other = |family: &str| if family == "IPv4" { "IPv6" } else { "IPv4" }.to_owned();
    if selectorless {
        if families.is_empty() {
            families.push(primary.to_owned());
        }
        if families.len() < 2 && !single {
            families.push(other(&families[0]));
        }
    } else {
        if policy == "RequireDualStack" && configured.len() < 2 {
            let why = "this cluster is not configured for dual-stack services";
            errors.push(Error::invalid(&policy_at, &policy, why));
        }
        for (i, f) in families.iter().enumerate().filter(|(_, f)| !configured.contains(&f.as_str())) {
            let at = path.child("ipFamilies").index(i);
            errors.push(Error::invalid(&at, f, "not configured on this cluster"));
        }
        if !errors.is_empty() {
            return Err(invalid(service, errors));
        }
        if families.is_empty() {
            families.push(primary.to_owned());
        }
        if !single && families.len() == 1 && configured.len() == 2 {
            families.push(other(&families[0]));
        }
    }
    spec.ip_families = Some(families);
    service.spec = Some(spec);
    Ok(())
}

/// Whether the second address or family was taken away, the first being left.
fn reduced(new: &ServiceSpec, old: &ServiceSpec) -> (bool, bool) {
    let fewer = |new: &[String], old: &[String]| {
        !new.is_empty() && new.len() < old.len() && new.iter().zip(old).all(|(n, o)| n == o)
    };
    (
        fewer(list(&new.cluster_ips), list(&old.cluster_ips)),
        fewer(list(&new.ip_families), list(&old.ip_families)),
    )
}
