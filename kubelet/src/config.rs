//! The configuration as the kubelet runs it: flags over file over defaults.

use crate::certificates::Manager;
use crate::flags::Flags;
use crate::settings::{Authentication, Authorization, Settings};
use gantry_kubelet_core::resources::ResourceList;
use gantry_kubelet_core::{node, quantity};
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

const FILE_KIND: &str = "KubeletConfiguration";
const FILE_VERSIONS: [&str; 1] = ["kubelet.config.k8s.io/v1beta1"];

/// Resolved; nothing optional that has a default.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    pub hostname: String,
    pub node_ips: Vec<IpAddr>,
    pub kubeconfig: Option<PathBuf>,
    pub bootstrap_kubeconfig: Option<PathBuf>,
    pub root_dir: PathBuf,
    pub cert_dir: PathBuf,
    /// Renew the client certificate by requests to the API.
    pub rotate: bool,
    /// Have a serving certificate signed by requests to the API.
    pub serving_requests: bool,
    pub pod_logs_dir: PathBuf,
    pub static_pod_path: Option<PathBuf>,
    pub address: String,
    pub port: i32,
    pub healthz_address: String,
    pub healthz_port: i32,
    pub tls_files: Option<(PathBuf, PathBuf)>,
    pub authentication: Authentication,
    pub authorization: Authorization,
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    pub resolv_conf: Option<PathBuf>,
    pub cgroup_root: String,
    pub cgroups_per_qos: bool,
    pub cfs_quota: bool,
    pub max_pods: i64,
    pub pod_pids_limit: Option<i64>,
    pub parallel_pulls: usize,
    pub runtime_endpoint: String,
    pub runtime_timeout: Duration,
    pub status_update: Duration,
    pub status_report: Duration,
    pub lease_seconds: i32,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub register: bool,
    pub provider_id: Option<String>,
    pub fail_swap_on: bool,
    pub log_max_bytes: u64,
    pub log_max_files: usize,
    pub image_gc_high: i64,
    pub image_gc_low: i64,
    pub eviction_hard: BTreeMap<String, String>,
    pub reserved: ResourceList,
    pub unsafe_sysctls: Vec<String>,
    pub seccomp_default: bool,
}

impl Config {
    /// How long a sign of life may take before it counts as failed.
    pub fn heartbeat_timeout(&self) -> Duration {
        self.status_update.min(Duration::from_secs(u64::try_from(self.lease_seconds).unwrap_or(40)))
    }

