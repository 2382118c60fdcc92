//! Volumes of plugins that were once part of Kubernetes: which drivers took their place, and the marks and
//! finalizers that say who looks after such a volume now.

use crate::storage::shared::annotation;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::ObjectMeta;

pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
pub const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
pub const PROVISIONER: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const OURS: &str = "kubernetes.io/pv-controller";
const THEIRS: &str = "external-provisioner.volume.kubernetes.io/finalizer";

const MOVED: [(&str, &str); 7] = [
    ("kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
    ("kubernetes.io/azure-disk", "disk.csi.azure.com"),
    ("kubernetes.io/azure-file", "file.csi.azure.com"),
    ("kubernetes.io/cinder", "cinder.csi.openstack.org"),
    ("kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
    ("kubernetes.io/portworx-volume", "pxd.portworx.com"),
    ("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
];

/// The driver that took a plugin's place.
pub fn driver_of(provisioner: &str) -> Option<&'static str> {
    MOVED.iter().find(|(old, _)| *old == provisioner).map(|(_, new)| *new)
}

/// Whether a provisioner's name is one of a plugin within Kubernetes.
pub fn is_within(provisioner: &str) -> bool {
    provisioner.starts_with("kubernetes.io/")
}

/// Sets the mark that names the driver, or takes away one that no longer holds; whether anything changed.
fn remark(meta: &mut ObjectMeta, provisioner: &str) -> bool {
    let driver = driver_of(provisioner);
    if annotation(meta, MIGRATED_TO).filter(|d| !d.is_empty()) == driver {
        return false;
    }
    let annotations = meta.annotations.get_or_insert_default();
    match driver {
        Some(driver) => annotations.insert(MIGRATED_TO.to_owned(), driver.to_owned()),
        None => annotations.remove(MIGRATED_TO),
    };
    true
}

/// The claim with its mark set right; `None` where it is.
pub fn claim(claim: &PersistentVolumeClaim) -> Option<PersistentVolumeClaim> {
    let provisioner = PROVISIONER.iter().find_map(|key| annotation(&claim.metadata, key))?.to_owned();
    let mut next = claim.clone();
    remark(&mut next.metadata, &provisioner).then_some(next)
}

/// The volume with its mark and finalizers set right; `None` where they are.
pub fn volume(volume: &PersistentVolume) -> Option<PersistentVolume> {
    let provisioner = annotation(&volume.metadata, PROVISIONED_BY)?.to_owned();
    let policy = volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    let mut next = volume.clone();
    let mut changed = remark(&mut next.metadata, &provisioner);
    let mut finalizers = next.metadata.finalizers.take().unwrap_or_default();
    let before = finalizers.clone();
    if driver_of(&provisioner).is_some() {
        finalizers.retain(|f| f != OURS);
    } else if is_within(&provisioner) {
        finalizers.retain(|f| f != THEIRS);
        match policy {
            Some("Delete") if !before.iter().any(|f| f == OURS) => finalizers.push(OURS.to_owned()),
            Some("Retain" | "Recycle") => finalizers.retain(|f| f != OURS),
            _ => {}
        }
    }
    changed |= finalizers != before;
    next.metadata.finalizers = (!finalizers.is_empty()).then_some(finalizers);
    changed.then_some(next)
}
