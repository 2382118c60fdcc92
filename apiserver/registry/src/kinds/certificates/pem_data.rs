//! Certificates and requests for them as PEM, with Go's complaints.

use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519};
use x509_parser::prelude::FromDer;

/// The blocks up to the first that cannot be read, whatever text stands between them.
fn blocks(data: &[u8]) -> Vec<pem::Pem> {
    let mut out = Vec::new();
    let mut rest = String::from_utf8_lossy(data).into_owned();
    while let Some(end) = rest.find("-----END ") {
        let after = rest[end..].find('\n').map_or(rest.len(), |n| end + n + 1);
        match pem::parse(&rest[..after]) {
            Ok(block) => out.push(block),
            Err(_) => break,
        }
        rest.drain(..after);
    }
    out
}

/// Whether `data` is a PEM certificate request signed by its own key.
///
/// # Errors
/// What is wrong with it.
pub fn request(data: &[u8]) -> Result<(), String> {
    let all = blocks(data);
    let block = all.first().filter(|b| b.tag() == "CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (rest, parsed) = X509CertificationRequest::from_der(block.contents())
        .map_err(|e| format!("asn1: structure error: {e}"))?;
    if !rest.is_empty() {
        return Err("asn1: syntax error: trailing data".to_owned());
    }
    parsed.verify_signature().map_err(|_| {
        let algorithm = &parsed.certification_request_info.subject_pki.algorithm.algorithm;
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            "crypto/rsa: verification error"
        } else if *algorithm == OID_SIG_ED25519 {
            "x509: Ed25519 verification failure"
        } else {
            "x509: ECDSA verification failure"
        }
        .to_owned()
    })
}

/// Whether `data` is empty or PEM certificates and no other blocks.
///
/// # Errors
/// What is wrong with it.
pub fn certificates(data: &[u8]) -> Result<(), String> {
    if data.is_empty() {
        return Ok(());
    }
    let all = blocks(data);
    for block in &all {
        if block.tag() != "CERTIFICATE" {
            let found = gantry_types::field::go_quote(block.tag());
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {found}"));
        }
        if block.headers().iter().next().is_some() {
            return Err("no PEM block headers are permitted".to_owned());
        }
        let mut rest = block.contents();
        if rest.is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        while !rest.is_empty() {
            (rest, _) =
                X509Certificate::from_der(rest).map_err(|_| "x509: malformed certificate".to_owned())?;
        }
    }
    if all.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    Ok(())
}
