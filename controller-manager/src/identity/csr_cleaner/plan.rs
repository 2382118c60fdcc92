//! Until when a request is kept.

use super::super::kubelet_requests::{conditions, issued};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

/// Approved and issued, denied, failed.
const DONE: SignedDuration = SignedDuration::from_hours(1);
/// Undecided, or approved and not issued.
const WAITING: SignedDuration = SignedDuration::from_hours(24);

/// When a request is to go; `None` where nothing says so yet. `ends`: when its certificate does.
pub(super) fn due(csr: &CertificateSigningRequest, ends: Option<Timestamp>) -> Option<Timestamp> {
    let all = conditions(csr);
    let after = |at: Timestamp, wait| at.checked_add(wait).unwrap_or(Timestamp::MAX);
    if all.is_empty() {
        return csr.metadata.creation_timestamp.as_ref().map(|t| after(t.0, WAITING));
    }
    let one = |c: &k8s_openapi::api::certificates::v1::CertificateSigningRequestCondition| {
        let approved = c.type_ == "Approved";
        let wait = match c.type_.as_str() {
            "Denied" | "Failed" => DONE,
            "Approved" if issued(csr).is_empty() => WAITING,
            "Approved" => DONE,
            _ => return None,
        };
        let by_age = c.last_update_time.as_ref().map(|t| after(t.0, wait));
        by_age.into_iter().chain(ends.filter(|_| approved)).min()
    };
    all.iter().filter_map(one).min()
}
