//! Which requests are a kubelet's own.

use super::super::kubelet_requests::{KUBELET_CLIENT, client, has, issued};
use gantry_pki::csr::Request;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use std::time::Duration;

/// A sort of requests that are approved for those who may create the subresource of its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub subresource: &'static str,
    message: &'static str,
}

const RENEWAL: Sort = Sort {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const FIRST: Sort = Sort {
    subresource: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

/// The sorts an undecided request is of, the narrower first.
pub(super) fn recognize(csr: &CertificateSigningRequest) -> Vec<Sort> {
    if !issued(csr).is_empty() || has(csr, "Approved") || has(csr, "Denied") {
        return Vec::new();
    }
    let Ok(request) = Request::parse(&csr.spec.request.0) else { return Vec::new() };
    let usages = csr.spec.usages.as_deref().unwrap_or_default();
    if csr.spec.signer_name != KUBELET_CLIENT || client(&request, usages).is_err() {
        return Vec::new();
    }
    let own = csr.spec.username.as_deref() == Some(request.common_name.as_str());
    own.then_some(RENEWAL).into_iter().chain([FIRST]).collect()
}

/// The request with the condition that approves it.
pub(super) fn approved(csr: &CertificateSigningRequest, sort: &Sort) -> CertificateSigningRequest {
    let mut out = csr.clone();
    out.status.get_or_insert_default().conditions.get_or_insert_default().push(
        CertificateSigningRequestCondition {
            type_: "Approved".into(),
            status: "True".into(),
            reason: Some("AutoApproved".into()),
            message: Some(sort.message.into()),
            ..CertificateSigningRequestCondition::default()
        },
    );
    out
}

/// How long to wait before asking again: as long as the request has waited, a quarter of an hour at most.
pub(super) fn patience(csr: &CertificateSigningRequest, now: Timestamp) -> Duration {
    let born = csr.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
    let age = u64::try_from(now.as_second() - born.as_second()).unwrap_or(0);
    Duration::from_secs(age.clamp(1, 1000))
}
