//! `apps`.

use super::*;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        group: "apps",
        version: "v1",
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        categories: &["all"],
        scope: Scope::Namespaced,
        storage: Storage::Prefix("deployments"),
        verbs: ALL,
        subresources: &[SCALE, sub("status", "Deployment", GET_UPDATE)],
        columns: &[
            NAME,
            col("Ready", "string"),
            col("Up-to-date", "string"),
            col("Available", "string"),
            col("Age", "string"),
            wide("Containers", "string"),
            wide("Images", "string"),
            wide("Selector", "string"),
        ],
    },
    Kind {
        group: "apps",
        version: "v1",
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        categories: &["all"],
        scope: Scope::Namespaced,
        storage: Storage::Prefix("replicasets"),
        verbs: ALL,
        subresources: &[SCALE, sub("status", "ReplicaSet", GET_UPDATE)],
        columns: &[
            NAME,
            col("Desired", "integer"),
            col("Current", "integer"),
            col("Ready", "integer"),
            col("Age", "string"),
            wide("Containers", "string"),
            wide("Images", "string"),
            wide("Selector", "string"),
        ],
    },
];
