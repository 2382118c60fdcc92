//! Why no node takes a pod: the scheduler's own plugins asked about every node, and what each would have to
//! see changed.

use super::finding::{Finding, count, names};
use gantry_scheduler_core::node::NodeInfo;
use gantry_scheduler_core::trial::Refusal;
use gantry_scheduler_core::{Cluster, Memory, NodeIndex, PodInfo, Profile, Resources, Trial};
use gantry_scheduler_plugins::default_profile;
use gantry_types::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    Namespace, Node, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod, PodAffinityTerm, Taint,
};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What scheduling looks at.
#[derive(Default)]
pub struct World {
    pub nodes: Vec<Node>,
    /// All that have not ended.
    pub pods: Vec<Arc<PodInfo>>,
    pub namespaces: Vec<Namespace>,
    pub claims: Vec<PersistentVolumeClaim>,
    pub volumes: Vec<PersistentVolume>,
    pub classes: Vec<StorageClass>,
    pub csi_nodes: Vec<CSINode>,
    pub csi_drivers: Vec<CSIDriver>,
    pub capacities: Vec<CSIStorageCapacity>,
}

fn cluster(world: World) -> Cluster {
    let mut cluster = Cluster::default();
    for node in &world.nodes {
        cluster.set_node(node);
    }
    world.namespaces.iter().for_each(|n| cluster.facts.set_namespace(n, false));
    for pod in world.pods {
        if !pod.node.is_empty() {
            cluster.set_pod(pod);
        } else if !pod.nominated.is_empty() {
            let node = pod.nominated.clone();
            cluster.nominate(&pod, &node);
        }
    }
    let facts = &mut cluster.facts;
    world.claims.into_iter().for_each(|c| facts.set_claim(Arc::new(c), false));
    world.volumes.into_iter().for_each(|v| facts.set_volume(Arc::new(v), false));
    let name =
        |m: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| m.name.clone().unwrap_or_default();
    facts.classes.extend(world.classes.into_iter().map(|o| (name(&o.metadata), Arc::new(o))));
    facts.csi_nodes.extend(world.csi_nodes.into_iter().map(|o| (name(&o.metadata), Arc::new(o))));
    facts.csi_drivers.extend(world.csi_drivers.into_iter().map(|o| (name(&o.metadata), Arc::new(o))));
    facts.capacities.extend(
        world.capacities.into_iter().map(|o| (gantry_scheduler_core::facts::key(&o.metadata), Arc::new(o))),
    );
    cluster
}

/// What stands between a pod and the nodes, the nearest to a way out first.
pub fn explain(pod: &Pod, world: World) -> Vec<Finding> {
    if world.nodes.is_empty() {
        return vec![Finding::new("there is no node").change("add a node")];
    }
    let info = PodInfo::new(pod);
    let mut cluster = cluster(world);
    let profile = default_profile(&info.scheduler);
    let mut trial = Trial::run(0, &profile, &mut Memory::default(), &info, &mut cluster);
    without_cordons(&mut trial, &profile, &info, &cluster);
    let seen = Seen { pod, info: &info, cluster: &cluster, profile: &profile };
    if let Some((plugin, why)) = &trial.whole {
        let reasons: Vec<&str> = why.reasons.iter().map(|r| &**r).collect();
        let cause = format!("{}: {}", profile.plugins[*plugin].name(), reasons.join(", "));
        return vec![Finding::new(cause).change(whole_remedy(&reasons.join(" ")))];
    }
    let mut out = Vec::new();
    if trial.left_out.0 > 0 {
        let plugins = names(profile.names(trial.left_out.1));
        out.push(
            Finding::new(format!(
                "{plugins}: {} left out, as the pod names its nodes",
                count(trial.left_out.0, "node")
            ))
            .change("change the pod's nodeAffinity (matchFields), or mend the node it names"),
        );
    }
    let mut refusals: Vec<&Refusal> = trial.refusals.iter().collect();
    refusals.sort_by_key(|r| (std::cmp::Reverse(r.alone.len()), std::cmp::Reverse(r.nodes.len())));
    out.extend(refusals.iter().map(|r| seen.refusal(r, trial.total)));
    if !trial.feasible.is_empty() {
        let fit = names(trial.feasible.iter().map(|at| seen.name(*at)));
        out.push(
            Finding::new(format!(
                "by its own rules {} would take it now: {fit}",
                count(trial.feasible.len(), "node")
            ))
            .change(
                "wait: the scheduler tries again; else see its log, its extenders and its other profiles",
            ),
        );
    }
    out
}