    /// # Errors
    /// Where the file or a value is not sound.
    pub fn resolve(flags: &Flags) -> anyhow::Result<Self> {
        let file: Settings = match &flags.config {
            Some(path) => gantry_daemon::config_file::load(path, FILE_KIND, &FILE_VERSIONS)?,
            None => Settings::default(),
        };
        let hostname = gantry_kubelet_host::facts::hostname().to_lowercase();
        let duration = |text: &Option<String>, default: u64| match text {
            Some(t) => parse_duration(t).ok_or_else(|| anyhow::anyhow!("invalid duration {t:?}")),
            None => Ok(Duration::from_secs(default)),
        };
        let driver = flags.cgroup_driver.clone().or(file.cgroup_driver.clone());
        if driver.as_deref().is_some_and(|d| d != "cgroupfs") {
            anyhow::bail!(
                "cgroup driver {:?} is not supported: use \"cgroupfs\"",
                driver.unwrap_or_default()
            );
        }
        let node_ips = match &flags.node_ip {
            Some(text) => text.split(',').map(|t| t.trim().parse()).collect::<Result<Vec<IpAddr>, _>>()?,
            None => gantry_kubelet_host::facts::outward_ip().into_iter().collect(),
        };
        let tls = flags.tls_cert_file.clone().or(file.tls_cert_file.clone());
        let tls_key = flags.tls_private_key_file.clone().or(file.tls_private_key_file.clone());
        let taints = match &flags.register_with_taints {
            Some(text) => parse_taints(text)?,
            None => file.register_with_taints.clone().unwrap_or_default(),
        };
        let eviction_hard = file.eviction_hard.clone().unwrap_or_else(default_eviction);
        let parallel = match (file.serialize_image_pulls, file.max_parallel_image_pulls) {
            (Some(false), Some(n)) => n.max(1),
            (Some(false), None) => 64,
            _ => 1,
        };
        Ok(Self {
            node_name: flags.hostname_override.clone().unwrap_or_else(|| hostname.clone()).to_lowercase(),
            hostname: flags.hostname_override.clone().unwrap_or(hostname),
            node_ips,
            kubeconfig: flags.kubeconfig.clone(),
            bootstrap_kubeconfig: flags.bootstrap_kubeconfig.clone(),
            root_dir: flags.root_dir.clone(),
            cert_dir: flags.cert_dir.clone(),
            rotate: flags
                .rotate_certificates
                .or(file.rotate_certificates)
                .unwrap_or(flags.bootstrap_kubeconfig.is_some()),
            serving_requests: flags.rotate_server_certificates.or(file.server_tls_bootstrap).unwrap_or(false),
            pod_logs_dir: file.pod_logs_dir.clone().unwrap_or_else(|| "/var/log/pods".into()),
            static_pod_path: flags.pod_manifest_path.clone().or(file.static_pod_path.clone()),
            address: flags.address.clone().or(file.address.clone()).unwrap_or_else(|| "0.0.0.0".into()),
            port: flags.port.or(file.port).unwrap_or(10250),
            healthz_address: file.healthz_bind_address.clone().unwrap_or_else(|| "127.0.0.1".into()),
            healthz_port: file.healthz_port.unwrap_or(10248),
            tls_files: tls.zip(tls_key),
            authentication: file.authentication.clone().unwrap_or_default(),
            authorization: file.authorization.clone().unwrap_or_default(),
            cluster_dns: flags.cluster_dns.clone().or(file.cluster_dns.clone()).unwrap_or_default(),
            cluster_domain: flags.cluster_domain.clone().or(file.cluster_domain.clone()).unwrap_or_default(),
            resolv_conf: resolver(flags.resolv_conf.clone().or(file.resolv_conf.clone())),
            cgroup_root: flags.cgroup_root.clone().or(file.cgroup_root.clone()).unwrap_or_else(|| "/".into()),
            cgroups_per_qos: file.cgroups_per_qos.unwrap_or(true),
            cfs_quota: file.cpu_cfs_quota.unwrap_or(true),
            max_pods: flags.max_pods.or(file.max_pods).unwrap_or(110),
            pod_pids_limit: file.pod_pids_limit.filter(|n| *n > 0),
            parallel_pulls: parallel,
            runtime_endpoint: flags
                .container_runtime_endpoint
                .clone()
                .or(file.container_runtime_endpoint.clone())
                .unwrap_or_else(|| "unix:///run/containerd/containerd.sock".into()),
            runtime_timeout: duration(&file.runtime_request_timeout, 120)?,
            status_update: duration(&file.node_status_update_frequency, 10)?,
            status_report: duration(&file.node_status_report_frequency, 300)?,
            lease_seconds: file.node_lease_duration_seconds.unwrap_or(40),
            labels: parse_labels(flags.node_labels.as_deref().unwrap_or_default())?,
            taints,
            register: flags.register_node.or(file.register_node).unwrap_or(true),
            provider_id: flags.provider_id.clone().or(file.provider_id.clone()).filter(|p| !p.is_empty()),
            fail_swap_on: flags.fail_swap_on.or(file.fail_swap_on).unwrap_or(true),
            log_max_bytes: bytes(file.container_log_max_size.as_deref().unwrap_or("10Mi")).unsigned_abs(),
            log_max_files: file.container_log_max_files.unwrap_or(5).max(2),
            image_gc_high: file.image_gc_high_threshold_percent.unwrap_or(85),
            image_gc_low: file.image_gc_low_threshold_percent.unwrap_or(80),
            reserved: reserved(&file, &eviction_hard),
            eviction_hard,
            unsafe_sysctls: file.allowed_unsafe_sysctls.clone().unwrap_or_default(),
            seccomp_default: file.seccomp_default.unwrap_or(false),
        })
    }

    /// The serving certificate to ask the API for; `None` where it comes from files, or from ourselves.
    pub fn serving(&self) -> Option<Manager> {
        if !self.serving_requests || self.tls_files.is_some() || self.kubeconfig.is_none() {
            return None;
        }
        let names = self.node_ips.iter().map(ToString::to_string).chain([self.hostname.clone()]);
        let file = self.cert_dir.join("kubelet-server-current.pem");
        Some(Manager::serving(&self.node_name, names, file))
    }

    /// The cgroup all pods live under, and above it what `--cgroup-root` says.
    pub fn pods_cgroup(&self) -> String {
        format!("{}/kubepods", self.cgroup_root.trim_end_matches('/'))
    }

    /// Whether memory, disk or process IDs fall short of the hard eviction thresholds.
    pub fn pressure(&self, memory: (i64, i64), disk: (i64, i64), inodes: (i64, i64)) -> node::Pressure {
        let short = |signal: &str, (available, capacity): (i64, i64)| {
            self.eviction_hard
                .get(signal)
                .and_then(|t| threshold(t, capacity))
                .is_some_and(|limit| capacity > 0 && available < limit)
        };
        node::Pressure {
            memory: short("memory.available", memory),
            disk: short("nodefs.available", disk) || short("nodefs.inodesFree", inodes),
            pid: false,
        }
    }
}

