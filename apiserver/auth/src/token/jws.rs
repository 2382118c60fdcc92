//! Compact JSON web signatures with RSA and ECDSA keys.

use super::TokenError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_pki::keys::{Family, PrivateKey, PublicKey};
use rustls::SignatureScheme;
use rustls_pki_types::{PrivatePkcs8KeyDer, SignatureVerificationAlgorithm};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The JWA name of what a family of keys signs with.
pub(super) fn algorithm(family: Family) -> &'static str {
    match family {
        Family::Rsa => "RS256",
        Family::EcP256 => "ES256",
        Family::EcP384 => "ES384",
    }
}

fn scheme(family: Family) -> SignatureScheme {
    match family {
        Family::Rsa => SignatureScheme::RSA_PKCS1_SHA256,
        Family::EcP256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        Family::EcP384 => SignatureScheme::ECDSA_NISTP384_SHA384,
    }
}

/// Bytes of one half of an ECDSA signature.
fn half(family: Family) -> Option<usize> {
    match family {
        Family::Rsa => None,
        Family::EcP256 => Some(32),
        Family::EcP384 => Some(48),
    }
}

/// `kid`: the digest of the key's SubjectPublicKeyInfo, as upstream derives it.
pub(super) fn key_id(key: &PublicKey) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(key.spki()))
}

#[derive(Deserialize, Serialize)]
struct Header<'a> {
    alg: &'a str,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

/// A token taken apart, not yet verified.
pub(super) struct Parts<'a> {
    header: Vec<u8>,
    pub payload: Vec<u8>,
    signature: Vec<u8>,
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    pub fn split(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self {
            header: decode(header)?,
            payload: decode(payload)?,
            signature: decode(signature)?,
            signed: signed.as_bytes(),
        })
    }
}

/// `r || s` as the DER sequence of two integers.
fn to_der(signature: &[u8], half: usize) -> Option<Vec<u8>> {
    if signature.len() != half * 2 {
        return None;
    }
    let mut body = Vec::with_capacity(half * 2 + 8);
    for number in [&signature[..half], &signature[half..]] {
        let start = number.iter().position(|b| *b != 0).unwrap_or(half - 1);
        let digits = &number[start..];
        let pad = digits[0] & 0x80 != 0;
        body.extend([0x02, (digits.len() + usize::from(pad)) as u8]);
        if pad {
            body.push(0);
        }
        body.extend_from_slice(digits);
    }
    // At most 2 * (48 + 3) bytes: one length byte does.
    let mut out = vec![0x30, body.len() as u8];
    out.append(&mut body);
    Some(out)
}

/// The DER sequence of two integers as `r || s`.
fn from_der(der: &[u8], half: usize) -> Option<Vec<u8>> {
    let mut rest = der.strip_prefix(&[0x30])?.get(1..)?;
    let mut out = vec![0; half * 2];
    for i in 0..2 {
        let length = usize::from(*rest.strip_prefix(&[0x02])?.first()?);
        let digits = rest.get(2..2 + length)?;
        rest = &rest[2 + length..];
        let digits = &digits[digits.iter().position(|b| *b != 0).unwrap_or(length.checked_sub(1)?)..];
        let end = half * (i + 1);
        out[end.checked_sub(digits.len())?..end].copy_from_slice(digits);
    }
    Some(out)
}

struct VerifyKey {
    id: String,
    key: PublicKey,
    algorithm: &'static dyn SignatureVerificationAlgorithm,
}

/// The public keys tokens are verified with.
pub struct VerifyKeys(Vec<VerifyKey>);

impl VerifyKeys {
    /// Keys in every PEM form of `--service-account-key-file`, of several files one after the other.
    ///
    /// # Errors
    /// Where a text holds no key or a broken one.
    pub fn from_pem<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, gantry_pki::Error> {
        let supported = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let mut keys = Vec::new();
        for text in texts {
            for key in PublicKey::all_from_pem(text)? {
                let wanted = scheme(key.family);
                // The first of a scheme's algorithms is the one on the curve the scheme is named after.
                let algorithm = supported
                    .mapping
                    .iter()
                    .find(|(scheme, _)| *scheme == wanted)
                    .and_then(|(_, algorithms)| algorithms.first().copied())
                    .ok_or_else(|| gantry_pki::Error::Refused(format!("no verifier for {wanted:?}")))?;
                keys.push(VerifyKey { id: key_id(&key), key, algorithm });
            }
        }
        Ok(Self(keys))
    }

