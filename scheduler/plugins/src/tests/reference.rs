//! The rules of scheduling as they are documented, done the slow and obvious way: which nodes may a pod run
//! on? Shares nothing with the plugins, neither code nor data structures.

use k8s_openapi::api::core::v1::{
    Container, Namespace, Node, NodeSelector, NodeSelectorRequirement, PersistentVolume,
    PersistentVolumeClaim, Pod, PodAffinityTerm, PodSpec, Taint, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// Everything there is.
#[derive(Clone, Default)]
pub struct Everything {
    pub nodes: Vec<Node>,
    pub pods: Vec<Pod>,
    pub namespaces: Vec<Namespace>,
    pub claims: Vec<PersistentVolumeClaim>,
    pub volumes: Vec<PersistentVolume>,
    pub classes: Vec<StorageClass>,
}

pub fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap()
}

fn labels(of: &Option<Labels>) -> Labels {
    of.clone().unwrap_or_default()
}

fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap()
}

fn space(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap()
}

/// The nodes a pod may run on.
pub fn feasible(pod: &Pod, all: &Everything) -> Vec<String> {
    if !claims_usable(pod, all) {
        return Vec::new();
    }
    let ok = |node: &&Node| {
        taints_allow(pod, node)
            && node_matches(pod, node)
            && resources_free(pod, node, all)
            && ports_free(pod, node, all)
            && disks_free(pod, node, all)
            && volumes_reach(pod, node, all)
            && spread(pod, node, all)
            && near_and_far(pod, node, all)
    };
    let mut out: Vec<String> = all.nodes.iter().filter(ok).map(|n| name(n).to_owned()).collect();
    out.sort();
    out
}

fn on<'a>(node: &'a Node, all: &'a Everything) -> impl Iterator<Item = &'a Pod> {
    all.pods.iter().filter(move |p| spec(p).node_name.as_deref() == Some(name(node)))
}

/// "The operator Exists matches any value; an empty key with Exists matches everything; an empty effect
/// matches all effects."
fn tolerated(taint: &Taint, by: &[Toleration]) -> bool {
    by.iter().any(|t| {
        let effect = t.effect.clone().unwrap_or_default();
        let key = t.key.clone().unwrap_or_default();
        let same_value = t.value.clone().unwrap_or_default() == taint.value.clone().unwrap_or_default();
        (effect.is_empty() || effect == taint.effect)
            && (key.is_empty() || key == taint.key)
            && (t.operator.as_deref() == Some("Exists") || same_value)
    })
}

fn hard_taints_tolerated(pod: &Pod, node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
    let tolerations = spec(pod).tolerations.clone().unwrap_or_default();
    taints.iter().filter(|t| t.effect != "PreferNoSchedule").all(|t| tolerated(t, &tolerations))
}

fn taints_allow(pod: &Pod, node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true);
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    let tolerations = spec(pod).tolerations.clone().unwrap_or_default();
    (!cordoned || tolerated(&cordon, &tolerations)) && hard_taints_tolerated(pod, node)
}

