//! Flags as given, and the configuration they come to.

use crate::inert::Unused;
use clap::{ArgAction, Parser};
use gantry_client::leader::LeaderConfig;
use gantry_client::leader_args::LeaderArgs;
use gantry_client::port::PortArgs;
use gantry_daemon::inert::{ControlPlane, Inert};
use gantry_daemon::logs::LogArgs;
use ipnet::IpNet;
use std::path::PathBuf;
use std::time::Duration;

/// `controller-manager`'s command line; names and defaults are `kube-controller-manager`'s.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "controller-manager",
    about = "Runs the controllers of a Kubernetes cluster",
    disable_version_flag = true
)]
pub struct Args {
    #[command(flatten)]
    pub logs: LogArgs,
    /// Print version information and quit.
    #[arg(long)]
    pub version: bool,
    /// Path to kubeconfig file with authorization and master location information.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The address of the Kubernetes API server (overrides any value in kubeconfig).
    #[arg(long)]
    pub master: Option<String>,
    /// A list of controllers to enable: '*' enables all on-by-default controllers, 'foo' enables foo, '-foo' disables foo.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub controllers: Vec<String>,
    #[command(flatten)]
    pub leader: LeaderArgs,
    #[command(flatten)]
    pub port: PortArgs,
    #[arg(long, default_value = "leases")]
    pub leader_elect_resource_lock: String,
    /// The certificate authority put into every namespace's kube-root-ca.crt.
    #[arg(long)]
    pub root_ca_file: Option<PathBuf>,
    #[arg(long)]
    pub service_account_private_key_file: Option<PathBuf>,
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub use_service_account_credentials: bool,
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub allocate_node_cidrs: bool,
    /// CIDR ranges for pods; one per IP family.
    #[arg(long, value_delimiter = ',')]
    pub cluster_cidr: Vec<IpNet>,
    #[arg(long, value_delimiter = ',')]
    pub service_cluster_ip_range: Vec<IpNet>,
    #[arg(long, default_value_t = 0)]
    pub node_cidr_mask_size: u8,
    #[arg(long, default_value_t = 0)]
    pub node_cidr_mask_size_ipv4: u8,
    #[arg(long, default_value_t = 0)]
    pub node_cidr_mask_size_ipv6: u8,
    #[arg(long, default_value_t = 5)]
    pub concurrent_deployment_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_replicaset_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_rc_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_statefulset_syncs: usize,
    #[arg(long, default_value_t = 2)]
    pub concurrent_daemonset_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_job_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_cron_job_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_ttl_after_finished_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_horizontal_pod_autoscaler_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_service_endpoint_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_endpoint_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub mirroring_concurrent_service_endpoint_syncs: usize,
    #[arg(long, default_value_t = 1000)]
    pub mirroring_max_endpoints_per_subset: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_ephemeralvolume_syncs: usize,
    #[arg(long, default_value_t = 20)]
    pub concurrent_gc_syncs: usize,
    #[arg(long, default_value_t = 10)]
    pub concurrent_namespace_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_serviceaccount_token_syncs: usize,
    #[arg(long, default_value_t = 5)]
    pub concurrent_resource_quota_syncs: usize,
    #[arg(long, default_value_t = 100)]
    pub max_endpoints_per_slice: usize,
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub enable_dynamic_provisioning: bool,
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub enable_garbage_collector: bool,
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub node_monitor_period: Duration,
    #[arg(long, default_value = "50s", value_parser = duration)]
    pub node_monitor_grace_period: Duration,
    #[arg(long, default_value = "1m0s", value_parser = duration)]
    pub node_startup_grace_period: Duration,
    #[arg(long, default_value_t = 0.1)]
    pub node_eviction_rate: f64,
    #[arg(long, default_value_t = 0.01)]
    pub secondary_node_eviction_rate: f64,
    #[arg(long, default_value_t = 0.55)]
    pub unhealthy_zone_threshold: f64,
    #[arg(long, default_value_t = 50)]
    pub large_cluster_size_threshold: usize,
    #[arg(long, default_value_t = 12500)]
    pub terminated_pod_gc_threshold: i32,
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub horizontal_pod_autoscaler_sync_period: Duration,
    #[arg(long, default_value = "5m0s", value_parser = duration)]
    pub horizontal_pod_autoscaler_downscale_stabilization: Duration,
    #[arg(long, default_value = "5m0s", value_parser = duration)]
    pub horizontal_pod_autoscaler_cpu_initialization_period: Duration,
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub horizontal_pod_autoscaler_initial_readiness_delay: Duration,
    #[arg(long, default_value_t = 0.1)]
    pub horizontal_pod_autoscaler_tolerance: f64,
    #[arg(long)]
    pub cluster_signing_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// The longest a signed certificate may last; requests may ask for less.
    #[arg(long, default_value = "8760h0m0s", value_parser = duration)]
    pub cluster_signing_duration: Duration,
    #[arg(long)]
    pub cluster_signing_kubelet_serving_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kubelet_serving_key_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kubelet_client_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kubelet_client_key_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kube_apiserver_client_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_kube_apiserver_client_key_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_legacy_unknown_cert_file: Option<PathBuf>,
    #[arg(long)]
    pub cluster_signing_legacy_unknown_key_file: Option<PathBuf>,
    #[arg(long, default_value = "8760h0m0s", value_parser = duration)]
    pub legacy_service_account_token_clean_up_period: Duration,
    /// How often quotas are counted anew though nothing changed; 0 never.
    #[arg(long, default_value = "5m0s", value_parser = duration)]
    pub resource_quota_sync_period: Duration,
    /// How long changes of pods are gathered before endpoints follow.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub endpoint_updates_batch_period: Duration,
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub endpointslice_updates_batch_period: Duration,
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub mirroring_endpointslice_updates_batch_period: Duration,
    /// How long controllers may take to end their work when the daemon stops.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub controller_shutdown_timeout: Duration,
    #[command(flatten)]
    pub inert: Inert<ControlPlane>,
    #[command(flatten)]
    pub unused: Inert<Unused>,
    /// Threads of the runtime; 0 chooses two.
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
}

