//! A control plane in the test's own process.

use crate::etcd::{Etcd, free_port};
use crate::{Http, Identity, PATIENCE};
use anyhow::Context;
use clap::Parser;
use gantry_apiserver::assemble::Server;
use gantry_apiserver::config::Config;
use gantry_apiserver::flags::Flags;
use gantry_apiserver::start;
use gantry_client::ClientConfig;
use gantry_pki::{Ca, Layout, Profile};
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Which store keeps the objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    #[default]
    Embedded,
    Etcd,
}

/// How a cluster is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub backing: Backing,
    /// Further flags of the apiserver.
    pub flags: Vec<String>,
}

struct Running {
    server: Arc<Server>,
    stop: CancellationToken,
    /// Dropped last, and waited for: nothing the server started outlives it.
    runtime: Runtime,
}

/// One apiserver with its store and its authority.
pub struct Cluster {
    running: Option<Running>,
    ca: Ca,
    port: u16,
    flags: Flags,
    _etcd: Option<Etcd>,
    _dir: TempDir,
}

/// Writes the credentials the apiserver serves and signs with; the authority.
fn credentials(dir: &Path) -> anyhow::Result<Ca> {
    let now = Timestamp::now();
    let layout = Layout::new(dir);
    let ca = Ca::create("kubernetes", now, gantry_pki::CA_LIFETIME)?;
    let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned).to_vec();
    let serving = ca.issue(&Profile::server("kube-apiserver", names), now)?;
    let signing = gantry_pki::keys::PrivateKey::generate()?;
    gantry_pki::write_public(&layout.ca_cert(), ca.cert())?;
    gantry_pki::write_public(&layout.cert("apiserver"), &serving.cert)?;
    gantry_pki::write_private(&layout.key("apiserver"), &serving.key)?;
    gantry_pki::write_private(&layout.sa_key(), &signing.to_pem())?;
    gantry_pki::write_public(&layout.sa_pub(), &signing.public()?.to_pem())?;
    Ok(ca)
}

fn flags(dir: &Path, port: u16, etcd: Option<&Etcd>, more: &[String]) -> anyhow::Result<Flags> {
    let layout = Layout::new(dir);
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let mut args = vec![
        "kube-apiserver".to_owned(),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        file("tls-cert-file", &layout.cert("apiserver")),
        file("tls-private-key-file", &layout.key("apiserver")),
        file("client-ca-file", &layout.ca_cert()),
        file("service-account-key-file", &layout.sa_pub()),
        file("service-account-signing-key-file", &layout.sa_key()),
    ];
    match etcd {
        Some(etcd) => args.push(format!("--etcd-servers={}", etcd.url)),
        None => args.push(file("data-dir", &dir.join("store"))),
    }
    args.extend_from_slice(more);
    Ok(Flags::try_parse_from(args)?)
}

async fn launch(flags: Flags) -> anyhow::Result<(Arc<Server>, CancellationToken)> {
    let config = Config::resolve(&flags)?;
    let listener = gantry_daemon::serving::bind(config.listen).await?;
    let begun = Instant::now();
    let server = loop {
        match start::server(config.clone()).await {
            Ok(server) => break server,
            // An etcd just spawned takes a moment.
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let stop = CancellationToken::new();
    tokio::spawn(start::run(server.clone(), listener, stop.clone()));
    let ready = |server: &Server| server.health.answer("/readyz", "").is_some_and(|a| a.status() == 200);
    while !ready(&server) {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the apiserver does not become ready");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok((server, stop))
}

fn run(flags: &Flags) -> anyhow::Result<Running> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("apiserver")
        .enable_all()
        .build()?;
    let (server, stop) = runtime.block_on(launch(flags.clone()))?;
    Ok(Running { server, stop, runtime })
}

/// Runs `work` where it may block and start runtimes.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("the work panicked")
}

impl Cluster {
    /// A ready cluster on the embedded store.
    ///
    /// # Panics
    /// Where it does not start.
    pub async fn start() -> Self {
        Self::on(Backing::Embedded).await
    }

    /// A ready cluster on a store of this kind.
    ///
    /// # Panics
    /// Where it does not start.
    pub async fn on(backing: Backing) -> Self {
        Self::with(Options { backing, ..Options::default() }).await.unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// A ready cluster.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn with(options: Options) -> anyhow::Result<Self> {
        aside(move || {
            let dir = TempDir::new()?;
            let ca = credentials(dir.path())?;
            let etcd = match options.backing {
                Backing::Embedded => None,
                Backing::Etcd => Some(Etcd::start(dir.path())?),
            };
            let port = free_port()?;
            let flags = flags(dir.path(), port, etcd.as_ref(), &options.flags)?;
            let running = Some(run(&flags)?);
            Ok(Self { running, ca, port, flags, _etcd: etcd, _dir: dir })
        })
        .await?
    }

    /// Ends the apiserver, lets go of its store, and starts another on what is on disk.
    ///
    /// # Panics
    /// Where it does not start again.
    pub async fn restart(&mut self) {
        let old = self.running.take();
        let flags = self.flags.clone();
        let running = aside(move || {
            drop(old);
            run(&flags)
        })
        .await;
        self.running = Some(running.and_then(|r| r).unwrap_or_else(|e| panic!("{e:#}")));
    }

    /// The server itself, for what no request shows.
    ///
    /// # Panics
    /// Never: a cluster runs from its start to its end.
    pub fn server(&self) -> &Arc<Server> {
        &self.running.as_ref().expect("the cluster runs").server
    }

    /// Makes the store forget what was before `revision`, as it does by itself in time.
    ///
    /// # Errors
    /// Where the store cannot.
    pub async fn compact(&self, revision: u64) -> anyhow::Result<()> {
        let running = self.running.as_ref().context("the cluster runs")?;
        let store = running.server.registry.shared().store.clone();
        running.runtime.spawn(async move { store.compact(revision).await }).await??;
        Ok(())
    }

    /// `https://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// How to reach the cluster as `identity`.
    ///
    /// # Errors
    /// Where no certificate can be made.
    pub fn config(&self, identity: &Identity) -> anyhow::Result<ClientConfig> {
        let mut config = kube::Config::new(self.url().parse()?);
        config.root_cert = Some(vec![pem::parse(self.ca.cert())?.into_contents()]);
        config.auth_info = identity.credentials(&self.ca)?;
        Ok(ClientConfig::new(config).user_agent("testkit"))
    }

    /// A client with its own connection, for the runtime this is called on.
    ///
    /// # Panics
    /// Where no client can be made.
    pub fn client(&self, identity: &Identity) -> kube::Client {
        let client = self.config(identity).and_then(|config| Ok(config.build()?));
        client.unwrap_or_else(|e| panic!("{e:#}"))
    }

    pub fn admin(&self) -> kube::Client {
        self.client(&Identity::Admin)
    }

    /// Raw requests as `identity`.
    pub fn http(&self, identity: &Identity) -> Http {
        Http::new(self.client(identity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // A runtime must not be waited for inside another.
            std::thread::spawn(move || drop(running));
        }
    }
}
