//! `VolumeZone`: a volume labelled with a zone can be had on nodes of that zone.

use crate::claims::{claim_missing, uses};
use gantry_scheduler_core::event::Update;
use gantry_scheduler_core::facts::{claim_class, claim_volume};
use gantry_scheduler_core::framework::{Carried, Cx, PreFilter, carried};
use gantry_scheduler_core::{Cluster, Event, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection};
use k8s_openapi::api::core::v1::PersistentVolume;
use std::collections::BTreeSet;

const KEYS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

pub struct VolumeZone;

/// A label key, what it is called now, and the values a volume allows.
type Zone = (&'static str, &'static str, BTreeSet<String>);

fn zones(volume: &PersistentVolume) -> Vec<Zone> {
    let labels = volume.metadata.labels.as_ref();
    let read = |(key, now): &(&'static str, &'static str)| {
        let values: BTreeSet<String> = labels?.get(*key)?.split("__").map(|z| z.trim().to_owned()).collect();
        (!values.contains("")).then_some((*key, *now, values))
    };
    KEYS.iter().filter_map(read).collect()
}

fn of_pod(cx: &Cx<'_>) -> Result<Vec<Zone>, String> {
    let facts = &cx.cluster.facts;
    let mut out = Vec::new();
    for used in cx.pod.volumes.claims.iter().filter(|c| c.owner.is_none()) {
        if used.name.is_empty() {
            return Err("PersistentVolumeClaim had no name".into());
        }
        let claim = facts.claim(&cx.pod.namespace, &used.name).ok_or_else(|| claim_missing(&used.name))?;
        let name = claim_volume(claim);
        if !name.is_empty() {
            let volume = facts.volumes.get(name);
            let volume = volume.ok_or_else(|| format!("persistentvolume {name:?} not found"))?;
            out.extend(zones(&volume.object));
            continue;
        }
        let class = claim_class(claim);
        if class.is_empty() {
            return Err("PersistentVolumeClaim had no pv name and storageClass name".into());
        }
        let found = facts.classes.get(class);
        let found = found.ok_or_else(|| format!("storageclass.storage.k8s.io {class:?} not found"))?;
        match found.volume_binding_mode.as_deref() {
            None => return Err(format!("VolumeBindingMode not set for StorageClass {class:?}")),
            Some("WaitForFirstConsumer") => {}
            Some(_) => return Err("PersistentVolume had no name".into()),
        }
    }
    Ok(out)
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn local(&self) -> bool {
        false
    }

    fn pre_filter(&self, cx: &Cx<'_>, state: &mut Carried) -> PreFilter {
        match of_pod(cx) {
            Err(why) => PreFilter::Reject(Rejection::unresolvable(why)),
            Ok(zones) if zones.is_empty() => PreFilter::Skip,
            Ok(zones) => {
                *state = Some(Box::new(zones));
                PreFilter::Run
            }
        }
    }

    fn filter(&self, _: &Cx<'_>, _: NodeIndex, node: &NodeInfo, state: &Carried) -> Result<(), Rejection> {
        let Some(zones) = carried::<Vec<Zone>>(state) else { return Ok(()) };
        // Nodes of a cluster without zones suit every volume.
        if KEYS.iter().all(|(key, _)| node.labels.get(key).is_none()) {
            return Ok(());
        }
        for (key, now, values) in zones {
            let there = node.labels.get(key).or_else(|| node.labels.get(now));
            if !there.is_some_and(|v| values.contains(v)) {
                return Err(Rejection::unresolvable("node(s) had no available volume zone"));
            }
        }
        Ok(())
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, cluster: &Cluster) -> bool {
        match event {
            Event::NodeAdded(_) => true,
            Event::NodeUpdated { at, old } => cluster.node(*at).is_some_and(|n| n.labels != old.labels),
            Event::Class(Update { old: None, new }) => {
                new.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
            }
            Event::Claim(Update { new, .. }) => uses(pod, new, false),
            Event::Volume(Update { old, new }) => old.is_none_or(|old| zones(old) != zones(new)),
            _ => false,
        }
    }
}
