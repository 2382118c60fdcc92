//! `VolumeBinding`: a pod's claims are bound, or can be, where it goes.
//!
//! What was found for the node chosen is worked out again where it is reserved: finding is a pure function of
//! what is known.

use crate::args::VolumeBindingArgs;
use crate::claims::{claim_missing, is_delayed, key, matching, owned, requested, uses};
use gantry_machinery::selector::Selector;
use gantry_scheduler_core::event::Update;
use gantry_scheduler_core::facts::{claim_class, claim_volume, is_bound};
use gantry_scheduler_core::framework::{Carried, Cx, PreFilter, Reasons, Step};
use gantry_scheduler_core::{Cluster, Event, Facts, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection};
use gantry_types::quantity::Quantity;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity, StorageClass};
use std::borrow::Cow;
use std::sync::Arc;

const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
const MIGRATED: &str = "storage.alpha.kubernetes.io/migrated-plugins";

pub struct VolumeBinding {
    timeout: SignedDuration,
}

/// What a node means for a pod's claims.
#[derive(Default)]
struct Found {
    /// Volume and claim.
    bindings: Vec<(String, String)>,
    provisions: Vec<String>,
}

impl VolumeBinding {
    pub fn new(args: &VolumeBindingArgs) -> Self {
        Self { timeout: SignedDuration::from_secs(args.bind_timeout_seconds) }
    }
}

fn check(cx: &Cx<'_>) -> Result<(), String> {
    for used in &cx.pod.volumes.claims {
        let name = &used.name;
        let Some(claim) = cx.cluster.facts.claim(&cx.pod.namespace, name) else {
            return Err(match used.owner {
                None => claim_missing(name),
                Some(_) => format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                ),
            });
        };
        if claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Lost") {
            let volume = claim_volume(claim);
            return Err(format!(
                "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
            ));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        owned(cx.pod, used, claim)?;
        let late = is_delayed(claim, &cx.cluster.facts) && claim_volume(claim).is_empty();
        if !is_bound(claim) && !late {
            return Err("pod has unbound immediate PersistentVolumeClaims".into());
        }
    }
    Ok(())
}

/// The claims of a pod, with their keys.
fn claims<'f>(pod: &PodInfo, facts: &'f Facts) -> Vec<(String, &'f Arc<PersistentVolumeClaim>)> {
    let used = pod.volumes.claims.iter();
    used.filter_map(|c| Some((key(pod, &c.name), facts.claim(&pod.namespace, &c.name)?))).collect()
}

fn find(pod: &PodInfo, node: &NodeInfo, facts: &Facts) -> Result<Found, Rejection> {
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    let (bound, mut open): (Vec<_>, Vec<_>) = claims(pod, facts).into_iter().partition(|(_, c)| is_bound(c));
    for (_, claim) in bound {
        match facts.volumes.get(claim_volume(claim)) {
            Some(volume) if volume.reaches(&node.labels) => continue,
            Some(_) => reasons.push("node(s) didn't match PersistentVolume's node affinity".into()),
            None => {
                reasons
                    .push("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)".into());
            }
        }
        break;
    }
    let mut found = Found::default();
    let mut provisions: Vec<(String, &Arc<PersistentVolumeClaim>)> = Vec::new();
    open.sort_by_key(|(_, claim)| requested(claim));
    for (key, claim) in &open {
        match facts.selected_node(claim) {
            Some(selected) if *selected != *node.name => {
                reasons.push("node(s) didn't find available persistent volumes to bind".into());
                return Err(refusal(reasons));
            }
            Some(_) => provisions.push((key.clone(), claim)),
            None => {
                let taken: Vec<&str> = found.bindings.iter().map(|(v, _)| v.as_str()).collect();
                match matching(claim, key, node, &taken, facts) {
                    Some(volume) => found.bindings.push((volume.to_owned(), key.clone())),
                    None => provisions.push((key.clone(), claim)),
                }
            }
        }
    }
    for (key, claim) in provisions {
        match provisionable(claim, node, facts) {
            Ok(()) => found.provisions.push(key),
            Err(why) => {
                reasons.push(why.into());
                break;
            }
        }
    }
    if reasons.is_empty() { Ok(found) } else { Err(refusal(reasons)) }
}

fn refusal(mut reasons: Vec<Cow<'static, str>>) -> Rejection {
    // The same order as upstream's, whichever was found first.
    let place = |r: &Cow<'static, str>| match &**r {
        "node(s) didn't match PersistentVolume's node affinity" => 0,
        "node(s) didn't find available persistent volumes to bind" => 1,
        "node(s) did not have enough free storage" => 2,
        _ => 3,
    };
    reasons.sort_by_key(place);
    Rejection { reasons: Reasons::Many(reasons), resolvable: false }
}

/// Whether a volume for a claim can be made on a node.
fn provisionable(claim: &PersistentVolumeClaim, node: &NodeInfo, facts: &Facts) -> Result<(), &'static str> {
    const NONE: &str = "node(s) didn't find available persistent volumes to bind";
    let class = facts.classes.get(claim_class(claim)).ok_or(NONE)?;
    if class.provisioner.is_empty() || class.provisioner == NO_PROVISIONER || !allowed(class, node) {
        return Err(NONE);
    }
    if room(claim, class, node, facts) { Ok(()) } else { Err("node(s) did not have enough free storage") }
}

