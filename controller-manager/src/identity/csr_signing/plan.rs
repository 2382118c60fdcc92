//! Whether a request is signed, and what the certificate is good for.

use super::super::kubelet_requests::{
    CLIENT, KUBELET_CLIENT, KUBELET_SERVING, client, conditions, issued, serving,
};
use gantry_pki::csr::Request;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use std::time::Duration;

/// What a certificate is given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// Bits as RFC 5280 numbers them.
    pub key_usage: u16,
    /// Object identifiers.
    pub extended: Vec<&'static [u64]>,
    pub lifetime: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Ignore,
    /// The signer does not sign such requests, ever.
    Fail(String),
    Sign(Granted),
}

/// Shorter than this nothing is signed.
const LEAST: Duration = Duration::from_secs(10 * 60);

const KEY_USAGES: &[(&str, u16)] = &[
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// In the order they are written in.
const EXTENDED: &[(&str, &[u64])] = &[
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113_730, 4, 1]),
];

fn client_usages(usages: &[String]) -> Result<(), String> {
    const OPTIONAL: [&str; 2] = ["digital signature", "key encipherment"];
    for usage in usages {
        if usage != "client auth" && !OPTIONAL.contains(&usage.as_str()) {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
    }
    if usages.iter().any(|u| u == "client auth") {
        Ok(())
    } else {
        Err("missing required usage for client certificate: client auth".to_owned())
    }
}

fn judge(csr: &CertificateSigningRequest, request: &Request, usages: &[String]) -> Result<(), String> {
    match csr.spec.signer_name.as_str() {
        KUBELET_SERVING => serving(request, usages),
        KUBELET_CLIENT => client(request, usages),
        CLIENT => client_usages(usages),
        _ => Ok(()),
    }
}

fn lifetime(asked: Option<i32>, longest: Duration) -> Duration {
    let Some(seconds) = asked else { return longest };
    let asked = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    if asked > longest { longest } else { asked.max(LEAST) }
}

fn granted(usages: &[String], lifetime: Duration) -> Result<Granted, String> {
    let mut key_usage = 0;
    let mut extended: Vec<&'static [u64]> = Vec::new();
    for usage in usages {
        match KEY_USAGES.iter().find(|(name, _)| name == usage) {
            Some((_, bit)) => key_usage |= 1 << bit,
            None if EXTENDED.iter().any(|(name, _)| name == usage) => {}
            None => return Err(format!("unrecognized usage values: [{usage:?}]")),
        }
    }
    for (name, id) in EXTENDED {
        if usages.iter().any(|u| u == name) && !extended.contains(id) {
            extended.push(id);
        }
    }
    Ok(Granted { key_usage, extended, lifetime })
}

/// `longest` is `--cluster-signing-duration`.
pub(super) fn decide(csr: &CertificateSigningRequest, longest: Duration) -> Decision {
    let is = |kind: &str| conditions(csr).iter().any(|c| c.type_ == kind && c.status == "True");
    if !issued(csr).is_empty() || !is("Approved") || is("Denied") || is("Failed") {
        return Decision::Ignore;
    }
    // The apiserver stores no request that cannot be read.
    let Ok(request) = Request::parse(&csr.spec.request.0) else { return Decision::Ignore };
    let usages = csr.spec.usages.as_deref().unwrap_or_default();
    let lasts = lifetime(csr.spec.expiration_seconds, longest);
    match judge(csr, &request, usages).and_then(|()| granted(usages, lasts)) {
        Ok(granted) => Decision::Sign(granted),
        Err(message) => Decision::Fail(message),
    }
}
