//! The whole of it, behind a real apiserver and over a kubelet that is not there: only its page is.

use crate::config::Config;
use crate::run;
use bytes::Bytes;
use gantry_daemon::serving::{self, Peer, ServeOptions};
use gantry_daemon::tls::{Pem, TlsOptions, TlsSource};
use gantry_pki::{Ca, Issued, Profile};
use gantry_testkit::{Cluster, Http, Identity, Options, Reply, eventually};
use gantry_types::Document;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";
/// Half a core since 2026 began.
const CORES: f64 = 0.5;
const RESOLUTION: Duration = Duration::from_millis(500);

struct Dir(tempfile::TempDir);

impl Dir {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn pair(&self, name: &str, issued: &Issued) -> (PathBuf, PathBuf) {
        (self.write(&format!("{name}.crt"), &issued.cert), self.write(&format!("{name}.key"), &issued.key))
    }
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// What the kubelet of `n` says: of a pod that is there, and of one that belongs to another node.
fn page(now: Timestamp) -> String {
    let (millis, seconds) = (now.as_millisecond(), now.as_duration().as_secs_f64() - 1_767_225_600.0);
    let mut page = format!(
        "# TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total {} {millis}\nnode_memory_working_set_bytes 1048576 {millis}\n",
        seconds * 2.0 * CORES
    );
    for (pod, container) in [("p", "a"), ("p", "b"), ("stolen", "a")] {
        let labels = format!("{{container=\"{container}\",namespace=\"default\",pod=\"{pod}\"}}");
        page.push_str(&format!(
            "container_cpu_usage_seconds_total{labels} {} {millis}\ncontainer_memory_working_set_bytes{labels} 2097152 {millis}\ncontainer_start_time_seconds{labels} 1767225600\n",
            seconds * CORES
        ));
    }
    page
}

/// A kubelet for whoever shows a certificate; its port.
async fn kubelet(certificate: (PathBuf, PathBuf), clients: String, stop: CancellationToken) -> u16 {
    let tls = TlsSource::new(TlsOptions {
        certificate: Pem::File(certificate.0),
        key: Pem::File(certificate.1),
        client_ca: Some(Pem::Data(clients.into_bytes())),
        http2: true,
    });
    let listener = serving::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let handle = |request: Request<Incoming>| async move {
        let known = request.extensions().get::<Peer>().is_some_and(|p| !p.certificates.is_empty());
        let (code, body) = match (known, request.uri().path()) {
            (true, "/metrics/resource") => (200, page(Timestamp::now())),
            (true, _) => (404, String::new()),
            (false, _) => (401, String::new()),
        };
        let mut answer = Response::new(Full::new(Bytes::from(body)));
        *answer.status_mut() = code.try_into().expect("a status code");
        answer
    };
    let tls = Arc::new(tls.expect("a certificate"));
    tokio::spawn(serving::serve(listener, Some(tls), ServeOptions::default(), stop, handle));
    port
}

async fn create(admin: &Http, path: &str, text: &str) -> Reply {
    let json = [("content-type", "application/json")];
    let reply = admin.try_send("POST", path, &json, text).await.expect("an answer");
    assert!(matches!(reply.status, 200 | 201), "{path}: {}", reply.text());
    reply
}

async fn put_status(admin: &Http, path: &str, patch: &str) {
    let merge = [("content-type", "application/merge-patch+json")];
    let reply = admin.try_send("PATCH", &format!("{path}/status"), &merge, patch).await.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn tree(reply: &Reply) -> Document {
    Document::from_json(&reply.body).unwrap_or_else(|e| panic!("{e}: {}", reply.text()))
}

/// What a list says, in short: names with their use. CPU is rounded to a tenth of a core.
fn told(list: &Document) -> String {
    let items: Vec<gantry_machinery::patch::strategic::Object> = list.get_at(&["items"]).expect("items");
    let shown = |usage: &Document, at: &[&str]| {
        let text = |name| usage.str_at(&[at, &[name]].concat()).expect("a quantity").to_owned();
        let cpu: gantry_types::quantity::Quantity = text("cpu").parse().expect("a quantity");
        format!("{:.1} {}", cpu.as_f64(), text("memory"))
    };
    let one = |item: Document| match item.has(&["usage"]) {
        true => format!("{}: {}", item.name(), shown(&item, &["usage"])),
        false => {
            let containers: Vec<gantry_machinery::patch::strategic::Object> =
                item.get_at(&["containers"]).expect("containers");
            let each = containers.into_iter().map(Document::new);
            let each =
                each.map(|c| format!("{} {}", c.str_at(&["name"]).expect("a name"), shown(&c, &["usage"])));
            format!("{}/{}: {}", item.namespace(), item.name(), each.collect::<Vec<_>>().join(", "))
        }
    };
    items.into_iter().map(|item| one(Document::new(item))).collect::<Vec<_>>().join("; ")
}

/// Makes nodes `n` (whose kubelet listens on `port`) and `m`, and on each a running pod.
async fn populate(admin: &Http, port: u16) {
    for node in ["n", "m"] {
        let labels = if node == "n" { r#"{"disk":"ssd"}"# } else { "{}" };
        create(admin, "/api/v1/nodes", &format!(r#"{{"metadata":{{"name":"{node}","labels":{labels}}}}}"#))
            .await;
    }
    let status = format!(
        r#"{{"status":{{"addresses":[{{"type":"InternalIP","address":"127.0.0.1"}}],"daemonEndpoints":{{"kubeletEndpoint":{{"Port":{port}}}}}}}}}"#
    );
    put_status(admin, "/api/v1/nodes/n", &status).await;
    let account = "/api/v1/namespaces/default/serviceaccounts";
    create(admin, account, r#"{"metadata":{"name":"default"}}"#).await;
    for (pod, node) in [("p", "n"), ("stolen", "m"), ("silent", "n")] {
        let pods = "/api/v1/namespaces/default/pods";
        let body = format!(
            r#"{{"metadata":{{"name":"{pod}","labels":{{"app":"{pod}"}}}},"spec":{{"nodeName":"{node}","containers":[{{"name":"a","image":"i"}}]}}}}"#
        );
        create(admin, pods, &body).await;
        put_status(admin, &format!("{pods}/{pod}"), r#"{"status":{"phase":"Running"}}"#).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_is_served_through_the_apiserver() {
    let now = Timestamp::now();
    let [ca, proxy_ca] = ["authority", "front-proxy-ca"]
        .map(|name| Ca::create(name, now, gantry_pki::CA_LIFETIME).expect("an authority"));
    let dir = Dir(tempfile::tempdir().expect("a folder"));
    let issue = |ca: &Ca, profile: &Profile| ca.issue(profile, now).expect("a certificate");
    let proxy = dir.pair("proxy", &issue(&proxy_ca, &Profile::client("front-proxy-client", None)));
    let flags = vec![
        flag("proxy-client-cert-file", &proxy.0),
        flag("proxy-client-key-file", &proxy.1),
        flag("requestheader-client-ca-file", &dir.write("proxy-ca.crt", proxy_ca.cert())),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
    ];
    let cluster = Cluster::with(Options { flags, ..Options::default() }).await.expect("a cluster");
    let admin = cluster.http(&Identity::Admin);
    let stop = CancellationToken::new();
    let serving_certificate = |name: &str, names: &[&str]| {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        dir.pair(name, &issue(&ca, &Profile::server(name, names)))
    };
    let to = cluster.config(&Identity::Admin).expect("a configuration");
    let authority = {
        let roots = to.kube().root_cert.clone().expect("the cluster's authority");
        let blocks = roots.into_iter().map(|der| pem_text(&der));
        blocks.collect::<String>()
    };
    let port = kubelet(serving_certificate("kubelet", &["127.0.0.1"]), authority, stop.clone()).await;
    populate(&admin, port).await;

    let own = serving::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let listen = own.local_addr().expect("an address");
    drop(own);
    let config = Config {
        kubeconfig: None,
        listen,
        certificate: Some(serving_certificate("metrics", &["metrics.kube-system.svc", "127.0.0.1"])),
        resolution: RESOLUTION,
        timeout: RESOLUTION,
        kubelet_authority: Some(dir.write("ca.crt", ca.cert())),
        kubelet_insecure: false,
        address_types: vec!["Hostname".into(), "InternalIP".into()],
        kubelet_port: None,
    };
    let addon = tokio::spawn(run::serve(config, to.clone(), stop.clone()));

    // A service that leads to this host, and the registration.
    let service =
        r#"{"metadata":{"name":"metrics"},"spec":{"type":"ExternalName","externalName":"localhost"}}"#;
    create(&admin, "/api/v1/namespaces/kube-system/services", service).await;
    let bundle =
        serde_json::to_string(&k8s_openapi::ByteString(ca.cert().as_bytes().to_vec())).expect("a text");
    let registration = format!(
        r#"{{"metadata":{{"name":"v1beta1.metrics.k8s.io"}},"spec":{{"group":"metrics.k8s.io","version":"v1beta1","groupPriorityMinimum":100,"versionPriority":100,"caBundle":{bundle},"service":{{"namespace":"kube-system","name":"metrics","port":{}}}}}}}"#,
        listen.port()
    );
    create(&admin, "/apis/apiregistration.k8s.io/v1/apiservices", &registration).await;

    // Two rounds, and there are rates; never of a pod its node does not have.
    let pods = format!("{METRICS}/pods");
    let first = eventually("rates of pods", || async {
        let reply = admin.get(&pods).await;
        (reply.status == 200 && !told(&tree(&reply)).is_empty()).then_some(reply)
    })
    .await;
    assert_eq!(told(&tree(&first)), "default/p: a 0.5 2Mi, b 0.5 2Mi");
    let nodes = admin.get(&format!("{METRICS}/nodes")).await;
    assert_eq!(told(&tree(&nodes)), "n: 1.0 1Mi", "{}", nodes.text());

    // One by one, and by selectors.
    let status =
        |reply: &Reply| format!("{} {}", reply.status, tree(reply).str_at(&["message"]).unwrap_or("ok"));
    let check = async |path: &str, want: &str| {
        let reply = admin.get(&format!("{METRICS}/{path}")).await;
        assert_eq!(status(&reply), want, "{path}");
    };
    check("nodes/n", "200 ok").await;
    check("nodes/m", "404 nodemetrics.metrics.k8s.io \"m\" not found").await;
    check("nodes/x", "404 nodes \"x\" not found").await;
    check("namespaces/default/pods/p", "200 ok").await;
    check("namespaces/default/pods/silent", "404 podmetrics.metrics.k8s.io \"default/silent\" not found")
        .await;
    check("namespaces/default/pods/x", "404 pods \"x\" not found").await;
    check(
        "pods?fieldSelector=spec.nodeName%3Dn",
        "400 \"spec.nodeName\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    )
    .await;
    check("pods?watch=true", "405 watch is not supported on resources of kind \"pods.metrics.k8s.io\"").await;
    for (path, want) in [
        ("nodes?labelSelector=disk%3Dssd", "n: 1.0 1Mi"),
        ("nodes?labelSelector=disk%21%3Dssd", ""),
        ("namespaces/default/pods?labelSelector=app+in+(p,x)", "default/p: a 0.5 2Mi, b 0.5 2Mi"),
        ("namespaces/kube-system/pods", ""),
        ("pods?fieldSelector=metadata.name%21%3Dp", ""),
    ] {
        let reply = admin.get(&format!("{METRICS}/{path}")).await;
        assert_eq!(told(&tree(&reply)), want, "{path}");
    }
    let as_table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let table = admin.try_send("GET", &pods, &as_table, "").await.expect("an answer");
    assert_eq!(tree(&table).kind(), "Table", "{}", table.text());
    assert!(table.text().contains(r#""cells":["p","#), "{}", table.text());

    // Who may not, may not: not by way of the apiserver, nor past it, whoever one claims to be.
    let nobody = cluster.http(&Identity::nobody());
    assert_eq!(nobody.get(&pods).await.status, 403);
    check_directly(listen, ca.cert(), &to).await;
    let ready = admin.get("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io").await;
    assert!(ready.text().contains("all checks passed"), "{}", ready.text());
    stop.cancel();
    addon.await.expect("no panic").expect("a clean end");
}

fn pem_text(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// Asks the add-on itself: as the administrator by certificate, and as nobody who claims to be somebody.
async fn check_directly(listen: SocketAddr, authority: &str, admin: &gantry_client::ClientConfig) {
    let mut config = admin.kube().clone();
    config.cluster_url = format!("https://{listen}").parse().expect("a URL");
    let roots = gantry_pki::verify::certificates(authority).expect("certificates");
    config.root_cert = Some(roots.into_iter().map(|der| der.to_vec()).collect());
    let ask = async |config: &kube::Config, path: &str| {
        let client = gantry_client::ClientConfig::new(config.clone()).build().expect("a client");
        let request = Request::get(path)
            .header("x-remote-user", "kubernetes-admin")
            .header("x-remote-group", "system:masters")
            .body(kube::client::Body::empty());
        client.send(request.expect("a request")).await.expect("an answer").status().as_u16()
    };
    assert_eq!(ask(&config, METRICS).await, 200);
    assert_eq!(ask(&config, "/metrics").await, 200);
    let mut anonymous = config.clone();
    anonymous.auth_info = kube::config::AuthInfo::default();
    assert_eq!(ask(&anonymous, &format!("{METRICS}/pods")).await, 403);
    assert_eq!(ask(&anonymous, "/metrics").await, 403);
    assert_eq!(ask(&anonymous, "/readyz").await, 200);
    let mut stranger = config;
    stranger.auth_info =
        kube::config::AuthInfo { token: Some("wrong".to_owned().into()), ..Default::default() };
    assert_eq!(ask(&stranger, &format!("{METRICS}/pods")).await, 401);
}
