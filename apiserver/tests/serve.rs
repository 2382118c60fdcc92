//! The whole server on an embedded store, called in process with real certificates.

use clap::Parser;
use gantry_apiserver::config::Config;
use gantry_apiserver::flags::Flags;
use gantry_apiserver::http::body::Body;
use gantry_apiserver::in_process::InProcess;
use gantry_apiserver::start;
use gantry_pki::{Ca, Profile};
use gantry_types::Document;
use http::{Method, Request};
use http_body_util::BodyExt;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::time::Duration;
use tower::ServiceExt;

struct Cluster {
    admin: InProcess,
    anonymous: InProcess,
    _folder: tempfile::TempDir,
}

async fn cluster() -> anyhow::Result<Cluster> {
    let folder = tempfile::tempdir()?;
    let now = gantry_types::k8s_openapi::jiff::Timestamp::now();
    let ca = Ca::create("kubernetes", now, Duration::from_secs(3600))?;
    let server = ca.issue(&Profile::server("kube-apiserver", vec!["127.0.0.1".into()]), now)?;
    let admin = ca.issue(&Profile::client("admin", Some("system:masters")), now)?;
    let write = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let flags = Flags::try_parse_from([
        "kube-apiserver".to_owned(),
        format!("--data-dir={}", folder.path().display()),
        "--advertise-address=10.0.0.1".to_owned(),
        format!("--tls-cert-file={}", write("server.crt", &server.cert)?),
        format!("--tls-private-key-file={}", write("server.key", &server.key)?),
        format!("--client-ca-file={}", write("ca.crt", ca.cert())?),
        format!("--service-account-signing-key-file={}", write("sa.key", &server.key)?),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
    ])?;
    let server = start::server(Config::resolve(&flags)?).await?;
    let chain = [CertificateDer::from_pem_slice(admin.cert.as_bytes())?];
    let admin = InProcess::new(server.clone(), &chain);
    let this = Cluster { admin, anonymous: InProcess::new(server, &[]), _folder: folder };
    for _ in 0..500 {
        if this.call(Method::GET, "/readyz", "", "").await.0 == 200 {
            return Ok(this);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("not ready: {}", this.text(Method::GET, "/readyz?verbose").await)
}

impl Cluster {
    async fn raw(&self, by: &InProcess, method: Method, path: &str, kind: &str, body: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer = by.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn call(&self, method: Method, path: &str, kind: &str, body: &str) -> (u16, Document) {
        let (status, text) = self.raw(&self.admin, method, path, kind, body).await;
        (status, Document::from_json(text.as_bytes()).unwrap_or_default())
    }

    async fn text(&self, method: Method, path: &str) -> String {
        self.raw(&self.admin, method, path, "", "").await.1
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_live_their_lives() -> anyhow::Result<()> {
    let c = cluster().await?;
    let (code, made) =
        c.call(Method::POST, MAPS, JSON, r#"{"metadata":{"name":"a"},"data":{"x":"1"}}"#).await;
    assert_eq!((code, made.namespace(), made.kind()), (201, "default", "ConfigMap"));
    let (code, twice) = c.call(Method::POST, MAPS, JSON, r#"{"metadata":{"name":"a"}}"#).await;
    assert_eq!((code, twice.str_at(&["reason"])), (409, Some("AlreadyExists")));

    let one = format!("{MAPS}/a");
    let (code, same) = c.call(Method::PATCH, &one, MERGE, r#"{"data":{"x":"1"}}"#).await;
    assert_eq!((code, same.resource_version()), (200, made.resource_version()), "a no-op writes nothing");
    let (_, patched) = c.call(Method::PATCH, &one, MERGE, r#"{"data":{"x":"2"}}"#).await;
    assert_ne!(patched.resource_version(), made.resource_version());
    let stale = format!(r#"{{"metadata":{{"name":"a","resourceVersion":"{}"}}}}"#, made.resource_version());
    assert_eq!(c.call(Method::PUT, &one, JSON, &stale).await.0, 409);

    let (code, _) = c.call(Method::DELETE, &one, JSON, r#"{"propagationPolicy":"Foreground"}"#).await;
    assert_eq!(code, 200);
    let (_, marked) = c.call(Method::GET, &one, "", "").await;
    assert!(marked.deleting() && marked.finalizers() == ["foregroundDeletion"]);
    c.call(Method::PATCH, &one, MERGE, r#"{"metadata":{"finalizers":null}}"#).await;
    assert_eq!(c.call(Method::GET, &one, "", "").await.0, 404);

    let from = made.resource_version();
    let watch =
        format!("{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={from}&fieldSelector=metadata.name%3Da");
    let events: Vec<String> = c
        .text(Method::GET, &watch)
        .await
        .lines()
        .filter_map(|line| Document::from_json(line.as_bytes()).ok())
        .map(|event| event.str_at(&["type"]).unwrap_or_default().to_owned())
        .collect();
    assert_eq!(events, ["MODIFIED", "MODIFIED", "DELETED"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_and_the_cluster_is_furnished() -> anyhow::Result<()> {
    let c = cluster().await?;
    let (code, text) = c.raw(&c.anonymous, Method::GET, MAPS, "", "").await;
    assert_eq!(code, 403);
    assert!(text.contains(r#"User \"system:anonymous\" cannot list resource \"configmaps\""#), "{text}");
    let request = Request::builder().uri(MAPS).header("authorization", "Bearer x").body(Body::Empty)?;
    assert_eq!(c.anonymous.clone().oneshot(request).await?.status(), 401);
    for path in [
        "/api/v1/namespaces/kube-node-lease",
        "/api/v1/namespaces/default/services/kubernetes",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
        "/apis/apps/v1",
        "/openapi/v3/apis/apps/v1",
    ] {
        assert_eq!(c.raw(&c.admin, Method::GET, path, "", "").await.0, 200, "{path}");
    }
    Ok(())
}
