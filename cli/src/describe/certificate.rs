//! Certificate signing requests.

use super::text::{Text, maybe_time, selector_text};
use crate::error::{Result, message};
use gantry_pki::csr::Request;
use gantry_types::time::human_duration;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestStatus};

pub fn signing_request(t: &mut Text, c: &CertificateSigningRequest) -> Result<()> {
    let asked = Request::parse(&c.spec.request.0).map_err(|e| message(format!("Error parsing CSR: {e}")))?;
    let m = &c.metadata;
    t.pair(0, "Name", m.name.as_deref().unwrap_or_default());
    t.pair(0, "Labels", selector_text(m.labels.as_ref()));
    t.pair(0, "Annotations", selector_text(m.annotations.as_ref()));
    t.pair(0, "CreationTimestamp", maybe_time(m.creation_timestamp.as_ref()));
    t.pair(0, "Requesting User", c.spec.username.as_deref().unwrap_or_default());
    if !c.spec.signer_name.is_empty() {
        t.pair(0, "Signer", &c.spec.signer_name);
    }
    if let Some(seconds) = c.spec.expiration_seconds {
        t.pair(0, "Requested Duration", human_duration(seconds.into()));
    }
    t.pair(0, "Status", status(c.status.as_ref()));
    t.line(0, "Subject:");
    t.line(0, &format!("\tCommon Name:\t{}", asked.common_name));
    t.line(0, "\tSerial Number:\t");
    list(t, "Organization", &asked.organizations);
    let addresses: Vec<String> = asked.addresses.iter().map(ToString::to_string).collect();
    let names = [
        ("DNS Names", &asked.dns_names),
        ("Email Addresses", &asked.emails),
        ("URIs", &asked.uris),
        ("IP Addresses", &addresses),
    ];
    if names.iter().any(|(_, all)| !all.is_empty()) {
        t.line(0, "Subject Alternative Names:");
    }
    for (title, all) in names {
        list(t, title, all);
    }
    Ok(())
}

fn list(t: &mut Text, title: &str, all: &[String]) {
    for (i, value) in all.iter().enumerate() {
        match i {
            0 => t.line(0, &format!("\t{title}:\t{value}")),
            _ => t.line(0, &format!("\t\t{value}")),
        }
    }
}

/// `Approved,Issued` and the like.
fn status(of: Option<&CertificateSigningRequestStatus>) -> String {
    let has = |kind: &str| {
        of.and_then(|s| s.conditions.as_ref()).is_some_and(|all| all.iter().any(|c| c.type_ == kind))
    };
    let mut out = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        out += ",Failed";
    }
    if of.and_then(|s| s.certificate.as_ref()).is_some_and(|c| !c.0.is_empty()) {
        out += ",Issued";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_word_and_what_came_of_it() {
        let check = |conditions: &[&str], certificate: &str, expected: &str| {
            let conditions: Vec<String> =
                conditions.iter().map(|t| format!(r#"{{"type":"{t}","status":"True"}}"#)).collect();
            let json =
                format!(r#"{{"conditions":[{}],"certificate":"{certificate}"}}"#, conditions.join(","));
            assert_eq!(status(Some(&serde_json::from_str(&json).unwrap())), expected);
        };
        assert_eq!(status(None), "Pending");
        check(&["Approved"], "", "Approved");
        check(&["Approved"], "eA==", "Approved,Issued");
        check(&["Approved", "Failed"], "", "Approved,Failed");
        check(&["Denied"], "", "Denied");
    }
}
