//! `apiregistration.k8s.io`.

use super::*;

pub(super) const KINDS: &[Kind] = &[Kind {
    group: "apiregistration.k8s.io",
    version: "v1",
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    short_names: &[],
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    storage: Storage::Prefix("apiregistration.k8s.io/apiservices"),
    verbs: ALL,
    subresources: &[sub("status", "APIService", GET_UPDATE)],
    columns: &[NAME, col("Service", "string"), col("Available", "string"), col("Age", "string")],
}];
