//! Detached JWS signatures of `cluster-info` by bootstrap tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

const PREFIX: &str = "jws-kubeconfig-";

/// A token's own text of a secret.
pub(in crate::identity) fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()
}

/// When a token ends: `Ok(None)` never, `Err` where the time cannot be read, which counts as over.
pub(in crate::identity) fn expiration(secret: &Secret) -> Result<Option<Timestamp>, ()> {
    match text(secret, "expiration").filter(|e| !e.is_empty()) {
        None => Ok(None),
        Some(end) => end.parse().map(Some).map_err(|_| ()),
    }
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut padded = [0u8; BLOCK];
    if key.len() > BLOCK {
        padded[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        padded[..key.len()].copy_from_slice(key);
    }
    let with = |mask: u8| padded.map(|b| b ^ mask);
    let inner = Sha256::new().chain_update(with(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(with(0x5c)).chain_update(inner).finalize().to_vec()
}

/// The signature of `content` by a token, its content left out.
pub(super) fn signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#));
    let payload = URL_SAFE_NO_PAD.encode(content);
    let signed = hmac(secret.as_bytes(), format!("{header}.{payload}").as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signed))
}

/// A token's id and secret, where it may sign now.
fn signing(secret: &Secret, now: Timestamp) -> Option<(&str, &str)> {
    let name = secret.metadata.name.as_deref()?.strip_prefix("bootstrap-token-")?;
    let id = text(secret, "token-id").filter(|id| *id == name)?;
    let value = text(secret, "token-secret").filter(|s| !s.is_empty())?;
    let alive = expiration(secret).is_ok_and(|end| end.is_none_or(|end| end > now));
    (alive && text(secret, "usage-bootstrap-signing") == Some("true")).then_some((id, value))
}

/// The map with the signatures it should have; `None` where it has them.
pub(super) fn sign(map: &ConfigMap, tokens: &[Arc<Secret>], now: Timestamp) -> Option<ConfigMap> {
    let data = map.data.as_ref()?;
    let content = data.get("kubeconfig")?;
    let mut wanted: BTreeMap<String, String> = data.clone();
    wanted.retain(|key, _| !key.starts_with(PREFIX));
    for (id, secret) in tokens.iter().filter_map(|t| signing(t, now)) {
        wanted.insert(format!("{PREFIX}{id}"), signature(content, id, secret));
    }
    (wanted != *data).then(|| ConfigMap { data: Some(wanted), ..map.clone() })
}
