//! Whether a bootstrap token has run out.

use crate::identity::bootstrap_signer::expiration;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use std::time::Duration;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Keep,
    Later(Duration),
    Delete,
}

/// An end that cannot be read has passed.
pub(super) fn plan(secret: &Secret, now: Timestamp) -> Plan {
    match expiration(secret) {
        Ok(None) => Plan::Keep,
        Err(()) => Plan::Delete,
        Ok(Some(end)) => match u64::try_from(end.as_second() - now.as_second()) {
            Ok(left) if left > 0 => Plan::Later(Duration::from_secs(left)),
            _ => Plan::Delete,
        },
    }
}
