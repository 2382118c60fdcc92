//! Flags and the `KubeSchedulerConfiguration` file, and what they come to.

mod file;
mod profiles;
#[cfg(test)]
mod tests;
mod validate;

use anyhow::bail;
use clap::Parser;
pub use file::{Extender, ExtenderTls};
use gantry_client::leader::LeaderConfig;
use gantry_client::leader_args::LeaderArgs;
use gantry_client::port::PortArgs;
use gantry_daemon::inert::{self, ControlPlane, Inert, Takes};
use gantry_daemon::logs::LogArgs;
use gantry_scheduler_core::Profile;
use gantry_scheduler_core::queue::Backoff;
use jiff::SignedDuration;
use std::path::PathBuf;
use std::time::Duration;

/// `scheduler`'s command line; names and defaults are `kube-scheduler`'s.
#[derive(Parser)]
#[command(name = "scheduler", about = "Assigns pods to nodes", version)]
pub struct Flags {
    #[command(flatten)]
    pub logs: LogArgs,
    /// The path to the configuration file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Path to kubeconfig file with authorization and master location information.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The address of the Kubernetes API server (overrides any value in kubeconfig).
    #[arg(long)]
    master: Option<String>,
    #[command(flatten)]
    leader: LeaderArgs,
    #[command(flatten)]
    port: PortArgs,
    #[command(flatten)]
    inert: Inert<ControlPlane>,
    #[command(flatten)]
    unused: Inert<Unused>,
}

/// Upstream's flags of this daemon alone that are accepted and have no effect.
#[derive(Clone, Debug)]
struct Unused;

impl inert::Flags for Unused {
    const FLAGS: &'static [(&'static str, Takes)] = &[
        // There is one kind of lock.
        ("leader-elect-resource-lock", Takes::Value),
        // Always five minutes.
        ("pod-max-in-unschedulable-pods-duration", Takes::Value),
        ("write-config-to", Takes::Value),
    ];
}

/// What the flags and the file mean.
pub struct Config {
    pub kubeconfig: Option<PathBuf>,
    pub master: Option<String>,
    pub leader: Option<LeaderConfig>,
    pub port: PortArgs,
    pub profiles: Vec<Profile>,
    pub extenders: Vec<Extender>,
    pub backoff: Backoff,
}

impl Config {
    /// # Errors
    /// Naming the flag or field that makes no sense, in upstream's words.
    pub fn resolve(flags: Flags) -> anyhow::Result<Self> {
        flags.inert.note();
        flags.unused.note();
        let given: file::File = match &flags.config {
            Some(path) => gantry_daemon::config_file::load(
                path,
                "KubeSchedulerConfiguration",
                &["kubescheduler.config.k8s.io/v1"],
            )?,
            None => file::File::default(),
        };
        let mut leader = flags.leader;
        let at = given.leader_election.clone();
        leader.leader_elect = at.leader_elect.unwrap_or(leader.leader_elect);
        for (field, into) in [
            (at.lease_duration, &mut leader.leader_elect_lease_duration),
            (at.renew_deadline, &mut leader.leader_elect_renew_deadline),
            (at.retry_period, &mut leader.leader_elect_retry_period),
        ] {
            *into = field.map_or(*into, Duration::from);
        }
        leader.leader_elect_resource_name = at.resource_name.or(leader.leader_elect_resource_name);
        if let Some(namespace) = at.resource_namespace {
            leader.leader_elect_resource_namespace = namespace;
        }
        let kubeconfig = Some(given.client_connection.kubeconfig.clone()).filter(|k| !k.is_empty());
        let settled = profiles::settle(given)?;
        Ok(Self {
            kubeconfig: kubeconfig.map(PathBuf::from).or(flags.kubeconfig),
            master: flags.master,
            leader: leader.resolve("kube-scheduler").map_err(anyhow::Error::msg)?,
            port: flags.port,
            profiles: settled.profiles,
            extenders: settled.extenders,
            backoff: settled.backoff,
        })
    }
}

/// What of a file is settled without the flags.
pub struct Settled {
    pub profiles: Vec<Profile>,
    pub extenders: Vec<Extender>,
    pub backoff: Backoff,
}

fn settled(
    profiles: Vec<Profile>,
    extenders: Vec<Extender>,
    initial: i64,
    max: i64,
) -> anyhow::Result<Settled> {
    if profiles.is_empty() {
        bail!("profiles: Required value");
    }
    let (initial, max) = (SignedDuration::from_secs(initial), SignedDuration::from_secs(max));
    Ok(Settled { profiles, extenders, backoff: Backoff { initial, max } })
}
