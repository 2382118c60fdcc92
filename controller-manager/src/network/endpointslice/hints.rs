//! For whom an endpoint is: by `spec.trafficDistribution`, or spread over zones as their nodes can serve
//! (`service.kubernetes.io/topology-mode: Auto`).

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, ForNode, ForZone};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How much more than its share an endpoint may be burdened with.
const OVERLOAD: f64 = 0.2;
const ZONE: &str = "topology.kubernetes.io/zone";

/// Each zone's share of the cluster's processors; empty where that cannot be told.
pub(super) type Shares = BTreeMap<String, f64>;

/// What is to be told of a service's hints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Enabled(String),
    Disabled(String),
}

fn cpu(node: &Node) -> f64 {
    let text = node.status.as_ref().and_then(|s| s.allocatable.as_ref()?.get("cpu")).map(|q| q.0.as_str());
    text.and_then(|t| t.parse::<gantry_types::quantity::Quantity>().ok())
        .map_or(0.0, |q| q.milli_value() as f64)
}

fn label<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

fn counts(node: &Node) -> bool {
    let excluded = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|c| c.type_ == "Ready").is_some_and(|c| c.status == "True");
    ready && !excluded.iter().any(|l| label(node, l).is_some())
}

/// What a node adds to its zone; `None` where it does not count. Changes of anything else do not matter.
pub(super) fn weight(node: &Node) -> Option<(String, i64)> {
    counts(node).then(|| (label(node, ZONE).unwrap_or_default().to_owned(), cpu(node) as i64))
}

/// The shares of the zones. One node of no zone or no processors, or fewer than two zones, and there are none.
pub(super) fn shares(nodes: &[Arc<Node>]) -> Shares {
    let mut by_zone: BTreeMap<String, i64> = BTreeMap::new();
    for (zone, cpu) in nodes.iter().filter_map(|n| weight(n)) {
        if zone.is_empty() || cpu == 0 {
            return Shares::new();
        }
        *by_zone.entry(zone).or_default() += cpu;
    }
    let total: i64 = by_zone.values().sum();
    if by_zone.len() < 2 || total == 0 {
        return Shares::new();
    }
    by_zone.into_iter().map(|(zone, cpu)| (zone, cpu as f64 / total as f64)).collect()
}

/// Whether the service asks to be spread by zones.
pub(super) fn wants_topology(service: &Service) -> bool {
    let of = |name: &str| service.metadata.annotations.as_ref()?.get(name).map(String::as_str);
    let mode = of("service.kubernetes.io/topology-aware-hints")
        .or_else(|| of("service.kubernetes.io/topology-mode"));
    matches!(mode, Some("Auto" | "auto"))
}

fn is_ready(e: &Endpoint) -> bool {
    e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(false)
}

fn for_zone(name: &str) -> Option<EndpointHints> {
    Some(EndpointHints { for_zones: Some(vec![ForZone { name: name.to_owned() }]), for_nodes: None })
}

/// `spec.trafficDistribution`: each ready endpoint is for its own zone, or node.
pub(super) fn by_distribution<'e>(service: &Service, endpoints: impl Iterator<Item = &'e mut Endpoint>) {
    let nodes = match service.spec.as_ref().and_then(|s| s.traffic_distribution.as_deref()) {
        Some("PreferClose" | "PreferSameZone") => false,
        Some("PreferSameNode") => true,
        _ => return,
    };
    for endpoint in endpoints.filter(|e| is_ready(e)) {
        let zone = endpoint.zone.clone();
        let node = endpoint.node_name.clone().filter(|_| nodes);
        if zone.is_some() || node.is_some() {
            endpoint.hints = Some(EndpointHints {
                for_nodes: node.map(|name| vec![ForNode { name }]),
                for_zones: zone.map(|name| vec![ForZone { name }]),
            });
        }
    }
}

struct Allocation {
    least: usize,
    most: usize,
    desired: f64,
}

