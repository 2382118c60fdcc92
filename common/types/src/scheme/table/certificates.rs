//! `certificates.k8s.io`.

use super::*;

pub(super) const KINDS: &[Kind] = &[Kind {
    group: "certificates.k8s.io",
    version: "v1",
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    categories: &[],
    scope: Scope::Cluster,
    storage: Storage::Prefix("certificatesigningrequests"),
    verbs: ALL,
    subresources: &[
        sub("approval", "CertificateSigningRequest", GET_UPDATE),
        sub("status", "CertificateSigningRequest", GET_UPDATE),
    ],
    columns: &[
        NAME,
        col("Age", "string"),
        col("SignerName", "string"),
        col("Requestor", "string"),
        col("RequestedDuration", "string"),
        col("Condition", "string"),
    ],
}];