/// A cordon comes with a taint: where that is the only one, the cordon alone is told of.
fn without_cordons(trial: &mut Trial, profile: &Profile, pod: &PodInfo, cluster: &Cluster) {
    let name = |r: &Refusal| profile.plugins[r.plugin].name();
    let cordoned = |at: &NodeIndex| {
        cluster.node(*at).is_some_and(|n| {
            n.unschedulable && hard(n, pod).all(|t| t.key == "node.kubernetes.io/unschedulable")
        })
    };
    for refusal in trial.refusals.iter_mut().filter(|r| name(r) == "TaintToleration") {
        refusal.nodes.retain(|at| !cordoned(at));
    }
    trial.refusals.retain(|r| !r.nodes.is_empty());
    let mut said: BTreeMap<NodeIndex, usize> = BTreeMap::new();
    trial.refusals.iter().flat_map(|r| &r.nodes).for_each(|at| *said.entry(*at).or_default() += 1);
    for refusal in &mut trial.refusals {
        refusal.alone = refusal.nodes.iter().filter(|at| said.get(at) == Some(&1)).copied().collect();
    }
}

/// The taints of a node that keep a pod away.
fn hard<'n>(node: &'n NodeInfo, pod: &'n PodInfo) -> impl Iterator<Item = &'n Taint> {
    let keeps = |t: &&Taint| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute");
    node.taints.iter().filter(keeps).filter(|t| !pod.tolerates(t))
}

fn whole_remedy(reason: &str) -> &'static str {
    if reason.contains("not found") {
        "create what is missing"
    } else if reason.contains("unbound immediate") {
        "its claims must be bound first: see below, or kctl why pvc NAME"
    } else if reason.contains("being deleted") {
        "what is being deleted must be made anew"
    } else {
        "mend what it says"
    }
}

struct Seen<'a> {
    pod: &'a Pod,
    info: &'a PodInfo,
    cluster: &'a Cluster,
    profile: &'a Profile,
}

/// `1500m` or `2`; `1536Mi`.
fn shown(resource: &str, amount: i64) -> String {
    match resource {
        "cpu" => Quantity::from_milli(amount).to_string(),
        "memory" | "ephemeral-storage" => Quantity::from_bytes(amount).to_string(),
        _ => amount.to_string(),
    }
}

fn amount(resources: &Resources, name: &str) -> i64 {
    match name {
        "cpu" => resources.cpu,
        "memory" => resources.memory,
        "ephemeral-storage" => resources.ephemeral,
        other => resources.scalar(other),
    }
}