fn requirement(r: &NodeSelectorRequirement, of: &Labels) -> bool {
    let value = of.get(&r.key);
    let values = r.values.clone().unwrap_or_default();
    let number = |s: &String| s.parse::<i64>().ok();
    match r.operator.as_str() {
        "In" => value.is_some_and(|v| values.contains(v)),
        "NotIn" => value.is_none_or(|v| !values.contains(v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(number).zip(number(&values[0])).is_some_and(|(a, b)| a > b),
        "Lt" => value.and_then(number).zip(number(&values[0])).is_some_and(|(a, b)| a < b),
        other => panic!("{other}"),
    }
}

/// Terms are alternatives; what is in a term must hold together; an empty term matches nothing.
fn selector_matches(selector: &NodeSelector, node: &Node) -> bool {
    let fields: Labels = [("metadata.name".to_owned(), name(node).to_owned())].into();
    selector.node_selector_terms.iter().any(|t| {
        let by_label = t.match_expressions.clone().unwrap_or_default();
        let by_field = t.match_fields.clone().unwrap_or_default();
        (!by_label.is_empty() || !by_field.is_empty())
            && by_label.iter().all(|r| requirement(r, &labels(&node.metadata.labels)))
            && by_field.iter().all(|r| requirement(r, &fields))
    })
}

fn node_matches(pod: &Pod, node: &Node) -> bool {
    let of = labels(&node.metadata.labels);
    let plain = labels(&spec(pod).node_selector).iter().all(|(k, v)| of.get(k) == Some(v));
    let affinity = spec(pod).affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    plain && required.is_none_or(|r| selector_matches(r, node))
}

/// Reads `250m`, `2`, `64Mi`, `1Gi` as thousandths.
fn milli(text: &str) -> i128 {
    let (digits, factor) = match text.find(|c: char| !c.is_ascii_digit()) {
        None => (text, 1000),
        Some(at) => match &text[at..] {
            "m" => (&text[..at], 1),
            "Mi" => (&text[..at], 1000 << 20),
            "Gi" => (&text[..at], 1000 << 30),
            other => panic!("{other}"),
        },
    };
    digits.parse::<i128>().unwrap() * factor
}

fn asks(container: &Container, what: &str) -> i128 {
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    requests.and_then(|r| r.get(what)).map_or(0, |q| milli(&q.0))
}

/// All containers together, or the largest init container with the sidecars started before it, whichever is
/// more; plus overhead. What the pod asks for as a whole comes in place of that.
fn pod_asks(pod: &Pod, what: &str) -> i128 {
    let mut running: i128 = spec(pod).containers.iter().map(|c| asks(c, what)).sum();
    let (mut sidecars, mut peak) = (0, 0);
    for c in spec(pod).init_containers.iter().flatten() {
        if c.restart_policy.as_deref() == Some("Always") {
            sidecars += asks(c, what);
            running += asks(c, what);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(asks(c, what) + sidecars);
        }
    }
    let whole = spec(pod).resources.as_ref().and_then(|r| r.requests.as_ref()).and_then(|r| r.get(what));
    let whole = whole.filter(|_| what == "cpu" || what == "memory").map(|q| milli(&q.0));
    let overhead = spec(pod).overhead.as_ref().and_then(|o| o.get(what)).map_or(0, |q| milli(&q.0));
    whole.unwrap_or(running.max(peak)) + overhead
}

fn resources_free(pod: &Pod, node: &Node, all: &Everything) -> bool {
    let allocatable = node.status.as_ref().and_then(|s| s.allocatable.clone()).unwrap_or_default();
    let has = |what: &str| allocatable.get(what).map_or(0, |q| milli(&q.0));
    let count = on(node, all).count() as i128 * 1000;
    count + 1000 <= has("pods")
        && ["cpu", "memory", "ephemeral-storage", "x.y/gpu"].iter().all(|what| {
            let wanted = pod_asks(pod, what);
            let used: i128 = on(node, all).map(|p| pod_asks(p, what)).sum();
            wanted == 0 || wanted + used <= has(what)
        })
}

/// Host ports as (protocol, address, port).
fn ports(pod: &Pod) -> Vec<(String, String, i32)> {
    let side = spec(pod).init_containers.iter().flatten().filter(|c| c.restart_policy.is_some());
    let all = spec(pod).containers.iter().chain(side).flat_map(|c| c.ports.clone().unwrap_or_default());
    all.filter_map(|p| {
        let ip = p.host_ip.unwrap_or_default();
        let ip = if ip.is_empty() { "0.0.0.0".to_owned() } else { ip };
        Some((p.protocol.unwrap_or("TCP".into()), ip, p.host_port?))
    })
    .collect()
}

fn ports_free(pod: &Pod, node: &Node, all: &Everything) -> bool {
    let taken: Vec<_> = on(node, all).flat_map(ports).collect();
    ports(pod).iter().all(|(protocol, ip, port)| {
        taken.iter().all(|(p, i, n)| {
            let apart = ip != i && ip != "0.0.0.0" && i != "0.0.0.0";
            p != protocol || n != port || apart
        })
    })
}

fn disks(pod: &Pod) -> Vec<(String, bool)> {
    let volumes = spec(pod).volumes.iter().flatten();
    volumes
        .filter_map(|v| {
            let d = v.gce_persistent_disk.as_ref()?;
            Some((d.pd_name.clone(), d.read_only == Some(true)))
        })
        .collect()
}

/// A disk may be shared only by pods that all just read it.
fn disks_free(pod: &Pod, node: &Node, all: &Everything) -> bool {
    let there: Vec<_> = on(node, all).flat_map(disks).collect();
    disks(pod).iter().all(|(d, read)| there.iter().all(|(o, other)| o != d || *read && *other))
}

fn pod_claims(pod: &Pod) -> Vec<String> {
    let volumes = spec(pod).volumes.iter().flatten();
    volumes.filter_map(|v| Some(v.persistent_volume_claim.as_ref()?.claim_name.clone())).collect()
}

fn find_claim<'a>(space: &str, name: &str, all: &'a Everything) -> Option<&'a PersistentVolumeClaim> {
    all.claims
        .iter()
        .find(|c| c.metadata.namespace.as_deref() == Some(space) && c.metadata.name.as_deref() == Some(name))
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let done = labels(&claim.metadata.annotations).contains_key("pv.kubernetes.io/bind-completed");
    done && claim.spec.as_ref().unwrap().volume_name.is_some()
}

