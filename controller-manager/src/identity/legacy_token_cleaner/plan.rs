//! Which old tokens are marked, and which go.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};

const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
pub(super) const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// What becomes of a token's secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// It stops working as of this day; taking the label off brings it back.
    Mark(String),
    Delete,
}

/// A day as these labels write it, and only so.
fn day(text: &str) -> Option<Date> {
    text.parse::<Date>().ok().filter(|d| d.to_string() == text)
}

fn today(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// The time before which use says nothing: `period` ago.
fn horizon(now: Timestamp, period: SignedDuration) -> Timestamp {
    now.checked_sub(period).unwrap_or(Timestamp::MIN)
}

/// Whether use has been tracked for all of the period. `since`: the day tracking began, of which only the end is
/// certain.
///
/// # Errors
/// What is wrong with `since`.
pub(super) fn tracked_enough(
    since: Option<&str>,
    now: Timestamp,
    period: SignedDuration,
) -> Result<bool, String> {
    let since = since.ok_or("configMap does not have since label")?;
    let first = day(since).and_then(|d| d.checked_add(1.day()).ok()?.to_zoned(TimeZone::UTC).ok());
    let first = first.ok_or_else(|| format!("error parsing trackedSince time: {since:?}"))?;
    Ok(first.timestamp() <= horizon(now, period))
}

/// The account a secret is of, by name.
pub(super) fn account_of(secret: &Secret) -> Option<&str> {
    secret.metadata.annotations.as_ref()?.get(NAME).map(String::as_str).filter(|n| !n.is_empty())
}

fn label<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    secret.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// Whether it was made by the system for this account, is older than the period and was not used in it. Only then
/// is it worth a look whether pods mount it.
pub(super) fn unused(
    secret: &Secret,
    account: Option<&ServiceAccount>,
    now: Timestamp,
    period: SignedDuration,
) -> bool {
    let horizon = horizon(now, period);
    let meta = &secret.metadata;
    let old = meta.creation_timestamp.as_ref().is_none_or(|t| t.0 < horizon);
    let lately = match label(secret, LAST_USED) {
        // Not used since use is tracked.
        None => false,
        // A day that cannot be read is unknown.
        Some(text) => day(text).is_none_or(|d| d >= today(horizon)),
    };
    let uid = meta.annotations.as_ref().and_then(|a| a.get(UID)).filter(|u| !u.is_empty());
    // Only tokens their account lists were made by the system.
    let listed = account.is_some_and(|a| {
        uid.is_none_or(|uid| a.metadata.uid.as_ref() == Some(uid))
            && a.secrets.iter().flatten().any(|r| r.name == meta.name)
    });
    secret.type_.as_deref() == Some("kubernetes.io/service-account-token")
        && old
        && meta.deletion_timestamp.is_none()
        && !lately
        && listed
}

/// What becomes of an unused secret no pod mounts.
pub(super) fn verdict(secret: &Secret, now: Timestamp, period: SignedDuration) -> Verdict {
    match label(secret, INVALID_SINCE).and_then(day) {
        None => Verdict::Mark(today(now).to_string()),
        Some(since) if since >= today(horizon(now, period)) => Verdict::Keep,
        Some(_) => Verdict::Delete,
    }
}
