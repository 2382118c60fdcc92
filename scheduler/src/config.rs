//! Flags and the `KubeSchedulerConfiguration` file, and what they come to.

use anyhow::bail;
use clap::Parser;
use gantry_client::leader::LeaderConfig;
use gantry_client::leader_args::LeaderArgs;
use gantry_client::port::PortArgs;
use gantry_daemon::logs::LogArgs;
use gantry_scheduler_core::Profile;
use gantry_scheduler_core::queue::Backoff;
use gantry_scheduler_plugins::default_profile;
use jiff::SignedDuration;
use serde::Deserialize;
use std::path::PathBuf;

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
}

/// The part of `kubescheduler.config.k8s.io/v1` this scheduler acts on; other known fields are accepted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    client_connection: ClientConnection,
    leader_election: LeaderElection,
    profiles: Vec<FileProfile>,
    percentage_of_nodes_to_score: Option<usize>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClientConnection {
    kubeconfig: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeaderElection {
    leader_elect: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileProfile {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<usize>,
}

/// What the flags and the file mean.
pub struct Config {
    pub kubeconfig: Option<PathBuf>,
    pub master: Option<String>,
    pub leader: Option<LeaderConfig>,
    pub port: PortArgs,
    pub profiles: Vec<Profile>,
    pub backoff: Backoff,
}

impl Config {
    /// # Errors
    /// Naming the flag or field that makes no sense.
    pub fn resolve(flags: Flags) -> anyhow::Result<Self> {
        let file: File = match &flags.config {
            Some(path) => gantry_daemon::config_file::load(
                path,
                "KubeSchedulerConfiguration",
                &["kubescheduler.config.k8s.io/v1"],
            )?,
            None => File::default(),
        };
        let mut leader = flags.leader;
        if let Some(elect) = file.leader_election.leader_elect {
            leader.leader_elect = elect;
        }
        let kubeconfig = Some(file.client_connection.kubeconfig).filter(|k| !k.is_empty()).map(PathBuf::from);
        Ok(Self {
            kubeconfig: kubeconfig.or(flags.kubeconfig),
            master: flags.master,
            leader: leader.resolve("kube-scheduler").map_err(anyhow::Error::msg)?,
            port: flags.port,
            profiles: profiles(file.profiles, file.percentage_of_nodes_to_score.unwrap_or(0))?,
            backoff: backoff(file.pod_initial_backoff_seconds, file.pod_max_backoff_seconds)?,
        })
    }
}

fn profiles(given: Vec<FileProfile>, percentage: usize) -> anyhow::Result<Vec<Profile>> {
    let given = if given.is_empty() { vec![FileProfile::default()] } else { given };
    let mut out: Vec<Profile> = Vec::with_capacity(given.len());
    for (i, profile) in given.into_iter().enumerate() {
        let name = profile.scheduler_name.unwrap_or_else(|| "default-scheduler".into());
        let percentage = profile.percentage_of_nodes_to_score.unwrap_or(percentage);
        if percentage > 100 {
            bail!(
                "profiles[{i}].percentageOfNodesToScore: Invalid value: {percentage}: not in valid range [0-100]"
            );
        }
        if out.iter().any(|p| *p.scheduler == *name) {
            bail!("profiles[{i}].schedulerName: Duplicate value: {name:?}");
        }
        out.push(Profile { percentage_of_nodes_to_score: percentage, ..default_profile(&name) });
    }
    Ok(out)
}

fn backoff(initial: Option<i64>, max: Option<i64>) -> anyhow::Result<Backoff> {
    let (initial, max) = (initial.unwrap_or(1), max.unwrap_or(10));
    if initial <= 0 {
        bail!("podInitialBackoffSeconds: Invalid value: {initial}: must be greater than 0");
    }
    if max < initial {
        bail!(
            "podMaxBackoffSeconds: Invalid value: {max}: must be greater than or equal to PodInitialBackoffSeconds"
        );
    }

    Ok(Backoff { initial: SignedDuration::from_secs(initial), max: SignedDuration::from_secs(max) })
}
