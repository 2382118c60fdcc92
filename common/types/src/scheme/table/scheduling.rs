//! `scheduling.k8s.io`.

use super::*;

pub(super) const KINDS: &[Kind] = &[Kind {
    group: "scheduling.k8s.io",
    version: "v1",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    categories: &[],
    scope: Scope::Cluster,
    storage: Storage::Prefix("priorityclasses"),
    verbs: ALL,
    subresources: &[],
    columns: &[
        NAME,
        col("Value", "integer"),
        col("Global-Default", "boolean"),
        col("Age", "string"),
        col("PreemptionPolicy", "string"),
    ],
}];
