use super::plan::{sign, signature};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use std::sync::Arc;

#[test]
fn signatures_are_what_kubeadm_checks() {
    let content = "Hello from the other side. I must have called a thousand times.";
    assert_eq!(
        signature(content, "joshua", "my voice is my passcode"),
        "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
    );
}

fn token(id: &str, data: &[(&str, &str)]) -> Arc<Secret> {
    let all = [("token-id", id), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")];
    let entry = |(k, v): &(&str, &str)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()));
    let mut secret = Secret { data: Some(all.iter().chain(data).map(entry).collect()), ..Secret::default() };
    secret.metadata.name = Some(format!("bootstrap-token-{id}"));
    Arc::new(secret)
}

#[test]
fn the_map_has_a_signature_of_each_living_token() {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let with = |pairs: &[(&str, &str)]| ConfigMap {
        data: Some(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        ..ConfigMap::default()
    };
    let check = |map: &ConfigMap, tokens: &[Arc<Secret>], want: Option<&[&str]>| {
        let found = sign(map, tokens, now).map(|m| m.data.unwrap().into_keys().collect::<Vec<_>>());
        assert_eq!(found, want.map(|w| w.iter().map(|k| (*k).to_owned()).collect()));
    };
    let plain = with(&[("kubeconfig", "x")]);
    check(&plain, &[], None);
    check(&with(&[]), &[token("abcdef", &[])], None);
    check(&plain, &[token("abcdef", &[])], Some(&["jws-kubeconfig-abcdef", "kubeconfig"]));
    check(&sign(&plain, &[token("abcdef", &[])], now).unwrap(), &[token("abcdef", &[])], None);
    check(&with(&[("jws-kubeconfig-old", "y"), ("kubeconfig", "x")]), &[], Some(&["kubeconfig"]));
    check(&plain, &[token("abcdef", &[("expiration", "2025-12-31T00:00:00Z")])], None);
    check(&plain, &[token("abcdef", &[("expiration", "soon")])], None);
    check(&plain, &[token("abcdef", &[("usage-bootstrap-signing", "no")])], None);
    check(&plain, &[token("abcdef", &[("token-id", "other1")])], None);
}