fn class_of<'a>(claim: &PersistentVolumeClaim, all: &'a Everything) -> Option<&'a StorageClass> {
    let wanted = claim.spec.as_ref().unwrap().storage_class_name.as_ref()?;
    all.classes.iter().find(|c| c.metadata.name.as_ref() == Some(wanted))
}

/// Claims must exist, be bound or wait for their first consumer; one for a single pod must be unused.
fn claims_usable(pod: &Pod, all: &Everything) -> bool {
    pod_claims(pod).iter().all(|name| {
        let Some(claim) = find_claim(space(pod), name, all) else { return false };
        let late = class_of(claim, all)
            .is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
        let modes = claim.spec.as_ref().unwrap().access_modes.clone().unwrap_or_default();
        let single = modes.contains(&"ReadWriteOncePod".to_owned());
        let used = all.pods.iter().any(|p| space(p) == space(pod) && pod_claims(p).contains(name));
        (is_bound(claim) || late) && !(single && used)
    })
}

fn volumes_reach(pod: &Pod, node: &Node, all: &Everything) -> bool {
    let of = labels(&node.metadata.labels);
    pod_claims(pod).iter().all(|name| {
        let claim = find_claim(space(pod), name, all).unwrap();
        if !is_bound(claim) {
            // No volumes lie ready in these worlds: one must be made, where its class allows.
            let topologies = class_of(claim, all).unwrap().allowed_topologies.clone().unwrap_or_default();
            return topologies.is_empty()
                || topologies.iter().any(|t| {
                    let list = t.match_label_expressions.iter().flatten();
                    list.into_iter().all(|e| of.get(&e.key).is_some_and(|v| e.values.contains(v)))
                });
        }
        let wanted = claim.spec.as_ref().unwrap().volume_name.clone().unwrap();
        let Some(volume) = all.volumes.iter().find(|v| v.metadata.name.as_ref() == Some(&wanted)) else {
            return false;
        };
        let required = volume.spec.as_ref().and_then(|s| s.node_affinity.as_ref()?.required.as_ref());
        let zone = "topology.kubernetes.io/zone";
        let volume_zone = labels(&volume.metadata.labels).get(zone).cloned();
        let zoned = of.contains_key(zone);
        required.is_none_or(|r| selector_matches(r, node))
            && (volume_zone.is_none() || !zoned || volume_zone.as_ref() == of.get(zone))
    })
}

/// `None` matches nothing, an empty one everything.
fn label_selector(selector: Option<&LabelSelector>, of: &Labels) -> bool {
    let Some(s) = selector else { return false };
    s.match_labels.iter().flatten().all(|(k, v)| of.get(k) == Some(v))
        && s.match_expressions.iter().flatten().all(|e| {
            let r = NodeSelectorRequirement {
                key: e.key.clone(),
                operator: e.operator.clone(),
                values: e.values.clone(),
            };
            requirement(&r, of)
        })
}

fn selects_nothing_in_particular(c: &TopologySpreadConstraint) -> bool {
    c.label_selector.as_ref().is_some_and(|s| {
        s.match_labels.iter().flatten().next().is_none()
            && s.match_expressions.iter().flatten().next().is_none()
    })
}

