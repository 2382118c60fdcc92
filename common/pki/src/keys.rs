//! Private and public keys in the PEM forms kubeadm, openssl and this crate write.

use crate::Error;
use pem::Pem;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

/// The families of keys Kubernetes signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Rsa,
    /// P-256.
    EcP256,
    /// P-384.
    EcP384,
}

const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let n = content.len();
    match n {
        0..=0x7f => out.push(n as u8),
        0x80..=0xff => out.extend([0x81, n as u8]),
        _ => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend_from_slice(content);
    out
}

/// Wraps a bare PKCS#1 or SEC1 key as PKCS#8.
fn wrap_pkcs8(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let body = [&der(0x02, &[0])[..], &der(0x30, algorithm), &der(0x04, key)].concat();
    der(0x30, &body)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

fn curve_of(der_bytes: &[u8]) -> Option<(Family, &'static [u8])> {
    if contains(der_bytes, OID_P256) {
        Some((Family::EcP256, OID_P256))
    } else if contains(der_bytes, OID_P384) {
        Some((Family::EcP384, OID_P384))
    } else {
        None
    }
}

/// A private key, held as PKCS#8 DER whatever form it came in.
#[derive(Clone)]
pub struct PrivateKey {
    pub family: Family,
    pkcs8: Vec<u8>,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({:?})", self.family)
    }
}

impl PrivateKey {
    /// Reads the first private key of a PEM text: `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY`.
    ///
    /// # Errors
    /// Where there is none, or its algorithm is neither RSA nor ECDSA on P-256 or P-384.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let blocks = pem::parse_many(text).map_err(|e| Error::malformed("private key", e))?;
        let bad =
            || Error::malformed("private key", "data does not contain a valid RSA or ECDSA private key");
        for block in &blocks {
            let bytes = block.contents();
            match block.tag() {
                "PRIVATE KEY" => {
                    // The algorithm stands before the key itself; looking at the head keeps key bytes out.
                    let head = &bytes[..bytes.len().min(40)];
                    let family = if contains(head, OID_RSA) {
                        Family::Rsa
                    } else if contains(head, OID_EC) {
                        curve_of(head).ok_or_else(bad)?.0
                    } else {
                        return Err(bad());
                    };
                    return Ok(Self { family, pkcs8: bytes.to_vec() });
                }
                "RSA PRIVATE KEY" => {
                    let algorithm = [&der(0x06, OID_RSA)[..], &der(0x05, &[])].concat();
                    return Ok(Self { family: Family::Rsa, pkcs8: wrap_pkcs8(&algorithm, bytes) });
                }
                "EC PRIVATE KEY" => {
                    let (family, oid) = curve_of(bytes).ok_or_else(bad)?;
                    let algorithm = [&der(0x06, OID_EC)[..], &der(0x06, oid)].concat();
                    return Ok(Self { family, pkcs8: wrap_pkcs8(&algorithm, bytes) });
                }
                _ => {}
            }
        }
        Err(bad())
    }

    /// A fresh P-256 key.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn generate() -> Result<Self, Error> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        Ok(Self { family: Family::EcP256, pkcs8: pair.serialize_der() })
    }

    /// PKCS#8 DER.
    pub fn der(&self) -> &[u8] {
        &self.pkcs8
    }

    /// PKCS#8 PEM, which upstream's daemons read as well.
    pub fn to_pem(&self) -> String {
        to_pem("PRIVATE KEY", self.pkcs8.clone())
    }

    /// The key as a signer of certificates.
    ///
    /// # Errors
    /// Where the key's inner structure is broken.
    pub fn pair(&self) -> Result<rcgen::KeyPair, Error> {
        let algorithm = match self.family {
            Family::Rsa => &rcgen::PKCS_RSA_SHA256,
            Family::EcP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Family::EcP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        };
        let der = rustls_pki_types::PrivatePkcs8KeyDer::from(&self.pkcs8[..]);
        Ok(rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, algorithm)?)
    }

    /// The public half.
    ///
    /// # Errors
    /// Where the key's inner structure is broken.
    pub fn public(&self) -> Result<PublicKey, Error> {
        PublicKey::from_spki(&rcgen::PublicKeyData::subject_public_key_info(&self.pair()?))
    }
}

/// A public key, held as SubjectPublicKeyInfo DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    pub family: Family,
    spki: Vec<u8>,
    /// The bare key: PKCS#1 `RSAPublicKey` DER, or the uncompressed point.
    raw: Vec<u8>,
}

impl PublicKey {
    fn from_spki(spki: &[u8]) -> Result<Self, Error> {
        let (_, info) =
            SubjectPublicKeyInfo::from_der(spki).map_err(|e| Error::malformed("public key", e))?;
        let algorithm = info.algorithm.algorithm.as_bytes();
        let family = if algorithm == OID_RSA {
            Family::Rsa
        } else if algorithm == OID_EC {
            let curve = info.algorithm.parameters.as_ref().map(|p| p.data).unwrap_or_default();
            match curve {
                c if c == OID_P256 => Family::EcP256,
                c if c == OID_P384 => Family::EcP384,
                _ => return Err(Error::malformed("public key", "unsupported elliptic curve")),
            }
        } else {
            return Err(Error::malformed("public key", "neither RSA nor ECDSA"));
        };
        let raw = info.subject_public_key.data.to_vec();
        Ok(Self { family, spki: spki.to_vec(), raw })
    }

    /// Every key of a PEM text: `PUBLIC KEY`, `RSA PUBLIC KEY`, certificates, and the public halves of private
    /// keys, as `--service-account-key-file` takes them.
    ///
    /// # Errors
    /// Where there is none or one is broken.
    pub fn all_from_pem(text: &str) -> Result<Vec<Self>, Error> {
        let blocks = pem::parse_many(text).map_err(|e| Error::malformed("public key", e))?;
        let mut out = Vec::new();
        for block in &blocks {
            match block.tag() {
                "PUBLIC KEY" => out.push(Self::from_spki(block.contents())?),
                "RSA PUBLIC KEY" => {
                    let algorithm = der(0x30, &[&der(0x06, OID_RSA)[..], &der(0x05, &[])].concat());
                    let bits = der(0x03, &[&[0], block.contents()].concat());
                    out.push(Self::from_spki(&der(0x30, &[algorithm, bits].concat()))?);
                }
                "CERTIFICATE" => {
                    let (_, cert) = x509_parser::parse_x509_certificate(block.contents())
                        .map_err(|e| Error::malformed("certificate", e))?;
                    out.push(Self::from_spki(cert.public_key().raw)?);
                }
                "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                    out.push(PrivateKey::from_pem(&pem::encode(block))?.public()?);
                }
                _ => {}
            }
        }
        if out.is_empty() {
            return Err(Error::malformed(
                "public key",
                "data does not contain any valid RSA or ECDSA public keys",
            ));
        }
        Ok(out)
    }

    /// SubjectPublicKeyInfo DER: what a key identifier is the digest of.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// PKCS#1 `RSAPublicKey` DER for RSA, the uncompressed point (`04 || x || y`) for ECDSA.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    pub fn to_pem(&self) -> String {
        to_pem("PUBLIC KEY", self.spki.clone())
    }
}

/// PEM with `\n` line ends, as every other tool writes it.
pub(crate) fn to_pem(tag: &str, der_bytes: Vec<u8>) -> String {
    pem::encode_config(
        &Pem::new(tag, der_bytes),
        pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
    )
}
