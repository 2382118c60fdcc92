//! The HTTPS port, from the kubelet's configuration.

use crate::config::{Config, parse_duration};
use crate::ctx::Ctx;
use crate::table::Table;
use crate::view::View;
use anyhow::Context as _;
use gantry_kubelet_server::auth::Policy;
use gantry_kubelet_server::{Options, start};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Opens the port in the background.
///
/// # Errors
/// Where the address is taken, or a certificate is no good.
pub async fn run(ctx: &Arc<Ctx>, table: &Arc<Table>) -> anyhow::Result<()> {
    let config = &ctx.config;
    let Some(port) = u16::try_from(config.port).ok().filter(|p| *p > 0) else { return Ok(()) };
    let ip: IpAddr =
        config.address.parse().with_context(|| format!("invalid address {:?}", config.address))?;
    let own = config.serving();
    if let Some(manager) = &own {
        manager.make_do()?;
    }
    let options = Options {
        node_name: config.node_name.clone(),
        bind: SocketAddr::new(ip, port),
        hostname: config.hostname.clone(),
        addresses: config.node_ips.clone(),
        tls_files: own.map_or_else(|| config.tls_files.clone(), |m| Some((m.file.clone(), m.file))),
        cert_dir: config.cert_dir.clone(),
        client_ca: config.authentication.x509.client_ca_file.clone(),
        policy: policy(config)?,
        root_dir: config.root_dir.clone(),
        configz: serde_json::to_vec(&Configz::of(config))?,
        client: ctx.client.clone(),
    };
    let view = Arc::new(View::new(ctx.clone(), table.clone()));
    let address = start(options, view, ctx.stop.clone()).await?;
    tracing::info!(%address, "serving");
    Ok(())
}

fn policy(config: &Config) -> anyhow::Result<Policy> {
    let (authn, authz) = (&config.authentication, &config.authorization);
    let ttl = |text: &Option<String>, default: Duration| match text {
        Some(t) => parse_duration(t).with_context(|| format!("invalid duration {t:?}")),
        None => Ok(default),
    };
    let default = Policy::default();
    let always_allow = match authz.mode.as_deref().unwrap_or("Webhook") {
        "Webhook" => false,
        "AlwaysAllow" => true,
        other => anyhow::bail!("unknown authorization mode {other}"),
    };
    Ok(Policy {
        anonymous: authn.anonymous.enabled.unwrap_or(default.anonymous),
        tokens: authn.webhook.enabled.unwrap_or(default.tokens),
        always_allow,
        token_ttl: ttl(&authn.webhook.cache_ttl, default.token_ttl)?,
        authorized_ttl: ttl(&authz.webhook.cache_authorized_ttl, default.authorized_ttl)?,
        unauthorized_ttl: ttl(&authz.webhook.cache_unauthorized_ttl, default.unauthorized_ttl)?,
    })
}

/// What `/configz` shows of the resolved configuration.
#[derive(Serialize)]
struct Configz<'c> {
    kubeletconfig: Shown<'c>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'c> {
    address: &'c str,
    port: i32,
    healthz_bind_address: &'c str,
    healthz_port: i32,
    #[serde(rename = "clusterDNS")]
    cluster_dns: &'c [String],
    cluster_domain: &'c str,
    static_pod_path: Option<&'c PathBuf>,
    pod_logs_dir: &'c PathBuf,
    cgroup_root: &'c str,
    #[serde(rename = "cgroupsPerQOS")]
    cgroups_per_qos: bool,
    cgroup_driver: &'static str,
    #[serde(rename = "cpuCFSQuota")]
    cpu_cfs_quota: bool,
    max_pods: i64,
    #[serde(rename = "imageGCHighThresholdPercent")]
    image_gc_high: i64,
    #[serde(rename = "imageGCLowThresholdPercent")]
    image_gc_low: i64,
    eviction_hard: &'c BTreeMap<String, String>,
    container_runtime_endpoint: &'c str,
    node_lease_duration_seconds: i32,
    fail_swap_on: bool,
    seccomp_default: bool,
}

impl<'c> Configz<'c> {
    fn of(c: &'c Config) -> Self {
        Self {
            kubeletconfig: Shown {
                address: &c.address,
                port: c.port,
                healthz_bind_address: &c.healthz_address,
                healthz_port: c.healthz_port,
                cluster_dns: &c.cluster_dns,
                cluster_domain: &c.cluster_domain,
                static_pod_path: c.static_pod_path.as_ref(),
                pod_logs_dir: &c.pod_logs_dir,
                cgroup_root: &c.cgroup_root,
                cgroups_per_qos: c.cgroups_per_qos,
                cgroup_driver: "cgroupfs",
                cpu_cfs_quota: c.cfs_quota,
                max_pods: c.max_pods,
                image_gc_high: c.image_gc_high,
                image_gc_low: c.image_gc_low,
                eviction_hard: &c.eviction_hard,
                container_runtime_endpoint: &c.runtime_endpoint,
                node_lease_duration_seconds: c.lease_seconds,
                fail_swap_on: c.fail_swap_on,
                seccomp_default: c.seccomp_default,
            },
        }
    }
}
