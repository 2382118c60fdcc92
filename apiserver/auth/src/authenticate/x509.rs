//! Identities in client certificates: CN is the user, each O a group.

use crate::CREDENTIAL_ID;
use gantry_types::UserInfo;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The subject attribute that carries the user's UID (KEP-4603's `AllowParsingUserUIDFromCertAuth`).
const UID_OID: &str = "1.3.6.1.4.1.57683.2";

/// The identity of a certificate whose chain has been verified; `None` where it names nobody.
pub(super) fn identity(der: &[u8]) -> Result<Option<UserInfo>, String> {
    let (_, cert) = x509_parser::parse_x509_certificate(der).map_err(|e| e.to_string())?;
    let subject = cert.subject();
    // The last common name counts, as in Go's `pkix.Name`.
    let name = subject.iter_common_name().last().and_then(|cn| cn.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    let mut uids = Vec::new();
    for attribute in subject.iter_attributes() {
        if attribute.attr_type().to_id_string() == UID_OID {
            uids.push(attribute.as_str().map_err(|_| "unable to parse UID into a string".to_owned())?);
        }
    }
    let uid = match uids[..] {
        [] => "",
        [""] => return Err("UID cannot be an empty string".to_owned()),
        [uid] => uid,
        _ => return Err(format!("expected 1 UID, but found multiple: [{}]", uids.join(" "))),
    };
    let id = format!("X509SHA256={}", hex(&Sha256::digest(der), ""));
    Ok(Some(UserInfo {
        name: name.to_owned(),
        uid: uid.to_owned(),
        groups,
        extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![id])]),
    }))
}

pub(super) fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (_, cert) = x509_parser::parse_x509_certificate(der).ok()?;
    Timestamp::from_second(cert.validity().not_after.timestamp()).ok()
}

fn hex(bytes: &[u8], separator: &str) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    for (i, byte) in bytes.iter().enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        // Writing to a string does not fail.
        let _ = if separator.is_empty() { write!(out, "{byte:02x}") } else { write!(out, "{byte:02X}") };
    }
    out
}

/// A certificate named for the log.
pub(super) fn describe(der: &[u8]) -> String {
    let Ok((_, cert)) = x509_parser::parse_x509_certificate(der) else { return "(unreadable)".to_owned() };
    let (mut skid, mut akid) = (String::new(), String::new());
    for extension in cert.extensions() {
        match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => skid = hex(id.0, ":"),
            x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
                akid = id.key_identifier.as_ref().map(|id| hex(id.0, ":")).unwrap_or_default();
            }
            _ => {}
        }
    }
    format!("SN={}, SKID={skid}, AKID={akid}", cert.serial)
}
