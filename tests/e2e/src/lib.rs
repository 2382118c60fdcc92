//! Helpers for end-to-end tests: the cluster under test, its command line clients, and waiting on conditions.
//!
//! Owns nothing: `tests/e2e/run` brings the cluster up and takes it down. Refuses: sleeping for a fixed time
//! where a condition can be waited for.

pub mod control_plane;
pub mod hollow;
pub mod load;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A client with connections of its own.
///
/// # Panics
/// Where the kubeconfig is broken.
pub async fn client(kubeconfig: &Path) -> kube::Client {
    use kube::config::{Config, KubeConfigOptions, Kubeconfig};
    let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a config");
    kube::Client::try_from(config).expect("a client")
}

/// The cluster under test.
pub struct Cluster {
    pub kubeconfig: PathBuf,
    /// The cluster's directory (`--dir` of `deploy/up`).
    pub dir: PathBuf,
    pub kctl: PathBuf,
    pub repo: PathBuf,
}

impl Cluster {
    /// Reads where the cluster is from `GANTRY_E2E_DIR`.
    ///
    /// # Panics
    /// Where the variable is missing: the tests were not started through `tests/e2e/run`.
    pub fn get() -> Self {
        let dir =
            PathBuf::from(std::env::var_os("GANTRY_E2E_DIR").expect("start these tests with tests/e2e/run"));
        let repo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let build = std::env::var("GANTRY_BUILD").unwrap_or_else(|_| "release".into());
        let kctl = repo.join("target").join(build).join("kctl");
        Self { kubeconfig: dir.join("admin.kubeconfig"), kctl, dir, repo }
    }

    /// A client of the cluster's administrator, with connections of its own.
    ///
    /// # Panics
    /// Where the kubeconfig is broken.
    pub async fn client(&self) -> kube::Client {
        client(&self.kubeconfig).await
    }

    /// The process of a daemon, when the cluster has such a daemon and it runs.
    pub fn pid(&self, daemon: &str) -> Option<i32> {
        let file = self.dir.join("pids").join(format!("{daemon}.pid"));
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    }

    /// The ids of the first node's container tasks (containers and sandboxes).
    pub fn tasks(&self) -> BTreeSet<String> {
        let socket = "/run/gantry/node-1/containerd.sock";
        let out = Command::new("ctr").args(["-a", socket, "-n", "k8s.io", "task", "ls", "-q"]).output();
        let out = out.expect("ctr runs");
        assert!(out.status.success(), "ctr: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).split_whitespace().map(str::to_owned).collect()
    }

    /// Stock kubectls on this machine, oldest first; may be none.
    pub fn kubectls(&self) -> Vec<PathBuf> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut found: Vec<PathBuf> =
            path.split(':').map(|d| PathBuf::from(d).join("kubectl")).filter(|p| p.exists()).collect();
        if let Some(real) = found.first().and_then(|p| p.canonicalize().ok())
            && let Some(dir) = real.parent()
            && let Ok(entries) = std::fs::read_dir(dir)
        {
            found.extend(
                entries
                    .flatten()
                    .map(|e| e.path())
                    .filter(|p| p.display().to_string().contains("kubectl.1.")),
            );
        }
        found.truncate(8);
        found
    }

    pub fn run(&self, program: &PathBuf, args: &[&str], input: Option<&str>) -> Output {
        use std::io::Write;
        let mut child = Command::new(program)
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .current_dir(&self.repo)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display()));
        if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).expect("the client reads its input");
        }
        child.wait_with_output().expect("the client ends")
    }

    /// Runs kctl; its standard output.
    ///
    /// # Panics
    /// Where it fails, with what it said.
    pub fn kctl(&self, args: &[&str]) -> String {
        self.kctl_with(args, None)
    }

    pub fn kctl_with(&self, args: &[&str], input: Option<&str>) -> String {
        let out = self.run(&self.kctl, args, input);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "kctl {args:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
        text
    }

    /// Runs kctl whatever comes of it: success, and all it printed.
    pub fn try_kctl(&self, args: &[&str]) -> (bool, String) {
        let out = self.run(&self.kctl, args, None);
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        (out.status.success(), text)
    }

    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let text = self.kctl(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("kctl prints JSON")
    }

    /// Waits until what earlier tests left is gone: no namespace is going (their pods are marked only after
    /// upstream's five seconds of grace), no pod is, and every pod runs or has ended by itself.
    ///
    /// # Panics
    /// When it does not come to rest within a minute and a half.
    pub fn rest(&self) {
        wait_for("a quiet cluster", Duration::from_secs(90), || {
            let namespaces = self.json(&["get", "namespaces"]);
            let pods = self.json(&["get", "pods", "-A"]);
            let mut namespaces = namespaces["items"].as_array().into_iter().flatten();
            let mut pods = pods["items"].as_array().into_iter().flatten();
            namespaces.all(|n| n["status"]["phase"] == "Active")
                && pods.all(|p| {
                    let phase = p["status"]["phase"].as_str().unwrap_or_default();
                    p["metadata"]["deletionTimestamp"].is_null()
                        && matches!(phase, "Running" | "Succeeded" | "Failed")
                })
        });
    }

    /// Applies the sample and waits until all of it is there: redis, agents and pages, and the products.
    ///
    /// # Panics
    /// Where some of it does not come.
    pub fn shop(&self) {
        self.kctl(&["apply", "-f", "deploy/samples/shop"]);
        // The autoscaler's minimum, which it sees to without any metrics.
        wait_for("two pods for the pages", Duration::from_secs(40), || {
            self.json(&["get", "deployment", "web"])["spec"]["replicas"].as_u64() >= Some(2)
        });
        for what in ["statefulset/redis", "daemonset/agent", "deployment/web"] {
            self.kctl(&["rollout", "status", what, "--timeout=90s"]);
        }
        self.kctl(&["wait", "job/seed", "--for=condition=Complete", "--timeout=60s"]);
    }

    /// What redis-cli says in one of the shop's redis.
    ///
    /// # Panics
    /// Where redis refuses or does not answer.
    pub fn redis(&self, pod: &str, command: &[&str]) -> String {
        self.kctl(&[&["exec", pod, "--", "redis-cli", "-e"], command].concat()).trim().to_owned()
    }

    /// A namespace of the test's own, gone when the value is dropped.
    pub fn namespace(&self, name: &str) -> Namespace<'_> {
        let _ = self.try_kctl(&["delete", "namespace", name, "--wait=true", "--timeout=60s"]);
        self.kctl(&["create", "namespace", name]);
        // After a killed leader its lease has to run out first.
        wait_for("the namespace's service account", Duration::from_secs(40), || {
            self.try_kctl(&["-n", name, "get", "serviceaccount", "default"]).0
        });
        Namespace { cluster: self, name: name.to_owned() }
    }
}

pub struct Namespace<'a> {
    cluster: &'a Cluster,
    pub name: String,
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = self.cluster.try_kctl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `limit`.
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One HTTP GET with curl; status and body, `None` where there is no answer within two seconds.
pub fn http(url: &str) -> Option<(u16, String)> {
    let out = Command::new("curl").args(["-s", "-m", "2", "-w", "\n%{http_code}", url]).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n')?;
    match code.parse() {
        Ok(0) | Err(_) => None,
        Ok(code) => Some((code, body.to_owned())),
    }
}
