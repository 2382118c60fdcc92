//! `authentication.k8s.io`.

use super::*;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenReview",
        plural: "tokenreviews",
        singular: "tokenreview",
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
        storage: Storage::Virtual,
        verbs: CREATE,
        subresources: &[],
        columns: &[],
    },
    Kind {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
        storage: Storage::Virtual,
        verbs: CREATE,
        subresources: &[],
        columns: &[],
    },
];