fn allowed(class: &StorageClass, node: &NodeInfo) -> bool {
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    let term = |t: &k8s_openapi::api::core::v1::TopologySelectorTerm| {
        let list = t.match_label_expressions.as_deref().unwrap_or_default();
        !list.is_empty()
            && list.iter().all(|e| node.labels.get(&e.key).is_some_and(|v| e.values.iter().any(|x| x == v)))
    };
    terms.is_empty() || terms.iter().any(term)
}

fn tracks_capacity(driver: &CSIDriver) -> bool {
    driver.spec.storage_capacity == Some(true)
}

fn limit(capacity: &CSIStorageCapacity) -> Option<Quantity> {
    let limit = capacity.maximum_volume_size.as_ref().or(capacity.capacity.as_ref())?;
    Quantity::try_from(limit).ok()
}

fn room(claim: &PersistentVolumeClaim, class: &StorageClass, node: &NodeInfo, facts: &Facts) -> bool {
    let Some(size) = requested(claim) else { return true };
    if !facts.csi_drivers.get(&class.provisioner).is_some_and(|d| tracks_capacity(d)) {
        return true;
    }
    facts.capacities.values().any(|c| {
        let topology = c.node_topology.as_ref();
        Some(c.storage_class_name.as_str()) == class.metadata.name.as_deref()
            && limit(c).is_some_and(|l| l.value() >= size.value())
            && topology.is_some()
            && Selector::from_struct(topology).is_ok_and(|s| s.matches(&node.labels))
    })
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter, Point::Reserve, Point::PreBind, Point::PreScore, Point::Score]
    }

    fn local(&self) -> bool {
        false
    }

    fn pre_filter(&self, cx: &Cx<'_>, _: &mut Carried) -> PreFilter {
        if cx.pod.volumes.claims.is_empty() {
            return PreFilter::Skip;
        }
        match check(cx) {
            Ok(()) => PreFilter::Run,
            Err(why) => PreFilter::Reject(Rejection::unresolvable(why)),
        }
    }

    fn filter(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        find(cx.pod, node, &cx.cluster.facts).map(drop)
    }

    /// Storage capacity is not scored unless a gate is on that is off.
    fn pre_score(&self, _: &Cx<'_>, _: &[NodeIndex], _: &mut Carried) -> bool {
        false
    }

    fn reserve(&self, pod: &PodInfo, at: NodeIndex, cluster: &mut Cluster) -> Result<(), Rejection> {
        let Some(node) = cluster.node(at).filter(|_| !pod.volumes.claims.is_empty()) else { return Ok(()) };
        let (found, name) = (find(pod, node, &cluster.facts)?, node.name.clone());
        for (volume, claim) in &found.bindings {
            cluster.facts.give(volume, claim);
        }
        for claim in &found.provisions {
            cluster.facts.choose(claim, &name);
        }
        Ok(())
    }

    fn unreserve(&self, pod: &PodInfo, _: NodeIndex, cluster: &mut Cluster) {
        for used in &pod.volumes.claims {
            let claim = key(pod, &used.name);
            cluster.facts.unchoose(&claim);
            let given: Vec<String> = cluster.facts.given_to(&claim).map(str::to_owned).collect();
            given.iter().for_each(|v| cluster.facts.take_back(v));
        }
    }

    fn pre_bind(&self, pod: &PodInfo, at: NodeIndex, cluster: &Cluster) -> Vec<Step> {
        let Some(node) = cluster.node(at) else { return Vec::new() };
        let mut steps = Vec::new();
        let mut waits = Vec::new();
        for (claim, object) in claims(pod, &cluster.facts) {
            if is_bound(object) {
                continue;
            }
            let given = cluster.facts.given_to(&claim);
            steps.extend(given.map(|v| Step::GiveVolume { volume: v.to_owned(), claim: claim.clone() }));
            if let Some(chosen) = cluster.facts.chosen(&claim) {
                steps.push(Step::ChooseNode { claim: claim.clone(), node: chosen.to_owned() });
            }
            waits.push(claim);
        }
        if !waits.is_empty() {
            let node = node.name.to_string();
            steps.push(Step::AwaitClaims { claims: waits, node, timeout: self.timeout });
        }
        steps
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, cluster: &Cluster) -> bool {
        match event {
            Event::NodeAdded(_) | Event::Volume(_) => true,
            Event::NodeUpdated { at, old } => cluster.node(*at).is_some_and(|n| n.labels != old.labels),
            Event::Class(Update { old, new }) => {
                old.is_none_or(|o| o.allowed_topologies != new.allowed_topologies)
            }
            Event::Claim(Update { new, .. }) => uses(pod, new, true),
            Event::CsiNode(Update { old, new }) => old.is_none_or(|old| {
                let migrated = |n: &k8s_openapi::api::storage::v1::CSINode| {
                    n.metadata.annotations.as_ref().and_then(|a| a.get(MIGRATED).cloned())
                };
                migrated(old) != migrated(new)
            }),
            Event::CsiDriver(Update { old: Some(old), new }) => {
                let named = pod.volumes.inline_csi.iter().any(|d| Some(&**d) == new.metadata.name.as_deref());
                named && tracks_capacity(old) && !tracks_capacity(new)
            }
            Event::Capacity(Update { old, new }) => {
                old.is_none_or(|old| limit(new).is_some_and(|new| limit(old).is_none_or(|old| new > old)))
            }
            _ => false,
        }
    }
}
