//! `storage.k8s.io`.

use super::*;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        group: "storage.k8s.io",
        version: "v1",
        kind: "StorageClass",
        plural: "storageclasses",
        singular: "storageclass",
        short_names: &["sc"],
        categories: &[],
        scope: Scope::Cluster,
        storage: Storage::Prefix("storageclasses"),
        verbs: ALL,
        subresources: &[],
        columns: &[
            NAME,
            col("Provisioner", "string"),
            col("ReclaimPolicy", "string"),
            col("VolumeBindingMode", "string"),
            col("AllowVolumeExpansion", "string"),
            col("Age", "string"),
        ],
    },
    Kind {
        group: "storage.k8s.io",
        version: "v1",
        kind: "VolumeAttachment",
        plural: "volumeattachments",
        singular: "volumeattachment",
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
        storage: Storage::Prefix("volumeattachments"),
        verbs: ALL,
        subresources: &[sub("status", "VolumeAttachment", GET_UPDATE)],
        columns: &[
            NAME,
            Column { name: "Attacher", kind: "string", format: "name", priority: 0 },
            col("PV", "string"),
            col("Node", "string"),
            col("Attached", "boolean"),
            col("Age", "string"),
        ],
    },
];
