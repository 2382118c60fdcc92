//! Identities from certificates, tokens and headers.

mod common;

use common::Fixed;
use gantry_auth::authenticate::FrontProxy;
use gantry_auth::resources::{NODES, PODS, SERVICE_ACCOUNTS};
use gantry_auth::token::{Discovery, Issuer, Signer, TokenAuthenticator, VerifyKeys};
use gantry_auth::{Authenticator, Connection, impersonate, review};
use gantry_pki::keys::PrivateKey;
use gantry_pki::verify::{ClientVerifier, certificates};
use gantry_pki::{Ca, DAY, Profile};
use gantry_types::user::{Attributes, Authorizer, Decision};
use gantry_types::{StatusResult, UserInfo};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest, TokenRequestSpec, TokenReview,
};
use k8s_openapi::api::rbac::v1::PolicyRule;
use std::sync::Arc;

const ISSUER: &str = "https://kubernetes.default.svc";

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in pairs {
        out.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    out
}

struct World {
    reader: Arc<Fixed>,
    issuer: Issuer,
    authenticator: Authenticator,
    ca: Ca,
    proxy_ca: Ca,
}

fn world() -> World {
    let reader = Arc::new(Fixed::default());
    reader.put(&SERVICE_ACCOUNTS, r#"{"metadata":{"name":"bot","namespace":"a","uid":"sa-1"}}"#);
    reader.put(
        &PODS,
        r#"{"metadata":{"name":"p","namespace":"a","uid":"pod-1"},"spec":{"serviceAccountName":"bot","nodeName":"n1"}}"#,
    );
    reader.put(&NODES, r#"{"metadata":{"name":"n1","uid":"node-1"}}"#);
    let key = PrivateKey::generate().unwrap();
    let other = PrivateKey::generate().unwrap().public().unwrap().to_pem();
    let public = key.public().unwrap().to_pem();
    let keys = VerifyKeys::from_pem([&*other, &*public]).unwrap();
    let audiences = vec![ISSUER.to_owned()];
    let tokens = TokenAuthenticator::new(keys, [ISSUER.to_owned()], audiences.clone(), reader.clone());
    let issuer = Issuer {
        signer: Signer::from_pem(&key.to_pem()).unwrap(),
        issuer: ISSUER.to_owned(),
        audiences,
        max_expiration: 0,
        extend: true,
        reader: reader.clone(),
    };
    let ca = Ca::create("kubernetes", now(), DAY * 3650).unwrap();
    let proxy_ca = Ca::create("front-proxy-ca", now(), DAY * 3650).unwrap();
    let front_proxy =
        FrontProxy::new(ClientVerifier::new(proxy_ca.cert()).unwrap(), vec!["front-proxy-client".into()]);
    let authenticator = Authenticator {
        client_ca: Some(ClientVerifier::new(ca.cert()).unwrap()),
        front_proxy: Some(front_proxy),
        tokens: Some(Arc::new(tokens)),
        bootstrap_tokens: None,
        anonymous: true,
    };
    World { reader, issuer, authenticator, ca, proxy_ca }
}

fn request(seconds: i64, bound: Option<(&str, &str, &str)>) -> TokenRequest {
    let bound_object_ref = bound.map(|(kind, name, uid)| BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some(kind.into()),
        name: Some(name.into()),
        uid: (!uid.is_empty()).then(|| uid.into()),
    });
    let spec = TokenRequestSpec { expiration_seconds: Some(seconds), bound_object_ref, ..Default::default() };
    TokenRequest { spec: Some(spec), ..Default::default() }
}

impl World {
    fn issue(&self, name: &str, mut request: TokenRequest) -> StatusResult<String> {
        self.issuer.prepare("a", name, &mut request, now())?;
        Ok(self.issuer.issue("a", name, request, now())?.request.status.unwrap().token.unwrap())
    }

    fn bearer(&self, token: &str, at: Timestamp) -> Result<Arc<UserInfo>, String> {
        let headers = headers(&[("authorization", &format!("Bearer {token}"))]);
        let found = self.authenticator.authenticate(&Connection::default(), &headers, at);
        found.map(|a| a.user).map_err(|e| e.0)
    }
}

#[test]
fn bound_tokens_hold_while_their_pod_lives() {
    let w = world();
    let token = w.issue("bot", request(3607, Some(("Pod", "p", "pod-1")))).unwrap();
    let user = w.bearer(&token, now()).unwrap();
    assert_eq!((&*user.name, &*user.uid), ("system:serviceaccount:a:bot", "sa-1"));
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
    let extra: Vec<_> = user.extra.iter().map(|(k, v)| (&**k, &*v[0])).collect();
    assert_eq!(
        extra[1..],
        [
            ("authentication.kubernetes.io/node-name", "n1"),
            ("authentication.kubernetes.io/node-uid", "node-1"),
            ("authentication.kubernetes.io/pod-name", "p"),
            ("authentication.kubernetes.io/pod-uid", "pod-1"),
        ]
    );
    assert!(
        extra[0].0 == "authentication.kubernetes.io/credential-id" && extra[0].1.starts_with("JTI="),
        "{extra:?}"
    );
    // Asked for an hour and seven seconds, bound to a pod: lives a year.
    assert!(w.bearer(&token, later(24 * 3600)).is_ok());
    assert!(
        w.bearer(&token, later(366 * 24 * 3600)).unwrap_err().contains("service account token has expired")
    );
    assert!(w.bearer(&token, later(-3600)).unwrap_err().contains("not valid yet"));

    w.reader.put(&PODS, r#"{"metadata":{"name":"p","namespace":"a","uid":"pod-2"},"spec":{}}"#);
    let why = "invalid bearer token, pod UID (pod-2) does not match service account pod ref claim (pod-1)";
    assert_eq!(w.bearer(&token, now()).unwrap_err(), why);
    w.reader.put(&PODS, r#"{"metadata":{"name":"p","namespace":"a","uid":"pod-1","deletionTimestamp":"2029-12-31T23:59:30Z"}}"#);
    assert!(w.bearer(&token, now()).is_ok(), "within the leeway");
    assert!(w.bearer(&token, later(31)).is_err());
    w.reader.remove(&PODS, "a", "p");
    assert_eq!(
        w.bearer(&token, now()).unwrap_err(),
        "invalid bearer token, service account token has been invalidated"
    );
    w.reader.remove(&SERVICE_ACCOUNTS, "a", "bot");
    assert_eq!(
        w.bearer(&token, now()).unwrap_err(),
        r#"invalid bearer token, serviceaccounts "bot" not found"#
    );
}

#[test]
fn requests_are_refused_in_upstreams_words() {
    let w = world();
    let check = |name: &str, request: TokenRequest, code: u16, message: &str| {
        let status = w.issue(name, request).unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
    };
    check("none", request(600, None), 404, r#"serviceaccounts "none" not found"#);
    check(
        "bot",
        request(599, None),
        422,
        r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"#,
    );
    check(
        "bot",
        request(1 << 33, None),
        422,
        r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 8589934592: may not specify a duration larger than 2^32 seconds"#,
    );
    check("bot", request(600, Some(("Pod", "q", ""))), 404, r#"pods "q" not found"#);
    check(
        "bot",
        request(600, Some(("Pod", "p", "x"))),
        409,
        r#"Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated"#,
    );
    check(
        "bot",
        request(600, Some(("Deployment", "p", ""))),
        400,
        "cannot bind token to object of type /v1, Kind=Deployment",
    );
    let mut named = request(600, None);
    named.metadata.name = Some("other".into());
    check(
        "bot",
        named,
        422,
        r#"TokenRequest.authentication.k8s.io "bot" is invalid: metadata.name: Invalid value: "other": must match the service account name if specified"#,
    );
}

#[test]
fn audiences_and_strangers() {
    let w = world();
    let mut asked = request(600, None);
    asked.spec.as_mut().unwrap().audiences = Some(vec!["vault".into()]);
    let token = w.issue("bot", asked).unwrap();
    let why = r#"invalid bearer token, token audiences ["vault"] is invalid for the target audiences ["https://kubernetes.default.svc"]"#;
    assert_eq!(w.bearer(&token, now()).unwrap_err(), why);
    let mut asked = TokenReview::default();
    asked.spec.token = token.clone();
    asked.spec.audiences = Some(vec!["vault".into(), "other".into()]);
    let status = review::token(&w.authenticator, asked, now()).unwrap().status.unwrap();
    assert_eq!((status.authenticated, status.audiences), (Some(true), Some(vec!["vault".to_owned()])));

    assert_eq!(w.bearer("garbage", now()).unwrap_err(), "invalid bearer token");
    let foreign = world().issue("bot", request(600, None)).unwrap();
    assert_eq!(
        w.bearer(&foreign, now()).unwrap_err(),
        "invalid bearer token, invalid signature, no keys found"
    );
    let anonymous = w.authenticator.authenticate(&Connection::default(), &HeaderMap::new(), now()).unwrap();
    assert_eq!(*anonymous.user, UserInfo::anonymous());
}

#[test]
fn certificates_and_proxies() {
    let w = world();
    let connect = |ca: &Ca, profile: &Profile| {
        let issued = ca.issue(profile, now()).unwrap();
        w.authenticator.connection(&certificates(&issued.cert).unwrap(), now())
    };
    let ask = |connection: &Connection, pairs: &[(&str, &str)], at| {
        w.authenticator.authenticate(connection, &headers(pairs), at).map(|a| a.user).map_err(|e| e.0)
    };
    let jane = connect(&w.ca, &Profile::client("jane", Some("devs")));
    let user = ask(&jane, &[("x-remote-user", "root")], now()).unwrap();
    assert_eq!((&*user.name, &*user.groups.join(",")), ("jane", "devs,system:authenticated"));
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
    assert!(ask(&jane, &[], later(366 * 24 * 3600)).is_err(), "checked on every request");

    let stranger = Ca::create("kubernetes", now(), DAY).unwrap();
    let why =
        ask(&connect(&stranger, &Profile::client("jane", Some("system:masters"))), &[], now()).unwrap_err();
    assert!(why.starts_with("verifying certificate SN="), "{why}");

    let proxy = connect(&w.proxy_ca, &Profile::client("front-proxy-client", None));
    let said = [
        ("x-remote-user", "joe"),
        ("x-remote-group", "g1"),
        ("x-remote-group", "g2"),
        ("x-remote-extra-acme.com%2fproject", "one"),
        ("x-remote-uid", "7"),
    ];
    let user = ask(&proxy, &said, now()).unwrap();
    assert_eq!(
        (&*user.name, &*user.uid, &*user.groups.join(",")),
        ("joe", "7", "g1,g2,system:authenticated")
    );
    assert_eq!(user.extra["acme.com/project"], ["one"]);
    let unknown = connect(&w.proxy_ca, &Profile::client("someone-else", None));
    assert!(ask(&unknown, &said, now()).is_err(), "not an allowed name");
}

/// Allows what is listed as `verb resource[/subresource] [namespace/]name`.
struct Listed(&'static [&'static str]);

impl Authorizer for Listed {
    fn authorize(&self, a: &Attributes) -> Decision {
        let slash = |x: &str, y: &str| if y.is_empty() { x.to_owned() } else { format!("{x}/{y}") };
        let name =
            if a.namespace.is_empty() { a.name.clone() } else { format!("{}/{}", a.namespace, a.name) };
        let asked = format!("{} {} {name}", a.verb, slash(&a.resource, &a.subresource));
        let reason = String::new();
        if self.0.contains(&&*asked) { Decision::Allow { reason } } else { Decision::NoOpinion { reason } }
    }

    fn covers(&self, _: &UserInfo, _: &str, _: &[PolicyRule]) -> Result<(), String> {
        Err(String::new())
    }
}

#[test]
fn impersonation() {
    let w = world();
    let asker = w.authenticator.authenticate(&Connection::default(), &HeaderMap::new(), now()).unwrap();
    let rights = Listed(&[
        "impersonate users jane",
        "impersonate serviceaccounts a/bot",
        "impersonate groups devs",
        "impersonate userextras/scopes view",
    ]);
    let act = |pairs: &[(&str, &str)]| impersonate::impersonate(&rights, &asker, &headers(pairs));
    assert_eq!(act(&[]).unwrap(), None);
    let jane = act(&[("impersonate-user", "jane"), ("impersonate-extra-scopes", "view")]).unwrap().unwrap();
    assert_eq!((&*jane.name, &jane.groups[..]), ("jane", &["system:authenticated".to_owned()][..]));
    assert_eq!(jane.extra["scopes"], ["view"]);
    let bot = act(&[("impersonate-user", "system:serviceaccount:a:bot")]).unwrap().unwrap();
    assert_eq!(bot.groups, ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
    let dev = act(&[("impersonate-user", "jane"), ("impersonate-group", "devs")]).unwrap().unwrap();
    assert_eq!(dev.groups, ["devs", "system:authenticated"]);
    let refused = act(&[("impersonate-user", "joe")]).unwrap_err();
    let why = r#"users "joe" is forbidden: User "system:anonymous" cannot impersonate resource "users" in API group "" at the cluster scope"#;
    assert_eq!((refused.code(), refused.message()), (403, why));
    let nameless = act(&[("impersonate-group", "devs")]).unwrap_err();
    let why = r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"devs"}, Extra:map[string][]string(nil)} without impersonating a user name"#;
    assert_eq!((nameless.code(), nameless.message()), (400, why));
}

#[test]
fn constrained_impersonation() {
    let w = world();
    let asker = w.authenticator.authenticate(&Connection::default(), &HeaderMap::new(), now()).unwrap();
    let rights = Listed(&[
        "impersonate:user-info users jane",
        "impersonate-on:user-info:list pods a/",
        "impersonate:arbitrary-node nodes n1",
        "impersonate-on:arbitrary-node:list pods a/",
    ]);
    let act = |verb: &str, pairs: &[(&str, &str)]| {
        let request = Attributes {
            verb: verb.into(),
            resource: "pods".into(),
            namespace: "a".into(),
            resource_request: true,
            ..Attributes::default()
        };
        impersonate::impersonate_for(&rights, &asker, &headers(pairs), Some(&request))
    };
    assert_eq!(act("list", &[("impersonate-user", "jane")]).unwrap().unwrap().name, "jane");
    let node = act("list", &[("impersonate-user", "system:node:n1")]).unwrap().unwrap();
    assert_eq!(node.groups, ["system:nodes", "system:authenticated"]);
    let refused = act("get", &[("impersonate-user", "jane")]).unwrap_err();
    let why = r#"pods is forbidden: User "system:anonymous" cannot impersonate-on:user-info:get resource "pods" in API group "" in the namespace "a""#;
    assert_eq!(refused.message(), why);
    assert!(act("list", &[("impersonate-user", "jane"), ("impersonate-group", "system:masters")]).is_err());
}

#[test]
fn keys_are_published() {
    let rsa = include_str!("rsa.pub");
    let ec = PrivateKey::generate().unwrap().public().unwrap().to_pem();
    let keys = VerifyKeys::from_pem([rsa, &*ec]).unwrap();
    let d = Discovery::new(ISSUER, "https://127.0.0.1:6443/openid/v1/jwks", &keys).unwrap();
    let configuration = String::from_utf8(d.configuration).unwrap();
    assert_eq!(
        configuration,
        r#"{"issuer":"https://kubernetes.default.svc","jwks_uri":"https://127.0.0.1:6443/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256","RS256"]}"#
    );
    let keys = String::from_utf8(d.keys).unwrap();
    assert!(keys.starts_with(r#"{"keys":[{"use":"sig","kty":"RSA","kid":""#), "{keys}");
    assert!(
        keys.contains(r#""alg":"RS256","n":""#)
            && keys.contains(r#""e":"AQAB"}"#)
            && keys.contains(r#""crv":"P-256","alg":"ES256","x":""#),
        "{keys}"
    );
    assert!(Discovery::new("kubernetes", "https://x", &VerifyKeys::from_pem([rsa]).unwrap()).is_none());
}
