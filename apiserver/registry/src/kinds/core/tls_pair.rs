//! The warning on a `kubernetes.io/tls` secret whose parts are not a certificate and a key.

use x509_parser::pem::Pem;

fn labels(bytes: &[u8]) -> Vec<String> {
    Pem::iter_from_buffer(bytes).map_while(Result::ok).map(|p| p.label).collect()
}

/// The first complaint Go's key pair loader has, `None` when both parts are in place.
pub fn complaint(certificate: &[u8], key: &[u8]) -> Option<String> {
    let found = labels(certificate);
    if !found.iter().any(|l| l == "CERTIFICATE") {
        return Some(match found.as_slice() {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [one] if one.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
            many => format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
                many.join(" ")
            ),
        });
    }
    let found = labels(key);
    if found.iter().any(|l| l.ends_with("PRIVATE KEY")) {
        return None;
    }
    Some(match found.as_slice() {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [one] if one == "CERTIFICATE" => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        many => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
            many.join(" ")
        ),
    })
}
