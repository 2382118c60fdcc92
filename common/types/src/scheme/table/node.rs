//! `node.k8s.io`.

use super::*;

pub(super) const KINDS: &[Kind] = &[Kind {
    group: "node.k8s.io",
    version: "v1",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    storage: Storage::Prefix("runtimeclasses"),
    verbs: ALL,
    subresources: &[],
    columns: &[NAME, col("Handler", "string"), col("Age", "string")],
}];
