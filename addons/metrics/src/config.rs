//! Flags, named as metrics-server's, and what they resolve to.

use clap::Parser;
use gantry_daemon::logs::LogArgs;
use gantry_types::time::Duration as GoDuration;
use jiff::SignedDuration;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "gantry-metrics", about = "The resource metrics API", version)]
pub struct Flags {
    /// Path to a kubeconfig; in-cluster credentials where absent.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    #[arg(long, default_value_t = 443)]
    pub secure_port: u16,
    /// The serving certificate; one of our own making where absent.
    #[arg(long, requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    #[arg(long, requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// How often kubelets are asked, and how long figures last.
    #[arg(long, default_value = "1m0s")]
    pub metric_resolution: GoDuration,
    /// How long a kubelet may take over its answer.
    #[arg(long, default_value = "10s")]
    pub kubelet_request_timeout: GoDuration,
    /// Whom kubelets' certificates must come from; the cluster's authority where absent.
    #[arg(long)]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Do not look at kubelets' certificates. For trials only.
    #[arg(long)]
    pub kubelet_insecure_tls: bool,
    /// The node's addresses to try, by type.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP"
    )]
    pub kubelet_preferred_address_types: Vec<String>,
    #[arg(long, default_value_t = 10250)]
    pub kubelet_port: u16,
    /// Use the port the node's status names, rather than --kubelet-port.
    #[arg(long)]
    pub kubelet_use_node_status_port: bool,
    #[command(flatten)]
    pub log: LogArgs,
}

/// What the flags mean.
#[derive(Clone, Debug)]
pub struct Config {
    pub kubeconfig: Option<PathBuf>,
    pub listen: SocketAddr,
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub resolution: Duration,
    pub timeout: Duration,
    pub kubelet_authority: Option<PathBuf>,
    pub kubelet_insecure: bool,
    pub address_types: Vec<String>,
    /// `None`: the one in the node's status.
    pub kubelet_port: Option<u16>,
}

impl Config {
    /// # Errors
    /// Where a flag's value makes no sense.
    pub fn resolve(flags: Flags) -> anyhow::Result<Self> {
        let resolution = flags.metric_resolution.to_std();
        if resolution < Duration::from_secs(10) {
            anyhow::bail!(
                "metric-resolution should be a time duration at least 10s, but value {} provided",
                flags.metric_resolution
            );
        }
        if flags.kubelet_request_timeout.0 <= 0 {
            anyhow::bail!(
                "kubelet-request-timeout should be positive, but value {} provided",
                flags.kubelet_request_timeout
            );
        }
        // Longer than the time to the next round makes no sense.
        let timeout = flags.kubelet_request_timeout.to_std().min(resolution.mul_f64(0.9));
        Ok(Self {
            kubeconfig: flags.kubeconfig,
            listen: SocketAddr::new(flags.bind_address, flags.secure_port),
            certificate: flags.tls_cert_file.zip(flags.tls_private_key_file),
            resolution,
            timeout,
            kubelet_authority: flags.kubelet_certificate_authority,
            kubelet_insecure: flags.kubelet_insecure_tls,
            address_types: flags.kubelet_preferred_address_types,
            kubelet_port: (!flags.kubelet_use_node_status_port).then_some(flags.kubelet_port),
        })
    }

    /// The resolution, signed.
    pub fn span(&self) -> SignedDuration {
        SignedDuration::try_from(self.resolution).unwrap_or(SignedDuration::MAX)
    }
}
