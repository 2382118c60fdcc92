//! A real etcd on free ports, ended with its owner.

use anyhow::Context;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) struct Etcd {
    pub url: String,
    process: Child,
}

pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Etcd {
    /// Starts one below `dir`; whoever connects waits until it answers.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let peer = format!("http://127.0.0.1:{}", free_port()?);
        let process = Command::new("etcd")
            .args(["--name", "test", "--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}"), "--log-level", "error"])
            .arg("--data-dir")
            .arg(dir.join("etcd"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start etcd")?;
        Ok(Self { url, process })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // An error means it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