fn threshold(text: &str, capacity: i64) -> Option<i64> {
    match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok().map(|p| (capacity as f64 * p / 100.0) as i64),
        None => Some(bytes(text)),
    }
}

fn bytes(text: &str) -> i64 {
    quantity::value(&Quantity(text.to_owned()))
}

fn default_eviction() -> BTreeMap<String, String> {
    let pairs = [
        ("memory.available", "100Mi"),
        ("nodefs.available", "10%"),
        ("nodefs.inodesFree", "5%"),
        ("imagefs.available", "15%"),
        ("imagefs.inodesFree", "5%"),
    ];
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn reserved(file: &Settings, eviction: &BTreeMap<String, String>) -> ResourceList {
    let mut sums: BTreeMap<String, i128> = BTreeMap::new();
    for list in [&file.system_reserved, &file.kube_reserved].into_iter().flatten() {
        for (name, amount) in list {
            *sums.entry(name.clone()).or_default() += quantity::exact(&Quantity(amount.clone()));
        }
    }
    if let Some(m) = eviction.get("memory.available").filter(|m| !m.ends_with('%')) {
        *sums.entry("memory".into()).or_default() += quantity::exact(&Quantity(m.clone()));
    }
    if let Some(d) = eviction.get("nodefs.available")
        && let Some(fs) = gantry_kubelet_host::facts::filesystem(std::path::Path::new("/"))
        && let Some(limit) = threshold(d, fs.capacity)
    {
        *sums.entry("ephemeral-storage".into()).or_default() += i128::from(limit) * 1_000_000_000;
    }
    sums.into_iter().map(|(k, v)| (k, Quantity(format!("{}n", v)))).collect()
}

/// Go's notation: `1h30m`, `10s`, `100ms`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest == "0" {
        return Some(total);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (unit, seconds) =
            [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)]
                .into_iter()
                .find(|(u, _)| rest.strip_prefix(u).is_some_and(|r| !r.starts_with('s') || *u != "m"))?;
        total += Duration::from_secs_f64(number * seconds);
        rest = &rest[unit.len()..];
    }
    Some(total)
}

fn parse_labels(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    text.split(',')
        .filter(|p| !p.is_empty())
        .map(|p| {
            let (k, v) = p.split_once('=').ok_or_else(|| anyhow::anyhow!("invalid label {p:?}"))?;
            Ok((k.trim().to_owned(), v.trim().to_owned()))
        })
        .collect()
}

fn parse_taints(text: &str) -> anyhow::Result<Vec<Taint>> {
    text.split(',')
        .filter(|p| !p.is_empty())
        .map(|p| {
            let (left, effect) =
                p.rsplit_once(':').ok_or_else(|| anyhow::anyhow!("invalid taint spec: {p}"))?;
            let (key, value) = left.split_once('=').map_or((left, None), |(k, v)| (k, Some(v.to_owned())));
            Ok(Taint { key: key.into(), value, effect: effect.into(), time_added: None })
        })
        .collect()
}

/// The host's resolver file; behind systemd-resolved the one with real servers.
fn resolver(set: Option<PathBuf>) -> Option<PathBuf> {
    match set {
        Some(p) if p.as_os_str().is_empty() => None,
        Some(p) => Some(p),
        None => Some("/etc/resolv.conf".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read() {
        let check = |text: &str, want: Option<u64>| {
            assert_eq!(parse_duration(text), want.map(Duration::from_millis), "{text}");
        };
        check("10s", Some(10_000));
        check("1h30m", Some(5_400_000));
        check("100ms", Some(100));
        check("1.5s", Some(1500));
        check("0", Some(0));
        check("5", None);
        check("x", None);
    }

    #[test]
    fn a_file_of_many_fields_reads() {
        let text = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nclusterDNS: [10.0.0.10]\n\
            maxPods: 20\nauthentication:\n  x509:\n    clientCAFile: /a\ncpuManagerPolicy: none\ncpuCFSQuota: false\n\
            evictionHard:\n  memory.available: 5%\nfeatureGates: {A: true}\nimageGCHighThresholdPercent: 90\n";
        let s: Settings = gantry_daemon::config_file::parse(text, FILE_KIND, &FILE_VERSIONS).unwrap();
        assert_eq!(s.cluster_dns.unwrap(), ["10.0.0.10"]);
        assert_eq!(
            (s.max_pods, s.cpu_cfs_quota, s.image_gc_high_threshold_percent),
            (Some(20), Some(false), Some(90))
        );
        let bad = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPod: 1\n";
        assert!(gantry_daemon::config_file::parse::<Settings>(bad, FILE_KIND, &FILE_VERSIONS).is_err());
    }
}