/// Go's durations: `1h2m3.5s`, `300ms`.
///
/// # Errors
/// Go's words.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("time: invalid duration {text:?}");
    let mut rest = text;
    let mut total = 0.0;
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let (unit, after) = rest[digits..]
            .split_at(rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits));
        total += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(bad()),
            };
        rest = after;
    }
    Ok(Duration::from_secs_f64(total))
}

/// Every controller there is, by upstream's names; `powered-off-node-controller` and `roll-on-change-controller` are
/// Gantry's own.
pub const CONTROLLERS: &[&str] = &[
    "bootstrap-signer-controller",
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-cleaner-controller",
    "certificatesigningrequest-signing-controller",
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "endpointslice-mirroring-controller",
    "ephemeral-volume-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "job-controller",
    "legacy-serviceaccount-token-cleaner-controller",
    "namespace-controller",
    "node-ipam-controller",
    "node-lifecycle-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
    "powered-off-node-controller",
    "replicaset-controller",
    "replicationcontroller-controller",
    "resourcequota-controller",
    "roll-on-change-controller",
    "root-ca-certificate-publisher-controller",
    "service-cidr-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "taint-eviction-controller",
    "token-cleaner-controller",
    "ttl-after-finished-controller",
    "ttl-controller",
];

/// Upstream's older names, still accepted.
const ALIASES: &[(&str, &str)] = &[
    ("bootstrapsigner", "bootstrap-signer-controller"),
    ("clusterrole-aggregation", "clusterrole-aggregation-controller"),
    ("cronjob", "cronjob-controller"),
    ("csrapproving", "certificatesigningrequest-approving-controller"),
    ("csrcleaner", "certificatesigningrequest-cleaner-controller"),
    ("csrsigning", "certificatesigningrequest-signing-controller"),
    ("daemonset", "daemonset-controller"),
    ("deployment", "deployment-controller"),
    ("disruption", "disruption-controller"),
    ("endpoint", "endpoints-controller"),
    ("endpointslice", "endpointslice-controller"),
    ("endpointslicemirroring", "endpointslice-mirroring-controller"),
    ("ephemeral-volume", "ephemeral-volume-controller"),
    ("garbagecollector", "garbage-collector-controller"),
    ("horizontalpodautoscaling", "horizontal-pod-autoscaler-controller"),
    ("job", "job-controller"),
    ("legacy-service-account-token-cleaner", "legacy-serviceaccount-token-cleaner-controller"),
    ("namespace", "namespace-controller"),
    ("nodeipam", "node-ipam-controller"),
    ("nodelifecycle", "node-lifecycle-controller"),
    ("persistentvolume-binder", "persistentvolume-binder-controller"),
    ("podgc", "pod-garbage-collector-controller"),
    ("pv-protection", "persistentvolume-protection-controller"),
    ("pvc-protection", "persistentvolumeclaim-protection-controller"),
    ("replicaset", "replicaset-controller"),
    ("replicationcontroller", "replicationcontroller-controller"),
    ("resourcequota", "resourcequota-controller"),
    ("root-ca-cert-publisher", "root-ca-certificate-publisher-controller"),
    ("serviceaccount", "serviceaccount-controller"),
    ("serviceaccount-token", "serviceaccount-token-controller"),
    ("statefulset", "statefulset-controller"),
    ("tokencleaner", "token-cleaner-controller"),
    ("ttl", "ttl-controller"),
    ("ttl-after-finished", "ttl-after-finished-controller"),
];

