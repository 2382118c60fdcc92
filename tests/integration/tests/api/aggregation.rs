//! A group version another server of the cluster serves: the metrics API, by a small server of the test's own.

use crate::{text, world};
use gantry_pki::{Ca, Profile};
use gantry_testkit::{Cluster, Http, Identity, Options};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const API_SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io";
const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

/// What the extension server answers: lists say in their annotations who asked.
fn answer(request: &Request<Incoming>) -> (u16, String) {
    let all = |name: &str| -> Vec<String> {
        let values = request.headers().get_all(name).iter();
        values.map(|v| v.to_str().unwrap_or_default().to_owned()).collect()
    };
    let path = request.uri().path();
    if path == METRICS {
        let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
            "resources": [resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)]});
        return (200, list.to_string());
    }
    if path == "/openapi/v3" {
        let place = format!("/openapi/v3{METRICS}?hash=ABC");
        return (
            200,
            json!({"paths": {"apis/metrics.k8s.io/v1beta1": {"serverRelativeURL": place}}}).to_string(),
        );
    }
    if path == format!("/openapi/v3{METRICS}") {
        return (200, json!({"openapi": "3.0.0"}).to_string());
    }
    if path == format!("{METRICS}/nodes") {
        if request.uri().query().is_some_and(|q| q.contains("watch=true")) {
            let event = |kind: &str| json!({"type": kind, "object": {"metadata": {"name": "n"}}}).to_string();
            return (200, format!("{}\n{}\n", event("ADDED"), event("MODIFIED")));
        }
        let said = json!({"user": all("x-remote-user"), "uid": all("x-remote-uid"),
            "groups": all("x-remote-group"), "scopes": all("x-remote-extra-scopes"),
            "authorization": all("authorization"), "query": request.uri().query()});
        return (200, json!({"kind": "NodeMetricsList", "items": [], "said": said}).to_string());
    }
    (404, json!({"kind": "Status", "code": 404}).to_string())
}

/// Says everything back, on a connection whose protocol was switched.
fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    let switched = Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "echo");
    switched.body(Full::default()).expect("an answer")
}

async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path().ends_with("/nodes/n/echo") {
        return Ok(echo(request));
    }
    let (code, body) = answer(&request);
    // Whatever came is read before the answer goes.
    let _ = request.into_body().collect().await;
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = code.try_into().expect("a status code");
    answer.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
    Ok(answer)
}

/// Serves only whom `proxy_ca` vouches for, as `metrics.kube-system.svc`; the port.
async fn extension(ca: &Ca, proxy_ca: &Ca) -> u16 {
    let issued = ca
        .issue(&Profile::server("metrics", vec!["metrics.kube-system.svc".into()]), Timestamp::now())
        .expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(proxy_ca.cert().as_bytes()).expect("PEM"))
        .expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(issued.cert.as_bytes()).collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(respond);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
            });
        }
    });
    port
}

