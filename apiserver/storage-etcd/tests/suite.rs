//! The common suite on a real etcd.

use async_trait::async_trait;
use gantry_storage::{Expect, Op, RangeRequest, Store, StoreError, Txn, TxnOutcome, suite};
use gantry_storage_etcd::{EtcdConfig, EtcdStore};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An etcd of its own, ended with the test.
struct Server {
    dir: tempfile::TempDir,
    client: String,
    peer: String,
    process: Mutex<Child>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(dir: &Path, client: &str, peer: &str) -> Child {
    start_with(dir, client, peer, |_| {})
}

fn start_with(dir: &Path, client: &str, peer: &str, more: impl FnOnce(&mut Command)) -> Child {
    let mut command = Command::new("etcd");
    more(&mut command);
    command
        .args(["--name", "test", "--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("test={peer}"), "--log-level", "error"])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Server {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = || format!("http://127.0.0.1:{}", free_port());
        let (client, peer) = (url(), url());
        let process = Mutex::new(start(dir.path(), &client, &peer));
        Self { dir, client, peer, process }
    }

    fn stop(&self) {
        let mut process = self.process.lock().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    async fn connect(&self) -> Arc<dyn Store> {
        let config = EtcdConfig { servers: vec![self.client.clone()], ..EtcdConfig::default() };
        for _ in 0..100 {
            if let Ok(store) = EtcdStore::connect(config.clone()).await
                && store.healthy().await.is_ok()
            {
                return Arc::new(store);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("etcd does not come up");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[async_trait]
impl suite::Factory for Server {
    async fn open(&self) -> Arc<dyn Store> {
        self.connect().await
    }

    async fn reopen(&self, old: Arc<dyn Store>) -> Arc<dyn Store> {
        drop(old);
        self.stop();
        *self.process.lock().unwrap() = start(self.dir.path(), &self.client, &self.peer);
        self.connect().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_behaves() {
    let failed = suite::run(&Server::new()).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn a_watch_ends_with_an_error_when_etcd_goes() {
    let server = Server::new();
    let store = server.connect().await;
    let revision = store.current_revision().await.unwrap();
    let mut changes = store.watch("/registry/", revision).await.unwrap();
    server.stop();
    let next = tokio::time::timeout(Duration::from_secs(20), futures::StreamExt::next(&mut changes)).await;
    assert!(matches!(next, Ok(Some(Err(_)))), "{next:?}");
    assert!(store.healthy().await.is_err());
    *server.process.lock().unwrap() = start(server.dir.path(), &server.client, &server.peer);
    for _ in 0..100 {
        if store.healthy().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the connection does not come back");
}

/// A CA, and what it signs for a name: PEM of certificate and key.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    fn sign(&self, name: &str, usage: rcgen::ExtendedKeyUsagePurpose) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn tls_with_client_certificates() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new();
    let (certificate, key) = ca.sign("127.0.0.1", ServerAuth);
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let client = format!("https://127.0.0.1:{}", free_port());
    let peer = format!("http://127.0.0.1:{}", free_port());
    let args: [(&str, &Path); 3] = [
        ("--cert-file", &file("cert", &certificate)),
        ("--key-file", &file("key", &key)),
        ("--trusted-ca-file", &file("ca", &ca.pem)),
    ];
    let process = start_with(dir.path(), &client, &peer, |command| {
        for (flag, path) in args {
            command.arg(flag).arg(path);
        }
        command.arg("--client-cert-auth");
    });
    let server = Server { dir, client, peer, process: Mutex::new(process) };
    let config = |ca: &Authority, signer: Option<&Authority>| EtcdConfig {
        servers: vec![server.client.clone()],
        ca: Some(ca.pem.clone().into_bytes()),
        identity: signer.map(|s| s.sign("apiserver", ClientAuth)).map(|(c, k)| (c.into(), k.into())),
        ..EtcdConfig::default()
    };
    let works = async |config: EtcdConfig| match EtcdStore::connect(config).await {
        Ok(store) => store.healthy().await.is_ok(),
        Err(_) => false,
    };
    let mut up = false;
    for _ in 0..50 {
        up = works(config(&ca, Some(&ca))).await;
        if up {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(up, "a client of the CA is let in");
    let stranger = Authority::new();
    assert!(!works(config(&ca, None)).await, "no certificate");
    assert!(!works(config(&ca, Some(&stranger))).await, "a certificate of another CA");
    assert!(!works(config(&stranger, Some(&ca))).await, "a server of another CA");
}

#[tokio::test]
async fn two_apiservers_compact_together() {
    let server = Server::new();
    drop(server.connect().await);
    let config = EtcdConfig {
        servers: vec![server.client.clone()],
        compaction_interval: Duration::from_millis(300),
        ..EtcdConfig::default()
    };
    let store = EtcdStore::connect(config.clone()).await.unwrap();
    let _other = EtcdStore::connect(config).await.unwrap();
    let txn = Txn { key: "/k".into(), expect: Expect::Absent, op: Op::Put { value: "v".into(), ttl: None } };
    let outcome = store.txn(txn).await.unwrap();
    let TxnOutcome::Committed { revision } = outcome else { panic!("{outcome:?}") };
    let old = RangeRequest {
        start: "/".into(),
        end: "0".into(),
        revision: revision - 1,
        ..RangeRequest::default()
    };
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if matches!(store.range(old.clone()).await, Err(StoreError::Compacted { .. })) {
            let now = store.range(RangeRequest { revision: 0, ..old }).await.unwrap();
            assert_eq!((now.kvs.len(), now.kvs[0].mod_revision), (1, revision));
            return;
        }
    }
    panic!("nothing was compacted");
}