/// The skew a pod would make must not exceed `maxSkew`, over the domains of the nodes that count.
fn spread(pod: &Pod, node: &Node, all: &Everything) -> bool {
    let hard: Vec<_> = spec(pod)
        .topology_spread_constraints
        .iter()
        .flatten()
        .filter(|c| c.when_unsatisfiable == "DoNotSchedule")
        .collect();
    let mine = labels(&pod.metadata.labels);
    hard.iter().all(|c| {
        let here = labels(&node.metadata.labels);
        let Some(domain) = here.get(&c.topology_key) else { return false };
        let counts_as_equal = |p: &Pod| {
            let of = labels(&p.metadata.labels);
            let same = |k: &String| mine.get(k).is_none_or(|v| of.get(k) == Some(v));
            label_selector(c.label_selector.as_ref(), &of) && c.match_label_keys.iter().flatten().all(same)
        };
        let keyed = c.match_label_keys.iter().flatten().any(|k| mine.contains_key(k));
        let nobody = selects_nothing_in_particular(c) && !keyed;
        let mut domains: BTreeMap<String, i64> = BTreeMap::new();
        for n in &all.nodes {
            let of = labels(&n.metadata.labels);
            let keys = hard.iter().all(|h| of.contains_key(&h.topology_key));
            let affinity = c.node_affinity_policy.as_deref() == Some("Ignore") || node_matches(pod, n);
            let taints = c.node_taints_policy.as_deref() != Some("Honor") || hard_taints_tolerated(pod, n);
            if keys && affinity && taints {
                let equals = on(n, all).filter(|p| {
                    p.metadata.deletion_timestamp.is_none() && space(p) == space(pod) && counts_as_equal(p)
                });
                let count = if nobody { 0 } else { equals.count() as i64 };
                *domains.entry(of[&c.topology_key].clone()).or_default() += count;
            }
        }
        let enough = domains.len() as i64 >= i64::from(c.min_domains.unwrap_or(1));
        let least = if enough { domains.values().copied().min().unwrap_or(0) } else { 0 };
        let there = domains.get(domain).copied().unwrap_or(0);
        let own = i64::from(counts_as_equal(pod));
        there + own - least <= i64::from(c.max_skew)
    })
}

/// Whether a term of `owner` means `other`.
fn means(term: &PodAffinityTerm, owner: &Pod, other: &Pod, all: &Everything) -> bool {
    let named = term.namespaces.clone().unwrap_or_default();
    let own = named.is_empty() && term.namespace_selector.is_none() && space(owner) == space(other);
    let of = all.namespaces.iter().find(|n| n.metadata.name.as_deref() == Some(space(other)));
    let of = of.map(|n| labels(&n.metadata.labels)).unwrap_or_default();
    let selected = term.namespace_selector.is_some() && label_selector(term.namespace_selector.as_ref(), &of);
    (own || named.iter().any(|n| n == space(other)) || selected)
        && label_selector(term.label_selector.as_ref(), &labels(&other.metadata.labels))
}

fn required(pod: &Pod) -> (Vec<PodAffinityTerm>, Vec<PodAffinityTerm>) {
    let affinity = spec(pod).affinity.clone().unwrap_or_default();
    let near = affinity.pod_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution);
    let far = affinity.pod_anti_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution);
    (near.unwrap_or_default(), far.unwrap_or_default())
}

fn same_domain(key: &str, a: &Node, b: &Node) -> bool {
    let (a, b) = (labels(&a.metadata.labels), labels(&b.metadata.labels));
    a.contains_key(key) && a.get(key) == b.get(key)
}

fn near_and_far(pod: &Pod, node: &Node, all: &Everything) -> bool {
    let (near, far) = required(pod);
    let placed: Vec<(&Pod, &Node)> = all.nodes.iter().flat_map(|n| on(n, all).map(move |p| (p, n))).collect();
    let meant_by_all = |other: &Pod| near.iter().all(|t| means(t, pod, other, all));
    let keys = near.iter().all(|t| labels(&node.metadata.labels).contains_key(&t.topology_key));
    let close = near
        .iter()
        .all(|t| placed.iter().any(|(p, n)| meant_by_all(p) && same_domain(&t.topology_key, n, node)));
    // The first of a group that wants to be together may go anywhere.
    let anybody = placed.iter().any(|(p, n)| {
        meant_by_all(p) && near.iter().any(|t| labels(&n.metadata.labels).contains_key(&t.topology_key))
    });
    let first = !anybody && meant_by_all(pod);
    let wanted = near.is_empty() || keys && (close || first);
    let apart = far.iter().all(|t| {
        placed.iter().all(|(p, n)| !(means(t, pod, p, all) && same_domain(&t.topology_key, n, node)))
    });
    let welcome = placed.iter().all(|(p, n)| {
        required(p).1.iter().all(|t| !(means(t, p, pod, all) && same_domain(&t.topology_key, n, node)))
    });
    wanted && apart && welcome
}
