//! What makes a certificate request a kubelet's, for those who approve and those who sign.

use gantry_pki::csr::Request;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use std::collections::BTreeSet;

pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// The account all of them act as.
pub const ACCOUNT: &str = "certificate-controller";

pub fn conditions(csr: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    csr.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default()
}

/// Whether a request has a condition of a type, true or not.
pub fn has(csr: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(csr).iter().any(|c| c.type_ == kind)
}

/// The certificate that was issued; empty where there is none.
pub fn issued(csr: &CertificateSigningRequest) -> &[u8] {
    csr.status.as_ref().and_then(|s| s.certificate.as_ref()).map_or(&[], |c| &c.0)
}

fn usages_are(usages: &[String], required: &[&str]) -> Result<(), String> {
    let has: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    let without_rsa = required.iter().copied().filter(|u| *u != "key encipherment").collect::<BTreeSet<_>>();
    if has == required.iter().copied().collect() || has == without_rsa {
        return Ok(());
    }
    let mut sorted = required.to_vec();
    sorted.sort_unstable();
    Err(format!("usages did not match [{}]", sorted.join(" ")))
}

fn subject(request: &Request) -> Result<(), String> {
    if request.organizations == ["system:nodes"] {
        Ok(())
    } else {
        Err("subject organization is not system:nodes".to_owned())
    }
}

fn name(request: &Request) -> Result<(), String> {
    if request.common_name.starts_with("system:node:") {
        Ok(())
    } else {
        Err("subject common name does not begin with system:node:".to_owned())
    }
}

fn none<T>(all: &[T], what: &str) -> Result<(), String> {
    if all.is_empty() { Ok(()) } else { Err(format!("{what} subjectAltNames are not allowed")) }
}

/// Whether this is what a kubelet asks for to reach the apiserver.
///
/// # Errors
/// What it is not, in upstream's words.
pub fn client(request: &Request, usages: &[String]) -> Result<(), String> {
    subject(request)?;
    none(&request.dns_names, "DNS")?;
    none(&request.emails, "Email")?;
    none(&request.addresses, "IP")?;
    none(&request.uris, "URI")?;
    name(request)?;
    usages_are(usages, &["digital signature", "key encipherment", "client auth"])
}

/// Whether this is what a kubelet asks for to serve.
///
/// # Errors
/// What it is not, in upstream's words.
pub fn serving(request: &Request, usages: &[String]) -> Result<(), String> {
    subject(request)?;
    if request.dns_names.is_empty() && request.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    none(&request.emails, "Email")?;
    none(&request.uris, "URI")?;
    usages_are(usages, &["digital signature", "key encipherment", "server auth"])?;
    name(request)
}
