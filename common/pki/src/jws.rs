//! Compact JSON web signatures, as service account tokens are.

use crate::Error;
use crate::keys::{Family, PrivateKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::SigningKey;
use sha2::{Digest, Sha256};

/// The number, right-aligned in `half` bytes; `None` where it does not fit.
fn number(digits: &[u8], half: usize) -> Option<Vec<u8>> {
    let digits = &digits[digits.iter().position(|b| *b != 0).unwrap_or(digits.len())..];
    let pad = half.checked_sub(digits.len())?;
    Some([vec![0; pad], digits.to_vec()].concat())
}

/// The DER sequence of two integers as one after the other.
fn plain(der: &[u8], half: usize) -> Option<Vec<u8>> {
    let mut rest = der.strip_prefix(&[0x30])?.get(1..)?;
    let mut out = Vec::new();
    for _ in 0..2 {
        let length = usize::from(*rest.strip_prefix(&[0x02])?.first()?);
        out.extend(number(rest.get(2..2 + length)?, half)?);
        rest = &rest[2 + length..];
    }
    Some(out)
}

/// Signs a payload, its key named as upstream names it: by the digest of its public half.
///
/// # Errors
/// Where the key's inner structure is broken.
pub fn sign(key: &PrivateKey, payload: &[u8]) -> Result<String, Error> {
    let (algorithm, half) = match key.family {
        Family::Rsa => ("RS256", None),
        Family::EcP256 => ("ES256", Some(32)),
        Family::EcP384 => ("ES384", Some(48)),
    };
    let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(key.public()?.spki()));
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}","kid":"{kid}"}}"#));
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    let signature = key.pair()?.sign(signed.as_bytes())?;
    let signature = match half {
        None => signature,
        Some(half) => {
            plain(&signature, half).ok_or_else(|| Error::Refused("malformed ECDSA signature".into()))?
        }
    };
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_two_numbers() {
        assert_eq!(plain(&[0x30, 8, 2, 2, 0, 0x81, 2, 2, 1, 2], 2), Some(vec![0, 0x81, 1, 2]));
        assert_eq!(plain(&[0x30, 7, 2, 3, 1, 2, 3, 2, 1, 0], 2), None);
        let token = sign(&PrivateKey::generate().unwrap(), b"{}").unwrap();
        let parts: Vec<_> = token.split('.').map(|p| URL_SAFE_NO_PAD.decode(p).unwrap()).collect();
        assert_eq!((parts.len(), parts[1].as_slice(), parts[2].len()), (3, &b"{}"[..], 64));
        assert!(String::from_utf8(parts[0].clone()).unwrap().starts_with(r#"{"alg":"ES256","kid":""#));
    }
}