fn allocations(shares: &Shares, count: usize) -> Result<BTreeMap<&str, Allocation>, String> {
    let sizes = || format!("({count} endpoints, {} zones)", shares.len());
    if shares.is_empty() {
        return Err(
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
                .into(),
        );
    }
    if shares.len() > count {
        return Err(format!("Insufficient number of endpoints {}", sizes()));
    }
    let mut out = BTreeMap::new();
    let mut least_of_all = 0;
    for (zone, share) in shares {
        let desired = share * count as f64;
        let least = (desired / (1.0 + OVERLOAD)).ceil() as usize;
        least_of_all += least;
        out.insert(zone.as_str(), Allocation { least, most: 0, desired: desired.max(least as f64) });
    }
    if least_of_all > count {
        return Err(format!(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold {}",
            sizes()
        ));
    }
    for allocation in out.values_mut() {
        allocation.most = allocation.least + count - least_of_all;
    }
    Ok(out)
}

/// The zone with the most, the first of equals.
fn greatest(zones: &BTreeMap<&str, f64>) -> Option<(String, f64)> {
    let most =
        zones.iter().filter(|(_, n)| **n > 0.0).fold(
            None,
            |best: Option<(&str, f64)>, (zone, n)| match best {
                Some((_, b)) if b >= *n => best,
                _ => Some((zone, *n)),
            },
        );
    most.map(|(zone, n)| (zone.to_owned(), n))
}

/// How many endpoints move from zone to zone.
fn moves(allocations: &BTreeMap<&str, Allocation>, has: &BTreeMap<String, usize>) -> Vec<(String, String)> {
    let (mut giving, mut receiving): (BTreeMap<&str, f64>, BTreeMap<&str, f64>) = Default::default();
    for (zone, allocation) in allocations {
        let difference = has.get(*zone).copied().unwrap_or(0) as f64 - allocation.desired;
        if difference > 0.0 {
            giving.insert(*zone, difference);
        } else if difference < 0.0 {
            receiving.insert(*zone, -difference);
        }
    }
    let mut out = Vec::new();
    while let (Some((from, give)), Some((to, take))) = (greatest(&giving), greatest(&receiving)) {
        if (give < 1.0 && take < 1.0) || give < 0.5 || take < 0.5 {
            break;
        }
        for (zones, zone) in [(&mut giving, &from), (&mut receiving, &to)] {
            if let Some(left) = zones.get_mut(zone.as_str()) {
                *left -= 1.0;
            }
        }
        out.push((from, to));
    }
    out
}

