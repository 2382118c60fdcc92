//! What happens in a cluster, as plugins are asked about it.

use crate::cluster::NodeIndex;
use crate::node::NodeFacts;
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};

/// Something that happened and may help pods that wait. The cluster is already as it is after it.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    NodeAdded(NodeIndex),
    NodeUpdated {
        at: NodeIndex,
        old: &'a NodeFacts,
    },
    NodeRemoved(&'a NodeFacts),
    /// A pod was bound to a node.
    PodAdded(&'a PodInfo),
    PodUpdated {
        old: &'a PodInfo,
        new: &'a PodInfo,
    },
    /// A pod that held a place left it.
    PodRemoved(&'a PodInfo),
    /// The waiting pod itself has changed.
    Changed {
        old: &'a PodInfo,
        new: &'a PodInfo,
    },
    Claim {
        old: Option<&'a PersistentVolumeClaim>,
        new: &'a PersistentVolumeClaim,
    },
    Volume {
        old: Option<&'a PersistentVolume>,
        new: &'a PersistentVolume,
    },
    Class {
        old: Option<&'a StorageClass>,
        new: &'a StorageClass,
    },
    CsiNode {
        old: Option<&'a CSINode>,
        new: &'a CSINode,
    },
    CsiDriver {
        old: Option<&'a CSIDriver>,
        new: &'a CSIDriver,
    },
    Capacity {
        old: Option<&'a CSIStorageCapacity>,
        new: &'a CSIStorageCapacity,
    },
    AttachmentRemoved(&'a VolumeAttachment),
}

impl Event<'_> {
    /// Upstream's label for it, as in `scheduler_queue_incoming_pods_total`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NodeAdded(_) => "NodeAdd",
            Self::NodeUpdated { .. } => "NodeUpdate",
            Self::NodeRemoved(_) => "NodeDelete",
            Self::PodAdded(_) => "AssignedPodAdd",
            Self::PodUpdated { .. } => "AssignedPodUpdate",
            Self::PodRemoved(_) => "AssignedPodDelete",
            Self::Changed { .. } => "UnscheduledPodUpdate",
            Self::Claim { old: None, .. } => "PersistentVolumeClaimAdd",
            Self::Claim { .. } => "PersistentVolumeClaimUpdate",
            Self::Volume { old: None, .. } => "PersistentVolumeAdd",
            Self::Volume { .. } => "PersistentVolumeUpdate",
            Self::Class { old: None, .. } => "StorageClassAdd",
            Self::Class { .. } => "StorageClassUpdate",
            Self::CsiNode { old: None, .. } => "CSINodeAdd",
            Self::CsiNode { .. } => "CSINodeUpdate",
            Self::CsiDriver { old: None, .. } => "CSIDriverAdd",
            Self::CsiDriver { .. } => "CSIDriverUpdate",
            Self::Capacity { old: None, .. } => "CSIStorageCapacityAdd",
            Self::Capacity { .. } => "CSIStorageCapacityUpdate",
            Self::AttachmentRemoved(_) => "VolumeAttachmentDelete",
        }
    }
}
