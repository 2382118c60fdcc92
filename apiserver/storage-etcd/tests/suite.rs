//! The common suite on a real etcd.

use async_trait::async_trait;
use gantry_storage::{Store, suite};
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
    Command::new("etcd")
        .args(["--name", "test", "--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("test={peer}"), "--log-level", "error"])
        .arg("--data-dir")
        .arg(dir)
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
