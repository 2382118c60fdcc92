//! What happens in a cluster, as plugins are asked about it.

use crate::cluster::NodeIndex;
use crate::node::NodeFacts;
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};

/// An object as it is now, and as it was where it was known.
#[derive(Debug)]
pub struct Update<'a, K> {
    pub old: Option<&'a K>,
    pub new: &'a K,
}

impl<K> Update<'_, K> {
    fn label(&self, added: &'static str, updated: &'static str) -> &'static str {
        if self.old.is_none() { added } else { updated }
    }
}

/// Something that happened and may help pods that wait. The cluster is already as it is after it.
#[derive(Debug)]
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
    Claim(Update<'a, PersistentVolumeClaim>),
    Volume(Update<'a, PersistentVolume>),
    Class(Update<'a, StorageClass>),
    CsiNode(Update<'a, CSINode>),
    CsiDriver(Update<'a, CSIDriver>),
    Capacity(Update<'a, CSIStorageCapacity>),
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
            Self::Claim(c) => c.label("PersistentVolumeClaimAdd", "PersistentVolumeClaimUpdate"),
            Self::Volume(c) => c.label("PersistentVolumeAdd", "PersistentVolumeUpdate"),
            Self::Class(c) => c.label("StorageClassAdd", "StorageClassUpdate"),
            Self::CsiNode(c) => c.label("CSINodeAdd", "CSINodeUpdate"),
            Self::CsiDriver(c) => c.label("CSIDriverAdd", "CSIDriverUpdate"),
            Self::Capacity(c) => c.label("CSIStorageCapacityAdd", "CSIStorageCapacityUpdate"),
            Self::AttachmentRemoved(_) => "VolumeAttachmentDelete",
        }
    }
}
