//! Whether a pod bound to this node may run on it.

use crate::{pods, quantity, resources};
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod};
use std::collections::BTreeMap;

/// A refusal: reason and message of the failed pod's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    pub message: String,
}

fn refuse(reason: &str, message: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal { reason: reason.into(), message: message.into() })
}

fn predicate(name: &str, why: &str) -> Result<(), Refusal> {
    refuse(name, format!("Predicate {name} failed: {why}"))
}

/// Checks a pod against the node and the pods already admitted.
///
/// # Errors
/// The first refusal, in upstream's words.
pub fn admit<'a>(
    pod: &Pod,
    node: &Node,
    others: impl Iterator<Item = &'a Pod> + Clone,
) -> Result<(), Refusal> {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let spec = pods::spec(pod);
    let os = spec.node_selector.as_ref().and_then(|s| s.get("kubernetes.io/os"));
    if os.is_some_and(|os| labels.get("kubernetes.io/os").is_some_and(|l| l != os)) {
        return refuse(
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        );
    }
    if spec.os.as_ref().is_some_and(|o| o.name != "linux") {
        return refuse("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS");
    }
    fits(pod, node, others.clone())?;
    if !selected(pod, node, labels) {
        return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector");
    }
    let ports = host_ports(pod);
    if others.clone().any(|o| host_ports(o).iter().any(|p| ports.iter().any(|q| conflict(p, q)))) {
        return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports");
    }
    if !pods::is_static(pod) {
        untolerated(pod, node)?;
    }
    Ok(())
}

fn fits<'a>(pod: &Pod, node: &Node, others: impl Iterator<Item = &'a Pod> + Clone) -> Result<(), Refusal> {
    let Some(allocatable) = node.status.as_ref().and_then(|s| s.allocatable.as_ref()) else { return Ok(()) };
    let short = |name: &str, requested: i64, used: i64, capacity: i64| {
        refuse(
            &format!("OutOf{name}"),
            format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            ),
        )
    };
    let capacity = allocatable.get("pods").map(quantity::value).unwrap_or(i64::MAX);
    let count = i64::try_from(others.clone().count()).unwrap_or(i64::MAX);
    if count + 1 > capacity {
        return short("pods", 1, count, capacity);
    }
    let wanted = resources::pod_requests(pod);
    let mut used: BTreeMap<String, i128> = BTreeMap::new();
    for other in others {
        for (name, amount) in resources::pod_requests(other) {
            *used.entry(name).or_default() += amount;
        }
    }
    // CPU first, then memory, as upstream reports them.
    let mut names: Vec<&String> = wanted.keys().collect();
    names.sort_by_key(|n| match n.as_str() {
        "cpu" => 0,
        "memory" => 1,
        "ephemeral-storage" => 2,
        _ => 3,
    });
    for name in names {
        // A resource the node does not have is a cluster-level one.
        let Some(capacity) = allocatable.get(name).map(quantity::exact) else { continue };
        let (requested, taken) = (wanted[name], used.get(name).copied().unwrap_or(0));
        if requested > 0 && requested + taken > capacity {
            let unit: i128 = if name == "cpu" { 1_000_000 } else { 1_000_000_000 };
            let in_units = |v: i128| i64::try_from(v / unit).unwrap_or(i64::MAX);
            return short(name, in_units(requested), in_units(taken), in_units(capacity));
        }
    }
    Ok(())
}

fn selected(pod: &Pod, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let spec = pods::spec(pod);
    let by_labels = spec.node_selector.iter().flatten().all(|(k, v)| labels.get(k) == Some(v));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    by_labels && required.is_none_or(|r| r.node_selector_terms.iter().any(|t| term(t, node, labels)))
}

