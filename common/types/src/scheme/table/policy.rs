//! `policy`.

use super::*;

pub(super) const KINDS: &[Kind] = &[Kind {
    group: "policy",
    version: "v1",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    categories: &[],
    scope: Scope::Namespaced,
    storage: Storage::Prefix("poddisruptionbudgets"),
    verbs: ALL,
    subresources: &[sub("status", "PodDisruptionBudget", GET_UPDATE)],
    columns: &[
        NAME,
        col("Min Available", "string"),
        col("Max Unavailable", "string"),
        col("Allowed Disruptions", "integer"),
        col("Age", "string"),
    ],
}];
