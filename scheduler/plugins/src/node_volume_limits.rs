//! `NodeVolumeLimits`: no more volumes of a CSI driver on a node than it can attach.

use crate::claims::{claim_missing, owned, uses};
use gantry_scheduler_core::event::Update;
use gantry_scheduler_core::facts::{claim_class, claim_volume};
use gantry_scheduler_core::framework::{Carried, Cx, PreFilter};
use gantry_scheduler_core::{Cluster, Event, Facts, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::CSINode;
use std::collections::BTreeMap;

pub struct NodeVolumeLimits;

/// Volumes by `driver/handle`, with their driver.
type Volumes = BTreeMap<String, String>;

/// The driver and the handle of a claim's volume, or of the one that will be made.
fn driver(claim: &PersistentVolumeClaim, facts: &Facts) -> Option<(String, String)> {
    if let Some(volume) = facts.volumes.get(claim_volume(claim)) {
        let csi = volume.object.spec.as_ref()?.csi.as_ref()?;
        return Some((csi.driver.clone(), csi.volume_handle.clone()));
    }
    let class = facts.classes.get(claim_class(claim))?;
    let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
    // No volume has a handle like this.
    let handle = format!("\0{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
    Some((class.provisioner.clone(), handle))
}

fn count(pod: &PodInfo, facts: &Facts, new: bool, into: &mut Volumes) -> Result<(), Rejection> {
    for used in &pod.volumes.claims {
        let Some(claim) = facts.claim(&pod.namespace, &used.name) else {
            if new {
                let missing = claim_missing(&used.name);
                let text = format!("looking up PVC {}/{}: {missing}", pod.namespace, used.name);
                return Err(Rejection::unresolvable(text));
            }
            continue;
        };
        owned(pod, used, claim).map_err(Rejection::unresolvable)?;
        if let Some((driver, handle)) = driver(claim, facts).filter(|(d, h)| !d.is_empty() && !h.is_empty()) {
            into.insert(format!("{driver}/{handle}"), driver);
        }
    }
    Ok(())
}

fn limits(node: &CSINode) -> impl Iterator<Item = (&str, i64)> {
    node.spec
        .drivers
        .iter()
        .filter_map(|d| Some((d.name.as_str(), i64::from(d.allocatable.as_ref()?.count?))))
}

/// Volumes that are attached to a node, whether or not a pod there uses them.
fn attached(node: &str, facts: &Facts) -> Volumes {
    let list = facts.attachments.get(node).into_iter().flat_map(|m| m.values());
    let volume = |a: &k8s_openapi::api::storage::v1::VolumeAttachment| {
        let volume = facts.volumes.get(a.spec.source.persistent_volume_name.as_ref()?)?;
        let csi = volume.object.spec.as_ref()?.csi.as_ref()?;
        Some((format!("{}/{}", a.spec.attacher, csi.volume_handle), a.spec.attacher.clone()))
    };
    list.filter(|a| !a.spec.attacher.is_empty()).filter_map(|a| volume(a)).collect()
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn local(&self) -> bool {
        false
    }

    fn pre_filter(&self, cx: &Cx<'_>, _: &mut Carried) -> PreFilter {
        if cx.pod.volumes.claims.is_empty() { PreFilter::Skip } else { PreFilter::Run }
    }

    fn filter(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, _: &Carried) -> Result<(), Rejection> {
        let facts = &cx.cluster.facts;
        let mut wanted = Volumes::new();
        count(cx.pod, facts, true, &mut wanted)?;
        let Some(csi) = facts.csi_nodes.get(&*node.name).filter(|_| !wanted.is_empty()) else {
            return Ok(());
        };
        if limits(csi).next().is_none() {
            return Ok(());
        }
        let mut there = Volumes::new();
        for pod in &node.pods {
            // What is wrong with those that run is not this pod's matter.
            let _ = count(pod, facts, false, &mut there);
        }
        there.extend(attached(&node.name, facts));
        wanted.retain(|volume, _| !there.contains_key(volume));
        for (driver, limit) in limits(csi) {
            let of = |volumes: &Volumes| volumes.values().filter(|d| *d == driver).count();
            let new = of(&wanted);
            if new > 0 && i64::try_from(of(&there) + new).unwrap_or(i64::MAX) > limit {
                return Err(Rejection::unschedulable("node(s) exceed max volume count"));
            }
        }
        Ok(())
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, _: &Cluster) -> bool {
        match event {
            Event::CsiNode(Update { old: None, .. }) => true,
            Event::CsiNode(Update { old: Some(old), new }) => {
                let was: BTreeMap<&str, i64> = limits(old).collect();
                limits(new).any(|(driver, limit)| limit > was.get(driver).copied().unwrap_or(0))
            }
            Event::PodRemoved(gone) => !gone.volumes.claims.is_empty(),
            Event::Claim(Update { old: None, new }) => uses(pod, new, true),
            Event::AttachmentRemoved(_) => pod.volumes.claims.iter().any(|c| c.owner.is_none()),
            _ => false,
        }
    }
}