    /// The keys with their ids, in the order given.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &PublicKey)> {
        self.0.iter().map(|k| (&*k.id, &k.key))
    }

    pub(super) fn verify(&self, parts: &Parts<'_>) -> Result<(), TokenError> {
        let header: Header<'_> =
            serde_json::from_slice(&parts.header).map_err(|_| TokenError::new("invalid header"))?;
        let kid = header.kid.unwrap_or_default();
        let mut any = false;
        for key in self.0.iter().filter(|k| kid.is_empty() || k.id == kid) {
            any = true;
            // The key decides the algorithm; a header that names another is refused, never followed.
            if header.alg != algorithm(key.key.family) {
                continue;
            }
            let held = match half(key.key.family) {
                None => key.algorithm.verify_signature(key.key.raw(), parts.signed, &parts.signature).is_ok(),
                Some(half) => to_der(&parts.signature, half).is_some_and(|der| {
                    key.algorithm.verify_signature(key.key.raw(), parts.signed, &der).is_ok()
                }),
            };
            if held {
                return Ok(());
            }
        }
        Err(TokenError::new(if any {
            "go-jose/go-jose: error in cryptographic primitive"
        } else {
            "invalid signature, no keys found"
        }))
    }
}

/// Signs tokens with one private key.
pub struct Signer {
    family: Family,
    signer: Box<dyn rustls::sign::Signer>,
    /// The encoded header and the dot after it.
    head: String,
}

impl Signer {
    /// A signer with a key in any PEM form of `--service-account-signing-key-file`.
    ///
    /// # Errors
    /// Where there is no usable key.
    pub fn from_pem(text: &str) -> Result<Self, gantry_pki::Error> {
        let key = PrivateKey::from_pem(text)?;
        let der = PrivatePkcs8KeyDer::from(key.der().to_vec()).into();
        let signing: Arc<dyn rustls::sign::SigningKey> =
            rustls::crypto::ring::sign::any_supported_type(&der)?;
        let signer = signing
            .choose_scheme(&[scheme(key.family)])
            .ok_or_else(|| gantry_pki::Error::Refused("the signing key does not fit its algorithm".into()))?;
        let kid = key_id(&key.public()?);
        let header = Header { alg: algorithm(key.family), kid: Some(&kid) };
        // A struct of strings always serializes.
        let head = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).unwrap_or_default()) + ".";
        Ok(Self { family: key.family, signer, head })
    }

    /// The token with this payload.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub(super) fn sign(&self, payload: &[u8]) -> Result<String, TokenError> {
        let mut token = self.head.clone();
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.signer.sign(token.as_bytes()).map_err(|e| TokenError(e.to_string()))?;
        let signature = match half(self.family) {
            None => signature,
            Some(half) => {
                from_der(&signature, half).ok_or_else(|| TokenError::new("malformed ECDSA signature"))?
            }
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_convert_both_ways() {
        for raw in [[1u8; 64], [0xff; 64], {
            let mut z = [0u8; 64];
            z[31] = 5;
            z[40] = 0x80;
            z
        }] {
            let der = to_der(&raw, 32).unwrap();
            assert_eq!(from_der(&der, 32).unwrap(), raw);
        }
        assert_eq!(to_der(&[0; 63], 32), None);
        assert_eq!(from_der(&[0x30, 2, 2], 32), None);
    }

    #[test]
    fn the_key_decides_the_algorithm() {
        let key = PrivateKey::generate().unwrap();
        let signer = Signer::from_pem(&key.to_pem()).unwrap();
        let keys = VerifyKeys::from_pem([&*key.public().unwrap().to_pem()]).unwrap();
        let token = signer.sign(b"{}").unwrap();
        assert_eq!(keys.verify(&Parts::split(&token).unwrap()), Ok(()));
        let (_, rest) = token.split_once('.').unwrap();
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"RS256"}"#] {
            let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
            assert!(keys.verify(&Parts::split(&forged).unwrap()).is_err(), "{header}");
        }
        let tampered = token.replacen("e30", "e30K", 1);
        assert!(Parts::split(&tampered).is_none_or(|p| keys.verify(&p).is_err()));
    }
}
