//! `certificates.k8s.io`.

pub mod certificate_signing_request;
mod pem_data;

use crate::strategy::{AnyStrategy, erase};
use std::sync::Arc;

/// The strategy of a kind of this group.
pub(super) fn strategy(kind: &str) -> Option<Arc<dyn AnyStrategy>> {
    Some(match kind {
        "CertificateSigningRequest" => erase(certificate_signing_request::CertificateSigningRequests),
        _ => return None,
    })
}
