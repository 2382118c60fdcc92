//! What a service account token says.

use super::{service_account_groups, service_account_user};
use crate::{AUTHENTICATED, CREDENTIAL_ID};
use gantry_types::UserInfo;
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;

/// The issuer of tokens kept in secrets.
pub(super) const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// A bound object, by name and UID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The `kubernetes.io` claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bound {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    #[serde(default, rename = "serviceaccount")]
    pub service_account: Reference,
    /// Unix seconds.
    #[serde(
        default,
        rename = "warnafter",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "date"
    )]
    pub warn_after: Option<i64>,
}

/// The claims of a token kept in a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Legacy {
    pub namespace: String,
    pub secret: String,
    pub name: String,
    pub uid: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bound(Bound),
    Legacy(Legacy),
}

/// Claims as they are kept after the signature held. Times are Unix seconds.
#[derive(Clone, Debug)]
pub struct Claims {
    pub issuer: String,
    pub subject: String,
    pub audiences: Vec<String>,
    pub expires: Option<i64>,
    pub not_before: Option<i64>,
    pub issued_at: Option<i64>,
    pub(super) kind: Kind,
    pub(super) user: Arc<UserInfo>,
}

/// The claims on the wire, in the order upstream writes them.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Wire {
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "date")]
    pub exp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "date")]
    pub iat: Option<i64>,
    #[serde(default)]
    pub iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    #[serde(default, rename = "kubernetes.io", skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "date")]
    pub nbf: Option<i64>,
    #[serde(default)]
    pub sub: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/service-account.name", skip_serializing)]
    pub(super) legacy_name: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/service-account.uid", skip_serializing)]
    pub(super) legacy_uid: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/secret.name", skip_serializing)]
    pub(super) legacy_secret: String,
    #[serde(default, rename = "kubernetes.io/serviceaccount/namespace", skip_serializing)]
    pub(super) legacy_namespace: String,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<OneOrMany>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(OneOrMany::One(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
    })
}

/// A NumericDate: seconds, possibly with a fraction that does not matter here.
fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(|seconds| seconds as i64))
}

impl Claims {
    /// Reads a payload. `None` where it is not a token of this kind.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(payload).ok()?;
        let (kind, user) = if wire.iss == LEGACY_ISSUER {
            let legacy = Legacy {
                namespace: wire.legacy_namespace,
                secret: wire.legacy_secret,
                name: wire.legacy_name,
                uid: wire.legacy_uid,
            };
            let user = user(&legacy.namespace, &legacy.name, &legacy.uid);
            (Kind::Legacy(legacy), user)
        } else {
            let bound = wire.kubernetes.unwrap_or_default();
            let user = bound_user(&bound, &wire.jti);
            (Kind::Bound(bound), user)
        };
        Some(Self {
            issuer: wire.iss,
            subject: wire.sub,
            audiences: wire.aud,
            expires: wire.exp,
            not_before: wire.nbf,
            issued_at: wire.iat,
            kind,
            user: Arc::new(user),
        })
    }
}

fn user(namespace: &str, name: &str, uid: &str) -> UserInfo {
    let mut groups = service_account_groups(namespace);
    groups.push(AUTHENTICATED.to_owned());
    UserInfo {
        name: service_account_user(namespace, name),
        uid: uid.to_owned(),
        groups,
        extra: Default::default(),
    }
}

/// The extra key and value that name a token by its `jti`.
pub(super) fn credential_id(jti: &str) -> String {
    format!("JTI={jti}")
}

fn bound_user(bound: &Bound, jti: &str) -> UserInfo {
    let account = &bound.service_account;
    let mut user = user(&bound.namespace, &account.name, &account.uid);
    let mut put = |key: &str, value: &str| {
        user.extra.insert(key.to_owned(), vec![value.to_owned()]);
    };
    if let Some(pod) = bound.pod.as_ref().filter(|pod| !pod.name.is_empty() && !pod.uid.is_empty()) {
        put("authentication.kubernetes.io/pod-name", &pod.name);
        put("authentication.kubernetes.io/pod-uid", &pod.uid);
    }
    if !jti.is_empty() {
        put(CREDENTIAL_ID, &credential_id(jti));
    }
    if let Some(node) = bound.node.as_ref().filter(|node| !node.name.is_empty()) {
        put("authentication.kubernetes.io/node-name", &node.name);
        if !node.uid.is_empty() {
            put("authentication.kubernetes.io/node-uid", &node.uid);
        }
    }
    user
}
