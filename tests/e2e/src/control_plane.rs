//! A control plane of real processes without machines: for what needs no container, and for killing.

use gantry_pki::Layout;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// One process of the control plane. Killed when dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(dir: &Path, name: &str, args: &[String]) -> Self {
        let build = std::env::var("GANTRY_BUILD").unwrap_or_else(|_| "release".into());
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(build).join(name);
        // Each has a log of its own, so that it says who leads.
        let log = (0..).map(|i| dir.join(format!("{name}-{i}.log"))).find(|p| !p.exists());
        let log = log.expect("a name is free");
        let file = File::create(&log).expect("a log");
        let child = Command::new(&program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display()));
        Self { child, log }
    }

    /// As the machine's end would: at once, and nothing is said.
    pub fn kill(&mut self) {
        // Errors say it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    pub fn said(&self, words: &str) -> bool {
        self.log().contains(words)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An apiserver on the embedded store, and what its clients need.
pub struct ControlPlane {
    apiserver: Daemon,
    layout: Layout,
    dir: TempDir,
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

impl ControlPlane {
    /// A ready apiserver with certificates of its own.
    ///
    /// # Panics
    /// Where it does not come up within twenty seconds.
    pub async fn start() -> Self {
        let dir = TempDir::new().expect("a directory");
        let layout = Layout::new(dir.path());
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let cluster = gantry_pki::Cluster {
            name: "kubernetes".into(),
            server: format!("https://127.0.0.1:{port}"),
            apiserver_names: vec!["127.0.0.1".into()],
            dns_domain: "cluster.local".into(),
            nodes: Vec::new(),
            etcd: None,
        };
        gantry_pki::ensure(&layout, &cluster, Timestamp::now()).expect("credentials");
        let file = |name: &str, path: PathBuf| flag(name, path.display());
        let apiserver = Daemon::start(
            dir.path(),
            "apiserver",
            &[
                flag("bind-address", "127.0.0.1"),
                flag("advertise-address", "192.0.2.2"),
                flag("secure-port", port),
                flag("service-account-issuer", "https://kubernetes.default.svc"),
                flag("service-cluster-ip-range", "10.96.0.0/16"),
                flag("enable-admission-plugins", "NodeRestriction"),
                file("tls-cert-file", layout.cert("apiserver")),
                file("tls-private-key-file", layout.key("apiserver")),
                file("client-ca-file", layout.ca_cert()),
                file("service-account-key-file", layout.sa_pub()),
                file("service-account-signing-key-file", layout.sa_key()),
                file("data-dir", dir.path().join("store")),
            ],
        );
        let this = Self { apiserver, layout, dir };
        let client = this.client().await;
        let begin = Instant::now();
        while client
            .request_text(http::Request::get("/readyz").body(Vec::new()).expect("a request"))
            .await
            .is_err()
        {
            assert!(begin.elapsed() < Duration::from_secs(20), "apiserver: {}", this.apiserver.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        this
    }

    /// A client in `system:masters`, with connections of its own.
    ///
    /// # Panics
    /// Where the kubeconfig is broken.
    pub async fn client(&self) -> Client {
        crate::client(&self.layout.super_admin()).await
    }

    /// One more controller manager or scheduler, with its own identity and these flags.
    pub fn daemon(&self, name: &str, args: &[String]) -> Daemon {
        let mut all =
            vec![flag("kubeconfig", self.layout.kubeconfig(name).display()), flag("secure-port", 0)];
        if name == "controller-manager" {
            let file = |name: &str, path: PathBuf| flag(name, path.display());
            all.extend([
                file("root-ca-file", self.layout.ca_cert()),
                file("service-account-private-key-file", self.layout.sa_key()),
                flag("use-service-account-credentials", true),
            ]);
        }
        all.extend_from_slice(args);
        Daemon::start(self.dir.path(), name, &all)
    }
}
