//! Flags, and what they resolve to.

use clap::Parser;
use gantry_daemon::logs::LogArgs;
use std::path::{Component, PathBuf};

#[derive(Parser)]
#[command(name = "gantry-local-volumes", about = "Persistent volumes of folders on a node", version)]
pub struct Flags {
    /// Path to a kubeconfig; in-cluster credentials where absent.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The Node this process serves.
    #[arg(long)]
    node_name: String,
    /// The folder that holds the volumes' folders.
    #[arg(long, default_value = "/var/lib/gantry/volumes")]
    path: PathBuf,
    #[command(flatten)]
    pub log: LogArgs,
}

/// What the flags mean.
#[derive(Clone, Debug)]
pub struct Config {
    pub kubeconfig: Option<PathBuf>,
    pub node_name: String,
    /// Absolute, without steps back.
    pub path: PathBuf,
}

impl Config {
    /// # Errors
    /// Where a flag's value makes no sense.
    pub fn resolve(flags: Flags) -> anyhow::Result<Self> {
        let sound = flags.path.is_absolute() && !flags.path.components().any(|c| c == Component::ParentDir);
        if !sound || flags.path.parent().is_none() {
            anyhow::bail!("--path: {} is not an absolute path below the root", flags.path.display());
        }
        if flags.node_name.is_empty() {
            anyhow::bail!("--node-name: must not be empty");
        }
        Ok(Self { kubeconfig: flags.kubeconfig, node_name: flags.node_name, path: flags.path })
    }
}
