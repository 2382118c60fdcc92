use super::plan::{approved, patience, recognize};
use gantry_pki::keys::PrivateKey;
use gantry_pki::{Profile, Usage, ca};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use std::time::Duration;

fn csr(user: &str, cn: &str, group: &str, names: &[&str], usages: &[&str]) -> CertificateSigningRequest {
    let profile = Profile {
        common_name: cn.into(),
        organization: Some(group.into()),
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        usage: Usage::Client,
        lifetime: Duration::from_secs(3600),
    };
    let request = ca::request(&PrivateKey::generate().unwrap(), &profile).unwrap();
    CertificateSigningRequest {
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: "kubernetes.io/kube-apiserver-client-kubelet".into(),
            usages: Some(usages.iter().map(|u| (*u).to_owned()).collect()),
            username: Some(user.into()),
            ..CertificateSigningRequestSpec::default()
        },
        ..CertificateSigningRequest::default()
    }
}

const USAGES: &[&str] = &["digital signature", "client auth"];

#[test]
fn kubelets_requests_are_recognized() {
    let check = |csr: &CertificateSigningRequest, want: &[&str]| {
        let found: Vec<_> = recognize(csr).iter().map(|s| s.subresource).collect();
        assert_eq!(found, want);
    };
    let node = "system:node:n";
    check(&csr("system:bootstrap:abcdef", node, "system:nodes", &[], USAGES), &["nodeclient"]);
    check(&csr(node, node, "system:nodes", &[], USAGES), &["selfnodeclient", "nodeclient"]);
    let rsa = &["client auth", "key encipherment", "digital signature"];
    check(&csr(node, node, "system:nodes", &[], rsa), &["selfnodeclient", "nodeclient"]);
    check(&csr(node, node, "system:masters", &[], USAGES), &[]);
    check(&csr(node, "root", "system:nodes", &[], USAGES), &[]);
    check(&csr(node, node, "system:nodes", &["n"], USAGES), &[]);
    check(&csr(node, node, "system:nodes", &[], &["digital signature", "server auth"]), &[]);
    let mut other = csr(node, node, "system:nodes", &[], USAGES);
    other.spec.signer_name = "kubernetes.io/kube-apiserver-client".into();
    check(&other, &[]);
    let undecided = csr(node, node, "system:nodes", &[], USAGES);
    let decided = approved(&undecided, &recognize(&undecided)[0]);
    assert_eq!(decided.status.as_ref().unwrap().conditions.as_ref().unwrap()[0].type_, "Approved");
    check(&decided, &[]);
}

#[test]
fn asking_again_slows_down() {
    let mut csr = CertificateSigningRequest::default();
    let now = "2026-01-01T01:00:00Z".parse().unwrap();
    assert_eq!(patience(&csr, now).as_secs(), 1);
    for (born, want) in [("2026-01-01T00:59:30Z", 30), ("2026-01-01T00:00:00Z", 1000)] {
        let born = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(born.parse().unwrap());
        csr.metadata.creation_timestamp = Some(born);
        assert_eq!(patience(&csr, now).as_secs(), want);
    }
}