/// Spreads ready endpoints over zones. `had`: the zone an endpoint was for, which it keeps while the spread
/// is bearable.
///
/// # Errors
/// Why no hints can be given; none are then.
pub(super) fn by_topology(
    shares: &Shares,
    endpoints: &mut [&mut Endpoint],
    had: &dyn Fn(&Endpoint) -> Option<String>,
) -> Result<(), String> {
    let mut ready: Vec<&mut &mut Endpoint> = endpoints.iter_mut().filter(|e| is_ready(e)).collect();
    let allocations = allocations(shares, ready.len())?;
    if ready.iter().any(|e| e.zone.as_deref().unwrap_or_default().is_empty()) {
        return Err("One or more endpoints do not have a zone specified".into());
    }
    let kept: Option<Vec<String>> = ready.iter().map(|e| had(e)).collect();
    let count = |zones: &[String]| {
        let mut out: BTreeMap<String, usize> = BTreeMap::new();
        zones.iter().for_each(|z| *out.entry(z.clone()).or_default() += 1);
        out
    };
    let bearable = |zones: &[String]| {
        let counts = count(zones);
        counts.keys().all(|z| allocations.contains_key(z.as_str()))
            && allocations
                .iter()
                .all(|(zone, a)| (a.least..=a.most).contains(&counts.get(*zone).copied().unwrap_or(0)))
    };
    let zones = match kept.filter(|zones| bearable(zones)) {
        Some(zones) => zones,
        None => {
            let mut zones: Vec<String> = ready.iter().map(|e| e.zone.clone().unwrap_or_default()).collect();
            for (from, to) in moves(&allocations, &count(&zones)) {
                if let Some(one) = zones.iter_mut().find(|z| **z == from) {
                    *one = to;
                }
            }
            zones
        }
    };
    for (endpoint, zone) in ready.iter_mut().zip(&zones) {
        endpoint.hints = for_zone(zone);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::discovery::v1::EndpointConditions;

    fn endpoints(zones: &[&str]) -> Vec<Endpoint> {
        let one = |zone: &&str| Endpoint {
            zone: (!zone.is_empty()).then(|| (*zone).to_owned()),
            conditions: Some(EndpointConditions { ready: Some(true), ..Default::default() }),
            ..Endpoint::default()
        };
        zones.iter().map(one).collect()
    }

    fn hinted(all: &[Endpoint]) -> Vec<&str> {
        let zone = |e: &Endpoint| Some(e.hints.as_ref()?.for_zones.as_ref()?[0].name.as_str().to_owned());
        all.iter().map(|e| zone(e).map_or("-", |z| Box::leak(z.into_boxed_str()))).collect()
    }

    fn check(shares: &[(&str, f64)], zones: &[&str], had: &[&str], want: Result<&[&str], &str>) {
        let shares: Shares = shares.iter().map(|(z, s)| ((*z).to_owned(), *s)).collect();
        let mut all = endpoints(zones);
        for (e, zone) in all.iter_mut().zip(had) {
            e.hostname = Some((*zone).to_owned());
        }
        let kept = |e: &Endpoint| e.hostname.clone();
        let mut refs: Vec<&mut Endpoint> = all.iter_mut().collect();
        let found = by_topology(&shares, &mut refs, &kept);
        match want {
            Ok(want) => assert_eq!((found, hinted(&all)), (Ok(()), want.to_vec()), "{zones:?} {had:?}"),
            Err(why) => assert_eq!(found, Err(why.to_owned()), "{zones:?}"),
        }
    }

    #[test]
    fn endpoints_are_spread_as_zones_can_serve() {
        let even = &[("a", 0.5), ("b", 0.5)][..];
        check(even, &["a", "b"], &[], Ok(&["a", "b"]));
        check(even, &["a", "a", "a", "a"], &[], Ok(&["b", "b", "a", "a"]));
        let seven = &["a", "a", "a", "a", "b", "b", "b"];
        check(even, seven, seven, Ok(seven));
        let sizes = "(5 endpoints, 2 zones)";
        let why = format!(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold {sizes}"
        );
        check(even, &seven[2..], &[], Err(&why));
        check(even, &["a", "a", "b", "b"], &["b", "b", "a", "a"], Ok(&["b", "b", "a", "a"]));
        check(even, &["a", "a", "b", "b"], &["a", "a", "a", "c"], Ok(&["a", "a", "b", "b"]));
        check(even, &["a", ""], &[], Err("One or more endpoints do not have a zone specified"));
        check(even, &["a"], &[], Err("Insufficient number of endpoints (1 endpoints, 2 zones)"));
        check(
            &[],
            &["a"],
            &[],
            Err("Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"),
        );
        check(&[("a", 0.4), ("b", 0.6)], &["a", "b"], &[], Ok(&["a", "b"]));
        check(
            &[("a", 0.1), ("b", 0.9)],
            &["a", "b"],
            &[],
            Err(
                "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (2 endpoints, 2 zones)",
            ),
        );
    }

    #[test]
    fn shares_are_of_ready_workers_processors() {
        let node = |zone: &str, cpu: &str, ready: bool, master: bool| -> Arc<Node> {
            let role = if master { r#","node-role.kubernetes.io/control-plane":"""# } else { "" };
            let text = format!(
                r#"{{"metadata":{{"labels":{{"{ZONE}":"{zone}"{role}}}}},"status":{{"allocatable":{{"cpu":"{cpu}"}},"conditions":[{{"type":"Ready","status":"{}"}}]}}}}"#,
                if ready { "True" } else { "False" }
            );
            Arc::new(serde_json::from_str(&text).unwrap())
        };
        let found = shares(&[
            node("a", "1", true, false),
            node("b", "3000m", true, false),
            node("c", "8", false, false),
            node("c", "8", true, true),
        ]);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 0.25), ("b".to_owned(), 0.75)]);
        assert!(shares(&[node("a", "1", true, false)]).is_empty());
        assert!(shares(&[node("a", "1", true, false), node("", "1", true, false)]).is_empty());
    }
}
