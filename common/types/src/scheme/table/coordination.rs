//! `coordination.k8s.io`.

use super::*;

pub(super) const KINDS: &[Kind] = &[Kind {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    storage: Storage::Prefix("leases"),
    verbs: ALL,
    subresources: &[],
    columns: &[NAME, col("Holder", "string"), col("Age", "string")],
}];