fn term(t: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let expressions = t.match_expressions.as_deref().unwrap_or_default();
    let fields = t.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let name = node.metadata.name.as_deref();
    expressions.iter().all(|r| matches(r, labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| r.key == "metadata.name" && matches(r, name))
}

fn matches(r: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = r.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|v| values.iter().any(|x| x == v));
    let number = |s: Option<&str>| s.and_then(|s| s.parse::<i64>().ok());
    let bound = number(values.first().map(String::as_str));
    match r.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(bound).is_some_and(|(v, b)| v > b),
        "Lt" => number(value).zip(bound).is_some_and(|(v, b)| v < b),
        _ => false,
    }
}

fn host_ports(pod: &Pod) -> Vec<(String, String, i32)> {
    pods::containers(pod)
        .iter()
        .chain(pods::init_containers(pod).iter().filter(|c| pods::is_sidecar(c)))
        .flat_map(|c| c.ports.iter().flatten())
        .filter_map(|p| {
            let port = p.host_port.filter(|p| *p > 0)?;
            let ip = p.host_ip.clone().filter(|i| !i.is_empty()).unwrap_or_else(|| "0.0.0.0".into());
            Some((ip, p.protocol.clone().unwrap_or_else(|| "TCP".into()), port))
        })
        .collect()
}

fn conflict(a: &(String, String, i32), b: &(String, String, i32)) -> bool {
    a.1 == b.1 && a.2 == b.2 && (a.0 == b.0 || a.0 == "0.0.0.0" || b.0 == "0.0.0.0")
}

fn untolerated(pod: &Pod, node: &Node) -> Result<(), Refusal> {
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
    let tolerations = pods::spec(pod).tolerations.as_deref().unwrap_or_default();
    for t in taints.iter().filter(|t| t.effect == "NoExecute") {
        let tolerated = tolerations.iter().any(|x| {
            let exists = x.operator.as_deref() == Some("Exists");
            x.effect.as_deref().is_none_or(|e| e.is_empty() || e == t.effect)
                && x.key.as_deref().map_or(exists, |k| k.is_empty() || k == t.key)
                && (exists
                    || x.value.as_deref().unwrap_or_default() == t.value.as_deref().unwrap_or_default())
        });
        if !tolerated {
            let value = t.value.as_deref().unwrap_or_default();
            let why = format!("node(s) had untolerated taint {{{}: {value}}}", t.key);
            return predicate("TaintToleration", &why);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Container, ContainerPort, NodeStatus, PodSpec, ResourceRequirements};
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    fn pod(cpu: &str, port: i32, selector: &[(&str, &str)]) -> Pod {
        let requests = BTreeMap::from([("cpu".to_owned(), Quantity(cpu.into()))]);
        Pod {
            spec: Some(PodSpec {
                node_selector: Some(selector.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
                containers: vec![Container {
                    resources: Some(ResourceRequirements { requests: Some(requests), ..Default::default() }),
                    ports: Some(vec![ContainerPort { host_port: Some(port), ..Default::default() }]),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn refusals_in_upstream_words() {
        let mut node = Node::default();
        node.metadata.labels = Some(BTreeMap::from([("zone".into(), "a".into())]));
        let allocatable = [("cpu", "2"), ("pods", "2")];
        node.status = Some(NodeStatus {
            allocatable: Some(
                allocatable.iter().map(|(k, v)| ((*k).into(), Quantity((*v).into()))).collect(),
            ),
            ..Default::default()
        });
        let other = pod("1500m", 80, &[]);
        let check = |p: Pod, others: &[Pod], want: &str| {
            let got = admit(&p, &node, others.iter())
                .map_or_else(|r| format!("{}: {}", r.reason, r.message), |()| "ok".into());
            assert_eq!(got, want);
        };
        check(pod("500m", 81, &[("zone", "a")]), std::slice::from_ref(&other), "ok");
        check(
            pod("1", 81, &[]),
            std::slice::from_ref(&other),
            "OutOfcpu: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000",
        );
        check(
            pod("1m", 81, &[("zone", "b")]),
            &[],
            "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        );
        check(
            pod("1m", 80, &[]),
            std::slice::from_ref(&other),
            "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        );
        check(
            pod("1m", 1, &[]),
            &[pod("0", 2, &[]), pod("0", 3, &[])],
            "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2",
        );
    }
}