async fn becomes(admin: &Http, reason: &str) -> Value {
    let begun = Instant::now();
    loop {
        let object = admin.get(API_SERVICE).await.expect(200);
        let condition = &object["status"]["conditions"][0];
        if text(&condition["reason"]) == reason {
            return condition.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{reason}: {object}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The entry of `metrics.k8s.io` in aggregated discovery, once its version has this freshness.
async fn discovered(admin: &Http, freshness: &str) -> Value {
    let begun = Instant::now();
    loop {
        let list = admin.send("GET", "/apis", &[("accept", AGGREGATED)], "").await.expect(200);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let version =
            items.iter().find(|g| g["metadata"]["name"] == "metrics.k8s.io").map(|g| &g["versions"][0]);
        if let Some(version) = version.filter(|v| v["freshness"] == freshness) {
            return version.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{freshness}: {version:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn another_server_s_group_version_is_reached_through_this_one() {
    let now = Timestamp::now();
    let [ca, proxy_ca] = ["metrics-ca", "front-proxy-ca"]
        .map(|name| Ca::create(name, now, gantry_pki::CA_LIFETIME).expect("an authority"));
    let dir = tempfile::tempdir().expect("a folder");
    let proxy = proxy_ca.issue(&Profile::client("front-proxy-client", None), now).expect("a certificate");
    let (cert, key) = (dir.path().join("proxy.crt"), dir.path().join("proxy.key"));
    std::fs::write(&cert, &proxy.cert).expect("written");
    std::fs::write(&key, &proxy.key).expect("written");
    let flags = vec![
        format!("--proxy-client-cert-file={}", cert.display()),
        format!("--proxy-client-key-file={}", key.display()),
    ];
    let cluster = Cluster::with(Options { flags, ..Options::default() }).await.expect("a cluster");
    let admin = cluster.http(&Identity::Admin);
    let port = extension(&ca, &proxy_ca).await;

    // Nobody there yet.
    let service = json!({"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": {
        "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
        "service": {"namespace": "kube-system", "name": "metrics", "port": port},
        "caBundle": ByteString(ca.cert().as_bytes().to_vec())}});
    admin.post("/apis/apiregistration.k8s.io/v1/apiservices", &service).await.expect(201);
    let condition = becomes(&admin, "ServiceNotFound").await;
    assert_eq!(text(&condition["message"]), "service/metrics in \"kube-system\" is not present");
    let nodes = format!("{METRICS}/nodes");
    let refused = admin.get(&nodes).await;
    assert_eq!((refused.status, refused.text().as_str()), (503, "service unavailable\n"));
    let version = discovered(&admin, "Stale").await;
    assert_eq!(version["resources"], json!([]));

    // The service comes; its name leads to this host.
    let target = json!({"metadata": {"name": "metrics"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    admin.post("/api/v1/namespaces/kube-system/services", &target).await.expect(201);
    let condition = becomes(&admin, "Passed").await;
    assert_eq!((text(&condition["status"]), text(&condition["message"])), ("True", "all checks passed"));
    let version = discovered(&admin, "Current").await;
    let kinds: Vec<&str> =
        version["resources"].as_array().expect("resources").iter().map(|r| text(&r["resource"])).collect();
    assert_eq!(kinds, ["nodes", "pods"]);
    let group = admin.get("/apis/metrics.k8s.io").await.expect(200);
    assert_eq!(group["preferredVersion"]["groupVersion"], "metrics.k8s.io/v1beta1");
    assert_eq!(admin.get(METRICS).await.expect(200)["resources"][1]["kind"], "PodMetrics");
    let paths = admin.get("/").await.expect(200)["paths"].clone();
    assert!(paths.as_array().is_some_and(|all| all.contains(&json!(METRICS))), "{paths}");
    let index = admin.get("/openapi/v3").await.expect(200);
    let place = text(&index["paths"]["apis/metrics.k8s.io/v1beta1"]["serverRelativeURL"]).to_owned();
    assert_eq!(place, format!("/openapi/v3{METRICS}?hash=ABC"));
    assert_eq!(admin.get(&place).await.expect(200)["openapi"], "3.0.0");

    // Who asks is told, and what anybody else says of it is not believed.
    let forged = [("x-remote-user", "root"), ("x-remote-group", "wheel"), ("x-remote-extra-scopes", "all")];
    let said = admin.send("GET", &format!("{nodes}?limit=5"), &forged, "").await.expect(200)["said"].clone();
    assert_eq!(said["user"], json!(["kubernetes-admin"]));
    assert_eq!(said["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!((&said["scopes"], &said["query"]), (&json!([]), &json!("limit=5")));
    let mut watch = admin.watch(&format!("{nodes}?watch=true")).await;
    assert_eq!(watch.next_pair().await, ("ADDED".into(), "n".into()));
    assert_eq!(watch.next_pair().await, ("MODIFIED".into(), "n".into()));

    // Protocols are switched through.
    let request =
        Request::get(format!("{nodes}/n/echo")).header("connection", "Upgrade").header("upgrade", "echo");
    let request = request.body(kube::client::Body::empty()).expect("a request");
    let config = cluster.config(&Identity::Admin).expect("a configuration").http1_only();
    let switched = config.build().expect("a client").send(request).await.expect("an answer");
    assert_eq!(switched.status().as_u16(), 101);
    let mut stream = TokioIo::new(hyper::upgrade::on(switched).await.expect("a stream"));
    stream.write_all(b"ping").await.expect("written");
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).await.expect("read");
    assert_eq!(&heard, b"ping");

    // Authorization is here.
    let jane = cluster.http(&Identity::User { name: "jane".into(), group: String::new() });
    jane.get(&nodes).await.expect(403);
    let as_jane = [
        ("impersonate-user", "jane"),
        ("impersonate-uid", "7"),
        ("impersonate-group", "system:masters"),
        ("impersonate-extra-scopes", "some"),
    ];
    let said = admin.send("GET", &nodes, &as_jane, "").await.expect(200)["said"].clone();
    assert_eq!((&said["user"], &said["uid"]), (&json!(["jane"]), &json!(["7"])));
    assert_eq!(said["scopes"], json!(["some"]));

    // A backend nobody vouches for is not spoken to.
    let bundle = |ca: &Ca| json!({"spec": {"caBundle": ByteString(ca.cert().as_bytes().to_vec())}});
    admin.patch("merge", API_SERVICE, &bundle(&proxy_ca)).await.expect(200);
    let condition = becomes(&admin, "FailedDiscoveryCheck").await;
    assert!(text(&condition["message"]).starts_with("failing or missing response from https://localhost:"));
    admin.patch("merge", API_SERVICE, &bundle(&ca)).await.expect(200);
    becomes(&admin, "Passed").await;

    // The service goes again; what was known of the API stays, marked.
    admin.delete("/api/v1/namespaces/kube-system/services/metrics").await.expect(200);
    becomes(&admin, "ServiceNotFound").await;
    let version = discovered(&admin, "Stale").await;
    assert_eq!(version["resources"].as_array().map(Vec::len), Some(2));
    admin.delete(API_SERVICE).await.expect(200);
    let begun = Instant::now();
    while admin.get(&nodes).await.status != 404 {
        assert!(begun.elapsed() < Duration::from_secs(20), "still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_server_registers_what_it_serves_once() {
    let (mut cluster, admin) = world(gantry_testkit::Backing::Embedded).await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let list = admin.get(path).await.expect(200);
    let items = list["items"].as_array().expect("items");
    let apps = items.iter().find(|o| o["metadata"]["name"] == "v1.apps").expect("v1.apps");
    assert_eq!(
        apps["spec"],
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15})
    );
    assert_eq!(apps["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"}));
    let condition = &apps["status"]["conditions"][0];
    assert_eq!(text(&condition["reason"]), "Local");
    assert_eq!(text(&condition["message"]), "Local APIServices are always available");
    cluster.restart().await;
    let again = cluster.http(&Identity::Admin).get(path).await.expect(200);
    assert_eq!(again["items"], list["items"]);
}
