//! `/.well-known/openid-configuration` and `/openid/v1/jwks`: how others verify our tokens.

use super::VerifyKeys;
use super::jws::algorithm;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_pki::keys::{Family, PublicKey};
use serde::Serialize;

/// The two documents, made once.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Served as `application/json`.
    pub configuration: Vec<u8>,
    /// Served as `application/jwk-set+json`.
    pub keys: Vec<u8>,
}

/// How long clients may keep either, in seconds: `Cache-Control: public, max-age=3600`.
pub const MAX_AGE: u32 = 3600;

#[derive(Serialize)]
struct Configuration<'a> {
    issuer: &'a str,
    jwks_uri: &'a str,
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: Vec<&'static str>,
}

#[derive(Serialize)]
struct Key<'a> {
    #[serde(rename = "use")]
    usage: &'static str,
    kty: &'static str,
    kid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

#[derive(Serialize)]
struct KeySet<'a> {
    keys: Vec<Key<'a>>,
}

/// Modulus and exponent of a PKCS#1 `RSAPublicKey`.
fn rsa_numbers(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (first, rest) = bytes.strip_prefix(&[tag])?.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
            0x82 => (usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?), rest.get(2..)?),
            _ => return None,
        };
        Some((rest.get(..length)?, rest.get(length..)?))
    }
    let (body, _) = element(raw, 0x30)?;
    let (n, rest) = element(body, 0x02)?;
    let (e, _) = element(rest, 0x02)?;
    let trim = |number: &'_ [u8]| number.iter().position(|b| *b != 0).unwrap_or(0);
    Some((&n[trim(n)..], &e[trim(e)..]))
}

fn key<'a>(id: &'a str, key: &PublicKey) -> Option<Key<'a>> {
    let b64 = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
    let alg = algorithm(key.family);
    let base = Key { usage: "sig", kty: "EC", kid: id, crv: None, alg, x: None, y: None, n: None, e: None };
    let point =
        |half: usize| key.raw().get(1..).filter(|xy| xy.len() == half * 2).map(|xy| xy.split_at(half));
    match key.family {
        Family::Rsa => {
            let (n, e) = rsa_numbers(key.raw())?;
            Some(Key { kty: "RSA", n: b64(n), e: b64(e), ..base })
        }
        Family::EcP256 => point(32).map(|(x, y)| Key { crv: Some("P-256"), x: b64(x), y: b64(y), ..base }),
        Family::EcP384 => point(48).map(|(x, y)| Key { crv: Some("P-384"), x: b64(x), y: b64(y), ..base }),
    }
}

impl Discovery {
    /// `jwks_uri`: `https://<external address>/openid/v1/jwks` unless `--service-account-jwks-uri` says
    /// otherwise. `None` where the issuer is not an `https` URL without query and fragment: then upstream
    /// publishes nothing either.
    pub fn new(issuer: &str, jwks_uri: &str, keys: &VerifyKeys) -> Option<Self> {
        let sound = |url: &str| url.starts_with("https://");
        if !sound(issuer) || !sound(jwks_uri) || issuer.contains(['?', '#']) {
            return None;
        }
        let keys: Vec<Key<'_>> = keys.keys().filter_map(|(id, k)| key(id, k)).collect();
        let mut algorithms: Vec<&'static str> = keys.iter().map(|k| k.alg).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let configuration = Configuration {
            issuer,
            jwks_uri,
            response_types_supported: ["id_token"],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: algorithms,
        };
        Some(Self {
            configuration: serde_json::to_vec(&configuration).ok()?,
            keys: serde_json::to_vec(&KeySet { keys }).ok()?,
        })
    }
}