/// Those that `*` does not turn on: they are named, as kubeadm does.
const OFF_BY_DEFAULT: &[&str] = &["bootstrap-signer-controller", "token-cleaner-controller"];

/// The resolved configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub args: Args,
    /// `None` where leader election is off.
    pub leader: Option<LeaderConfig>,
    pub workers: usize,
}

impl Config {
    /// Whether a controller is to run: named, or on by default and not named with a minus.
    pub fn enabled(&self, name: &str) -> bool {
        let listed = |prefix: &str| {
            self.args.controllers.iter().any(|c| c.strip_prefix(prefix).is_some_and(|c| canonical(c) == name))
        };
        let all = self.args.controllers.iter().any(|c| c == "*") && !OFF_BY_DEFAULT.contains(&name);
        !listed("-") && (listed("") || all)
    }
}

fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, full)| full)
}

/// # Errors
/// What cannot work, in upstream's words.
pub fn resolve(args: Args) -> anyhow::Result<Config> {
    for controller in &args.controllers {
        let name = canonical(controller.strip_prefix('-').unwrap_or(controller));
        if name != "*" && !CONTROLLERS.contains(&name) {
            anyhow::bail!("{controller:?} is not in the list of known controllers");
        }
    }
    if args.allocate_node_cidrs && args.cluster_cidr.is_empty() {
        anyhow::bail!("no Cluster CIDR: --cluster-cidr must be set when --allocate-node-cidrs is");
    }
    let leader = args.leader.resolve("kube-controller-manager").map_err(anyhow::Error::msg)?;
    anyhow::ensure!(
        args.leader_elect_resource_lock == "leases",
        "unsupported resource lock {:?}",
        args.leader_elect_resource_lock
    );
    Ok(Config { leader, workers: args.workers, args })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, millis) in
            [("15s", 15_000), ("1m30s", 90_000), ("300ms", 300), ("1h0m0.5s", 3_600_500), ("0", 0)]
        {
            assert_eq!(duration(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "5", "s", "3x"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    fn check(list: &str, name: &str, expected: bool) {
        let args = Args::parse_from(["controller-manager", &format!("--controllers={list}")]);
        assert_eq!(resolve(args).unwrap().enabled(name), expected, "{list} {name}");
    }

    #[test]
    fn controllers_are_chosen_as_upstream_does() {
        check("*", "deployment-controller", true);
        check("*,-deployment-controller", "deployment-controller", false);
        check("*,-nodeipam", "node-ipam-controller", false);
        check("deployment", "deployment-controller", true);
        check("deployment", "replicaset-controller", false);
        check("*", "bootstrap-signer-controller", false);
        check("*,bootstrapsigner", "bootstrap-signer-controller", true);
        let args = Args::parse_from(["controller-manager", "--controllers=nonsense"]);
        assert!(resolve(args).is_err());
    }
}
