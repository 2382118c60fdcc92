//! `networking.k8s.io`.

use super::*;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        group: "networking.k8s.io",
        version: "v1",
        kind: "IPAddress",
        plural: "ipaddresses",
        singular: "ipaddress",
        short_names: &["ip"],
        categories: &[],
        scope: Scope::Cluster,
        storage: Storage::Prefix("ipaddresses"),
        verbs: ALL,
        subresources: &[],
        columns: &[NAME, col("ParentRef", "string")],
    },
    Kind {
        group: "networking.k8s.io",
        version: "v1",
        kind: "ServiceCIDR",
        plural: "servicecidrs",
        singular: "servicecidr",
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
        storage: Storage::Prefix("servicecidrs"),
        verbs: ALL,
        subresources: &[sub("status", "ServiceCIDR", GET_UPDATE)],
        columns: &[NAME, col("CIDRs", "string"), col("Age", "string")],
    },
];
