//! `VolumeRestrictions`: disks that pods may not share, and claims only one pod may use.

use crate::claims::{claim_missing, key, uses};
use gantry_scheduler_core::event::Update;
use gantry_scheduler_core::framework::{Carried, Cx, PreFilter, carried};
use gantry_scheduler_core::{Cluster, Event, NodeIndex, NodeInfo, Plugin, PodInfo, Point, Rejection, Shape};

pub struct VolumeRestrictions;

/// How many of the pod's `ReadWriteOncePod` claims are in use.
struct InUse(usize);

fn in_use(cx: &Cx<'_>) -> Result<usize, String> {
    let mut users = 0;
    for used in cx.pod.volumes.claims.iter().filter(|c| c.owner.is_none()) {
        let claim = cx.cluster.facts.claim(&cx.pod.namespace, &used.name);
        let claim = claim.ok_or_else(|| claim_missing(&used.name))?;
        let modes = claim.spec.as_ref().and_then(|s| s.access_modes.as_ref());
        let single = modes.is_some_and(|m| m.iter().any(|m| m == "ReadWriteOncePod"));
        users += usize::from(single && cx.cluster.claim_users(&key(cx.pod, &used.name)) > 0);
    }
    Ok(users)
}

fn disks_conflict(pod: &Shape, other: &Shape) -> bool {
    pod.volumes.disks.iter().any(|d| other.volumes.disks.iter().any(|o| d.conflicts(o)))
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn local(&self) -> bool {
        false
    }

    fn pre_filter(&self, cx: &Cx<'_>, state: &mut Carried) -> PreFilter {
        match in_use(cx) {
            Err(missing) => PreFilter::Reject(Rejection::unresolvable(missing)),
            Ok(0) if cx.pod.volumes.disks.is_empty() => PreFilter::Skip,
            Ok(users) => {
                *state = Some(Box::new(InUse(users)));
                PreFilter::Run
            }
        }
    }

    fn refresh(&self, cx: &Cx<'_>, state: &mut Carried) {
        *state = Some(Box::new(InUse(in_use(cx).unwrap_or(0))));
    }

    fn filter(&self, cx: &Cx<'_>, _: NodeIndex, node: &NodeInfo, state: &Carried) -> Result<(), Rejection> {
        if node.pods.iter().any(|p| disks_conflict(cx.pod, p)) {
            return Err(Rejection::unschedulable("node(s) had no available disk"));
        }
        if carried::<InUse>(state).is_some_and(|u| u.0 > 0) {
            return Err(Rejection::unschedulable(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already \
                 in-use by another pod",
            ));
        }
        Ok(())
    }

    fn helps(&self, pod: &PodInfo, event: &Event<'_>, _: &Cluster) -> bool {
        match event {
            Event::NodeAdded(_) => true,
            Event::Claim(Update { old: None, new }) => uses(pod, new, false),
            Event::PodRemoved(gone) => {
                let named = |p: &PodInfo, name: &str| {
                    p.volumes.claims.iter().any(|c| c.owner.is_none() && *c.name == *name)
                };
                gone.namespace == pod.namespace
                    && (disks_conflict(pod, gone) || gone.volumes.claims.iter().any(|c| named(pod, &c.name)))
            }
            _ => false,
        }
    }
}