impl Seen<'_> {
    fn name(&self, at: NodeIndex) -> String {
        self.cluster.node(at).map(|n| n.name.to_string()).unwrap_or_default()
    }

    /// The nodes a single change would open, or else all.
    fn near<'n>(&'n self, r: &'n Refusal) -> impl Iterator<Item = &'n NodeInfo> {
        let near = if r.alone.is_empty() { &r.nodes } else { &r.alone };
        near.iter().filter_map(|at| self.cluster.node(*at))
    }

    fn nodes<'n>(&'n self, refusal: &'n Refusal) -> impl Iterator<Item = &'n NodeInfo> {
        refusal.nodes.iter().filter_map(|at| self.cluster.node(*at))
    }

    fn refusal(&self, r: &Refusal, total: usize) -> Finding {
        let plugin = self.profile.plugins[r.plugin].name();
        let reasons: Vec<&str> = r.why.reasons.iter().map(|w| &**w).collect();
        let cause = format!("{plugin} keeps out {} of {total} nodes: {}", r.nodes.len(), reasons.join(", "));
        let mut out =
            Finding::new(cause).seen(format!("nodes {}", names(r.nodes.iter().map(|at| self.name(*at)))));
        if !r.alone.is_empty() && r.alone.len() < r.nodes.len() {
            let alone = names(r.alone.iter().map(|at| self.name(*at)));
            out = out.seen(format!("nothing else is wrong with {alone}"));
        } else if r.alone.is_empty() {
            out = out.seen("other plugins keep all of these out, too");
        }
        // Where a single change would do, speak of that node.
        let near = r.alone.first().or(r.nodes.first()).map(|at| self.name(*at)).unwrap_or_default();
        match plugin {
            "NodeResourcesFit" => self.resources(r, &reasons, out),
            "NodeUnschedulable" => out.change(format!("kctl uncordon {near}")),
            "TaintToleration" => self.taints(r, out),
            "NodeAffinity" => self.affinity(r, &near, out),
            "NodePorts" => self.ports(r, out),
            "PodTopologySpread" => self.spread(out),
            "InterPodAffinity" => self.neighbours(out),
            "NodeVolumeLimits" => out.change("free volumes on a node (other pods' claims), or add a node"),
            "VolumeRestrictions" => out.change("end the pod that holds the volume, or use ReadWriteMany"),
            "VolumeZone" | "VolumeBinding" => {
                out.change("a node must reach the volumes of its claims: kctl why pvc NAME; or add volumes or nodes there")
            }
            _ => out.change("mend what it says"),
        }
    }

    fn resources(&self, r: &Refusal, reasons: &[&str], mut out: Finding) -> Finding {
        for name in reasons.iter().filter_map(|w| w.strip_prefix("Insufficient ")) {
            let asks = amount(&self.info.requests, name);
            let free = |n: &NodeInfo| amount(&n.allocatable, name) - amount(&n.requested, name);
            let Some(best) = self.near(r).max_by_key(|n| (free(n), std::cmp::Reverse(n.name.clone()))) else {
                continue;
            };
            let largest = self.nodes(r).map(|n| amount(&n.allocatable, name)).max().unwrap_or(0);
            let (asked, most) = (shown(name, asks), shown(name, free(best).max(0)));
            out = out.seen(format!(
                "it asks for {asked} {name}; the most that is free is {most}, on {}",
                best.name
            ));
            if asks > largest {
                let has = shown(name, largest);
                out = out.change(format!(
                    "ask for at most {has} {name}, all that any of these nodes has, or add a larger node"
                ));
            } else {
                let lacks = shown(name, asks - free(best));
                out = out
                    .change(format!("free {lacks} {name} on {} by moving or removing pods", best.name))
                    .change(format!("or ask for at most {most} {name}, or add a node"));
            }
        }
        if reasons.contains(&"Too many pods") {
            out = out.change("remove pods there, or raise the kubelet's maxPods, or add a node");
        }
        out
    }

    fn taints(&self, r: &Refusal, mut out: Finding) -> Finding {
        // How many nodes have each, and the first of them.
        let mut by: BTreeMap<(String, String), (usize, &str)> = BTreeMap::new();
        for node in self.near(r) {
            for taint in hard(node, self.info) {
                let value = taint.value.as_deref().filter(|v| !v.is_empty());
                let value = value.map(|v| format!("={v}")).unwrap_or_default();
                let key = (format!("{}{value}", taint.key), taint.effect.clone());
                by.entry(key).or_insert((0, &node.name)).0 += 1;
            }
        }
        for ((pair, effect), (n, node)) in by {
            let key = pair.split('=').next().unwrap_or_default();
            out = out.seen(format!("{}: taint {pair}:{effect}, not tolerated", count(n, "node")));
            out = match key.strip_prefix("node.kubernetes.io/") {
                Some("not-ready" | "unreachable") => {
                    out.change(format!("nodes that are not ready must come back: kctl describe node {node}"))
                }
                Some("memory-pressure" | "disk-pressure" | "pid-pressure") => {
                    out.change(format!("free what runs short on the node: kctl describe node {node}"))
                }
                Some("unschedulable") => out.change(format!("kctl uncordon {node}")),
                _ => out.change(format!(
                    "add a toleration for {pair}:{effect}, or take the taint away: kctl taint node {node} {key}:{effect}-"
                )),
            };
        }
        out
    }

    fn affinity(&self, r: &Refusal, near: &str, mut out: Finding) -> Finding {
        for (key, value) in self.info.node_selector.iter() {
            let has = |n: &&NodeInfo| n.labels.get(key) == Some(value);
            let lacking = self.nodes(r).filter(|n| !has(n)).count();
            if lacking > 0 {
                out = out.seen(format!(
                    "{} without the label {key}={value} of its nodeSelector",
                    count(lacking, "node")
                ));
                out = out.change(format!("kctl label node {near} {key}={value}, or change the nodeSelector"));
            }
        }
        let required = self.pod.spec.as_ref().and_then(|s| {
            s.affinity
                .as_ref()?
                .node_affinity
                .as_ref()?
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        if let Some(required) = required {
            let terms: Vec<String> = required.node_selector_terms.iter().map(term).collect();
            out = out
                .seen(format!("its nodeAffinity asks for {}", terms.join(" or ")))
                .change("label a node to match, or change the nodeAffinity");
        }
        out
    }

    fn ports(&self, r: &Refusal, mut out: Finding) -> Finding {
        for port in &self.info.ports {
            let holds =
                |n: &NodeInfo| n.pods.iter().find(|p| p.ports.iter().any(|o| o.conflicts(port))).cloned();
            if let Some(holder) = self.nodes(r).find_map(holds) {
                out = out.seen(format!(
                    "host port {}/{} is used by pod {}",
                    port.port,
                    port.protocol,
                    holder.key()
                ));
            }
        }
        out.change(
            "use another hostPort, or none (a Service reaches pods without), or move the pod that has it",
        )
    }

    fn spread(&self, mut out: Finding) -> Finding {
        let hard = self.info.spread.iter().filter(|c| c.when_unsatisfiable == "DoNotSchedule");
        for c in hard {
            let who = c.label_selector.as_ref().map(selector).unwrap_or_default();
            out = out.seen(format!(
                "it asks for a skew of at most {} over {} among pods {who}",
                c.max_skew, c.topology_key
            ));
        }
        out.change("let nodes in the emptier domains take it, raise maxSkew, or use whenUnsatisfiable: ScheduleAnyway")
    }

    fn neighbours(&self, mut out: Finding) -> Finding {
        let affinity = self.pod.spec.as_ref().and_then(|s| s.affinity.as_ref());
        let near = affinity.and_then(|a| a.pod_affinity.as_ref());
        let near = near.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        let far = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
        let far = far.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        let told = |t: &PodAffinityTerm| {
            format!(
                "{} in one {}",
                t.label_selector.as_ref().map(selector).unwrap_or_default(),
                t.topology_key
            )
        };
        for term in near.into_iter().flatten() {
            out = out.seen(format!("it must be with pods {}", told(term)));
        }
        for term in far.into_iter().flatten() {
            out = out.seen(format!("it must not be with pods {}", told(term)));
        }
        out.change("add nodes in other domains, or make the rule a preferred one; other pods' anti-affinity counts, too")
    }
}

/// A label selector as text.
fn selector(s: &LabelSelector) -> String {
    gantry_machinery::selector::Selector::from_struct(Some(s)).map(|s| s.to_string()).unwrap_or_default()
}

fn term(t: &NodeSelectorTerm) -> String {
    let all = t.match_expressions.iter().flatten().chain(t.match_fields.iter().flatten());
    let told = all.map(|e| {
        let values = e.values.as_deref().unwrap_or_default();
        if values.is_empty() {
            format!("{} {}", e.key, e.operator)
        } else {
            format!("{} {} [{}]", e.key, e.operator, values.join(", "))
        }
    });
    told.collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, spec: Value, labels: Value) -> Value {
        json!({"metadata": {"name": name, "labels": labels}, "spec": spec,
               "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}}})
    }

    fn pod(name: &str, cpu: &str, spec: Value) -> Value {
        let mut out = json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": spec});
        out["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
        out
    }

    /// Causes, with the first change after `=>`.
    fn check(nodes: Vec<Value>, pods: Vec<Value>, pending: Value, expected: &[&str]) {
        let world = World {
            nodes: serde_json::from_value(nodes.into()).unwrap(),
            pods: pods
                .into_iter()
                .map(|p| Arc::new(PodInfo::new(&serde_json::from_value(p).unwrap())))
                .collect(),
            ..World::default()
        };
        let found = explain(&serde_json::from_value(pending).unwrap(), world);
        let told: Vec<String> = found
            .iter()
            .map(|f| format!("{} => {}", f.cause, f.change.first().cloned().unwrap_or_default()))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn plugins_tell_what_would_have_to_change() {
        let plain = || node("a", json!({}), json!({}));
        let cordoned = node("b", json!({"unschedulable": true}), json!({}));
        let there = pod("x", "1500m", json!({"nodeName": "a"}));
        check(
            vec![plain(), cordoned.clone()],
            vec![there.clone()],
            pod("p", "1", json!({})),
            &[
                "NodeResourcesFit keeps out 1 of 2 nodes: Insufficient cpu => free 500m cpu on a by moving or removing pods",
                "NodeUnschedulable keeps out 1 of 2 nodes: node(s) were unschedulable => kctl uncordon b",
            ],
        );
        check(
            vec![plain()],
            vec![],
            pod("p", "3", json!({})),
            &[
                "NodeResourcesFit keeps out 1 of 1 nodes: Insufficient cpu => ask for at most 2 cpu, all that any of these nodes has, or add a larger node",
            ],
        );
        let tainted =
            node("t", json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}), json!({}));
        check(
            vec![tainted],
            vec![],
            pod("p", "1", json!({})),
            &[
                "TaintToleration keeps out 1 of 1 nodes: node(s) had untolerated taint(s) => add a toleration for k=v:NoSchedule, or take the taint away: kctl taint node t k:NoSchedule-",
            ],
        );
        check(
            vec![plain()],
            vec![],
            pod("p", "1", json!({"nodeSelector": {"disk": "ssd"}})),
            &[
                "NodeAffinity keeps out 1 of 1 nodes: node(s) didn't match Pod's node affinity/selector => kctl label node a disk=ssd, or change the nodeSelector",
            ],
        );
        check(
            vec![plain()],
            vec![],
            pod("p", "1", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]})),
            &["VolumeRestrictions: persistentvolumeclaim \"c\" not found => create what is missing"],
        );
        check(
            vec![plain()],
            vec![],
            pod("p", "1", json!({})),
            &[
                "by its own rules 1 node would take it now: a => wait: the scheduler tries again; else see its log, its extenders and its other profiles",
            ],
        );
        check(vec![], vec![], pod("p", "1", json!({})), &["there is no node => add a node"]);
    }
}
