//! `storage.k8s.io`.

mod csi_driver;
mod csi_node;
mod csi_storage_capacity;
mod storage_class;
mod volume_attachment;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "StorageClass" => erase(storage_class::StorageClasses),
        "VolumeAttachment" => erase(volume_attachment::VolumeAttachments),
        "CSINode" => erase(csi_node::CSINodes),
        "CSIDriver" => erase(csi_driver::CSIDrivers),
        "CSIStorageCapacity" => erase(csi_storage_capacity::CSIStorageCapacities),
        _ => return None,
    })
}
