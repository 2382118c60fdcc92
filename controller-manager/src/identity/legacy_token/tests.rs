use super::plan::{account_of, fill, is_of};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use std::convert::Infallible;

fn secret(uid: &str) -> Secret {
    let uid = if uid.is_empty() {
        String::new()
    } else {
        format!(r#","kubernetes.io/service-account.uid":"{uid}""#)
    };
    let text = format!(
        r#"{{"metadata":{{"name":"t","namespace":"n","annotations":{{"kubernetes.io/service-account.name":"a"{uid}}}}},"type":"kubernetes.io/service-account-token"}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn account() -> ServiceAccount {
    serde_json::from_str(r#"{"metadata":{"name":"a","namespace":"n","uid":"u"}}"#).unwrap()
}

#[test]
fn secrets_belong_to_the_account_they_name() {
    assert_eq!(account_of(&secret("")).unwrap().to_string(), "n/a");
    assert_eq!(account_of(&Secret::default()), None);
    for (uid, want) in [("", true), ("u", true), ("other", false)] {
        assert_eq!(is_of(&secret(uid), &account()), want, "{uid}");
    }
}

#[test]
fn a_secret_is_given_what_it_lacks() {
    let sign = |payload: &[u8]| Ok::<_, Infallible>(String::from_utf8(payload.to_vec()).unwrap());
    let filled = fill(&secret(""), &account(), Some("PEM"), &sign).unwrap().unwrap();
    let data = filled.data.as_ref().unwrap();
    let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
    assert_eq!((text("ca.crt").as_str(), text("namespace").as_str()), ("PEM", "n"));
    assert_eq!(
        text("token"),
        r#"{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/namespace":"n","kubernetes.io/serviceaccount/secret.name":"t","kubernetes.io/serviceaccount/service-account.name":"a","kubernetes.io/serviceaccount/service-account.uid":"u","sub":"system:serviceaccount:n:a"}"#
    );
    assert_eq!(filled.metadata.annotations.as_ref().unwrap()["kubernetes.io/service-account.uid"], "u");
    assert!(fill(&filled, &account(), Some("PEM"), &sign).unwrap().is_none());
    let renewed = fill(&filled, &account(), Some("NEW"), &sign).unwrap().unwrap();
    assert_eq!(renewed.data.unwrap()["token"], data["token"], "the token stays");
}
