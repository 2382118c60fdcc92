//! `discovery.k8s.io`.

use super::*;

pub(super) const KINDS: &[Kind] = &[Kind {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    storage: Storage::Prefix("endpointslices"),
    verbs: ALL,
    subresources: &[],
    columns: &[
        NAME,
        col("AddressType", "string"),
        col("Ports", "string"),
        col("Endpoints", "string"),
        col("Age", "string"),
    ],
}];
