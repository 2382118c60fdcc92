//! `autoscaling`.

use super::*;

const AUTOSCALER: Kind = Kind {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    scope: Scope::Namespaced,
    storage: Storage::Prefix("horizontalpodautoscalers"),
    verbs: ALL,
    subresources: &[sub("status", "HorizontalPodAutoscaler", GET_UPDATE)],
    columns: &[
        NAME,
        col("Reference", "string"),
        col("Targets", "string"),
        col("MinPods", "string"),
        col("MaxPods", "string"),
        col("Replicas", "string"),
        col("Age", "string"),
    ],
};

pub(super) const KINDS: &[Kind] = &[
    AUTOSCALER,
    Kind {
        version: "v1",
        storage: Storage::As { group: "autoscaling", version: "v2", kind: "HorizontalPodAutoscaler" },
        ..AUTOSCALER
    },
];
