//! Whether what a token is bound to is still there.

use super::TokenError;
use super::claims::{Bound, Claims, Legacy, Reference};
use crate::resources::{NODES, PODS, SECRETS, SERVICE_ACCOUNTS};
use gantry_types::reader::ObjectReader;
use gantry_types::{GroupResource, Object, Status};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use serde::Deserialize;

/// Clocks may differ by this many seconds, and a deleted object's tokens hold for as long.
const LEEWAY: i64 = 60;

pub(super) fn check_times(claims: &Claims, now: Timestamp) -> Result<(), TokenError> {
    let now = now.as_second();
    if claims.not_before.is_some_and(|t| now + LEEWAY < t) {
        return Err(TokenError::new("service account token is not valid yet"));
    }
    if claims.expires.is_some_and(|t| now - LEEWAY > t) {
        return Err(TokenError::new("service account token has expired"));
    }
    if claims.issued_at.is_some_and(|t| now + LEEWAY < t) {
        return Err(TokenError::new("service account token is issued in the future"));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMeta {
    deletion_timestamp: Option<Timestamp>,
}

/// Whether an object's deletion time is past the leeway.
fn gone(object: &Object, now: Timestamp) -> bool {
    object.meta().deleting
        && serde_json::from_slice::<Head>(object.body())
            .ok()
            .and_then(|head| head.metadata.deletion_timestamp)
            .is_none_or(|at| at.as_second() < now.as_second() - LEEWAY)
}

fn service_account(reader: &dyn ObjectReader, namespace: &str, name: &str) -> Result<Object, TokenError> {
    reader
        .get(&SERVICE_ACCOUNTS, namespace, name)
        .ok_or_else(|| TokenError(Status::not_found(&SERVICE_ACCOUNTS, name).message().to_owned()))
}

pub(super) fn check_bound(
    reader: &dyn ObjectReader,
    bound: &Bound,
    now: Timestamp,
) -> Result<(), TokenError> {
    let (namespace, account) = (&*bound.namespace, &bound.service_account);
    let object = service_account(reader, namespace, &account.name)?;
    if object.uid() != account.uid {
        return Err(TokenError(format!(
            "service account UID ({}) does not match claim ({})",
            object.uid(),
            account.uid
        )));
    }
    if gone(&object, now) {
        return Err(TokenError(format!("service account {namespace}/{} has been deleted", account.name)));
    }
    let check =
        |resource: &GroupResource, namespace: &str, what: &str, claim: &str, reference: &Reference| {
            let object = reader
                .get(resource, namespace, &reference.name)
                .ok_or_else(|| TokenError::new("service account token has been invalidated"))?;
            if object.uid() != reference.uid {
                return Err(TokenError(format!(
                    "{what} UID ({}) does not match service account {claim} ref claim ({})",
                    object.uid(),
                    reference.uid
                )));
            }
            if gone(&object, now) {
                return Err(TokenError::new("service account token has been invalidated"));
            }
            Ok(())
        };
    if let Some(secret) = &bound.secret {
        check(&SECRETS, namespace, "secret", "secret", secret)?;
    }
    match (&bound.pod, &bound.node) {
        // Beside a pod the node is information: the pod's life bounds the token.
        (Some(pod), _) => check(&PODS, namespace, "pod", "pod", pod),
        (None, Some(node)) => check(&NODES, "", "node", "node", node),
        (None, None) => Ok(()),
    }
}

/// Compares without telling by its duration where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

pub(super) fn check_legacy(
    reader: &dyn ObjectReader,
    claims: &Claims,
    legacy: &Legacy,
    token: &str,
    annotations: &mut Vec<(&'static str, String)>,
    warnings: &mut Vec<String>,
    used: &dyn Fn(&Object),
) -> Result<(), TokenError> {
    let missing = [
        ("sub", &claims.subject),
        ("namespace", &legacy.namespace),
        ("secretName", &legacy.secret),
        ("serviceAccountName", &legacy.name),
        ("serviceAccountUID", &legacy.uid),
    ];
    if let Some((claim, _)) = missing.iter().find(|(_, value)| value.is_empty()) {
        return Err(TokenError(format!("{claim} claim is missing")));
    }
    if claims.subject != super::service_account_user(&legacy.namespace, &legacy.name) {
        return Err(TokenError::new("sub claim is invalid"));
    }
    let invalidated = || TokenError::new("Token has been invalidated");
    let object = reader.get(&SECRETS, &legacy.namespace, &legacy.secret).ok_or_else(invalidated)?;
    if object.meta().deleting {
        return Err(invalidated());
    }
    let secret: Secret = object.typed().map_err(|_| invalidated())?;
    let copy = secret.data.as_ref().and_then(|data| data.get("token")).map(|bytes| &bytes.0[..]);
    if !copy.is_some_and(|copy| same(copy, token.as_bytes())) {
        return Err(TokenError::new("Token does not match server's copy"));
    }
    let account = service_account(reader, &legacy.namespace, &legacy.name)?;
    if account.meta().deleting {
        return Err(TokenError(format!(
            "ServiceAccount {}/{} has been deleted",
            legacy.namespace, legacy.name
        )));
    }
    if account.uid() != legacy.uid {
        return Err(TokenError(format!(
            "ServiceAccount UID ({}) does not match claim ({})",
            account.uid(),
            legacy.uid
        )));
    }
    // Whoever still uses a token marked invalid shows by that that it must not go.
    used(&object);
    if object.meta().labels.get(INVALID_SINCE).is_some_and(|since| !since.is_empty()) {
        return Err(TokenError(format!(
            "the token in secret {}/{} for service account {}/{} has been marked invalid. Use tokens from the \
             TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label \
             from the secret to temporarily allow use of this token",
            legacy.namespace, legacy.secret, legacy.namespace, legacy.name
        )));
    }
    let listed = account
        .typed::<ServiceAccount>()
        .ok()
        .and_then(|account| account.secrets)
        .is_some_and(|secrets| secrets.iter().any(|s| s.name.as_deref() == Some(&legacy.secret)));
    if listed {
        warnings.push(
            "Use tokens from the TokenRequest API or manually created secret-based tokens instead of \
             auto-generated secret-based tokens."
                .to_owned(),
        );
        annotations.push(("authentication.k8s.io/legacy-token-autogenerated-secret", legacy.secret.clone()));
    } else {
        annotations.push(("authentication.k8s.io/legacy-token-manual-secret", legacy.secret.clone()));
    }
    Ok(())
}
