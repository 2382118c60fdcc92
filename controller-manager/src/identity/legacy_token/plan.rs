//! What a token secret should hold.

use gantry_client::Key;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use serde::Serialize;

const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

fn annotation<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    secret.metadata.annotations.as_ref()?.get(name).map(String::as_str).filter(|v| !v.is_empty())
}

/// The account a secret names.
pub(super) fn account_of(secret: &Secret) -> Option<Key> {
    Some(Key::new(secret.metadata.namespace.as_deref().unwrap_or(""), annotation(secret, NAME)?))
}

/// Whether this is the account meant, and not another of its name.
pub(super) fn is_of(secret: &Secret, account: &ServiceAccount) -> bool {
    annotation(secret, UID).is_none_or(|uid| account.metadata.uid.as_deref() == Some(uid))
}

/// The claims of a token that does not end.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: &'a str,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: &'a str,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: &'a str,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: &'a str,
    sub: String,
}

/// The secret with what it lacks; `None` where it lacks nothing.
///
/// # Errors
/// Those of `sign`.
pub(super) fn fill<E>(
    secret: &Secret,
    account: &ServiceAccount,
    root_ca: Option<&str>,
    sign: &dyn Fn(&[u8]) -> Result<String, E>,
) -> Result<Option<Secret>, E> {
    let mut out = secret.clone();
    let text = |o: &Option<String>| o.clone().unwrap_or_default();
    let (namespace, name, uid) =
        (text(&secret.metadata.namespace), text(&account.metadata.name), text(&account.metadata.uid));
    let data = out.data.get_or_insert_default();
    let mut changed = false;
    let has = |data: &std::collections::BTreeMap<String, ByteString>, key: &str| {
        data.get(key).is_some_and(|v| !v.0.is_empty())
    };
    if let Some(ca) = root_ca
        && data.get("ca.crt").is_none_or(|now| now.0 != ca.as_bytes())
    {
        data.insert("ca.crt".into(), ByteString(ca.as_bytes().to_vec()));
        changed = true;
    }
    if !has(data, "namespace") {
        data.insert("namespace".into(), ByteString(namespace.clone().into_bytes()));
        changed = true;
    }
    if !has(data, "token") {
        let claims = Claims {
            iss: "kubernetes/serviceaccount",
            namespace: &namespace,
            secret: secret.metadata.name.as_deref().unwrap_or(""),
            account: &name,
            uid: &uid,
            sub: format!("system:serviceaccount:{namespace}:{name}"),
        };
        // Strings always serialize.
        let token = sign(&serde_json::to_vec(&claims).unwrap_or_default())?;
        data.insert("token".into(), ByteString(token.into_bytes()));
        changed = true;
    }
    let annotations = out.metadata.annotations.get_or_insert_default();
    annotations.insert(NAME.into(), name);
    annotations.insert(UID.into(), uid);
    Ok(changed.then_some(out))
}
