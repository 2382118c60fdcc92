use super::plan::{Decision, decide};
use gantry_pki::keys::PrivateKey;
use gantry_pki::{Profile, Usage, ca};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn csr(signer: &str, names: &[&str], usages: &[&str], conditions: &[&str]) -> CertificateSigningRequest {
    let profile = Profile {
        common_name: "system:node:n".into(),
        organization: Some("system:nodes".into()),
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        usage: Usage::Client,
        lifetime: DAY,
    };
    let request = ca::request(&PrivateKey::generate().unwrap(), &profile).unwrap();
    let condition = |kind: &&str| CertificateSigningRequestCondition {
        type_: (*kind).to_owned(),
        status: "True".into(),
        ..CertificateSigningRequestCondition::default()
    };
    CertificateSigningRequest {
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: format!("kubernetes.io/{signer}"),
            usages: Some(usages.iter().map(|u| (*u).to_owned()).collect()),
            ..CertificateSigningRequestSpec::default()
        },
        status: Some(CertificateSigningRequestStatus {
            conditions: Some(conditions.iter().map(condition).collect()),
            ..CertificateSigningRequestStatus::default()
        }),
        ..CertificateSigningRequest::default()
    }
}

fn check(signer: &str, names: &[&str], usages: &[&str], conditions: &[&str], want: &str) {
    let found = match decide(&csr(signer, names, usages, conditions), DAY) {
        Decision::Ignore => "ignore".to_owned(),
        Decision::Fail(message) => message,
        Decision::Sign(g) => format!("sign {:b} {}", g.key_usage, g.extended.len()),
    };
    assert_eq!(found, want, "{signer} {names:?} {usages:?} {conditions:?}");
}

const SERVER: &[&str] = &["digital signature", "key encipherment", "server auth"];
const CLIENT: &[&str] = &["digital signature", "client auth"];

#[test]
fn signers_sign_what_is_theirs() {
    let yes = &["Approved"];
    check("kubelet-serving", &["n"], SERVER, yes, "sign 101 1");
    check("kubelet-serving", &["10.0.0.1"], SERVER, &[], "ignore");
    check("kubelet-serving", &["n"], SERVER, &["Approved", "Failed"], "ignore");
    check("kubelet-serving", &[], SERVER, yes, "DNS or IP subjectAltName is required");
    check(
        "kubelet-serving",
        &["n"],
        CLIENT,
        yes,
        "usages did not match [digital signature key encipherment server auth]",
    );
    check("kube-apiserver-client-kubelet", &[], CLIENT, yes, "sign 1 1");
    check("kube-apiserver-client-kubelet", &["n"], CLIENT, yes, "DNS subjectAltNames are not allowed");
    check("kube-apiserver-client", &["n"], CLIENT, yes, "sign 1 1");
    check("kube-apiserver-client", &[], SERVER, yes, "invalid usage for client certificate: server auth");
    check(
        "kube-apiserver-client",
        &[],
        &["digital signature"],
        yes,
        "missing required usage for client certificate: client auth",
    );
    check(
        "legacy-unknown",
        &["n"],
        &["s/mime", "email protection", "decipher only"],
        yes,
        "sign 100000000 1",
    );
}

#[test]
fn lifetimes_are_asked_for_within_bounds() {
    for (asked, want) in
        [(None, 86_400), (Some(600), 600), (Some(60), 600), (Some(100_000), 86_400), (Some(7200), 7200)]
    {
        let mut csr = csr("kube-apiserver-client", &[], CLIENT, &["Approved"]);
        csr.spec.expiration_seconds = asked;
        let Decision::Sign(granted) = decide(&csr, DAY) else { panic!("must sign") };
        assert_eq!(granted.lifetime.as_secs(), want, "{asked:?}");
    }
}
