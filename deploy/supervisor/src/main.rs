//! `gantry-up`: brings a cluster up on this machine, keeps its daemons running, and takes it down again.
//!
//! Owns: the layout of a cluster directory, the node network (one bridge, a namespace and veth for each
//! further node), the PKI files, the images, and one supervisor process that starts every daemon, restarts
//! it when it ends, records `pids/<daemon>.pid` and rotates the logs. The supervisor's own death stops nothing; the next
//! `up` adopts what still runs. `deploy/up` and `deploy/down` are the way in.

mod addons;
mod down;
mod layout;
mod logs;
mod network;
mod node;
mod pki;
mod progress;
mod shell;
mod supervise;
mod units;
mod up;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Parser)]
#[command(name = "gantry-up", about = "Runs a Gantry cluster on this machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the cluster up; does nothing that is already done.
    Up(UpFlags),
    /// Take the cluster down.
    Down(DownFlags),
    /// Keep the daemons of a cluster running (started by `up`).
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        dir: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Datastore {
    Embedded,
    Etcd,
}

#[derive(Args)]
struct UpFlags {
    /// Nodes to run; the first is this machine, each further one a network namespace.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: u8,
    #[arg(long, value_enum, default_value = "embedded")]
    datastore: Datastore,
    /// Where the cluster's files live (default: `.cluster` in the repository).
    #[arg(long)]
    dir: Option<PathBuf>,
    #[arg(long, hide = true)]
    repo: PathBuf,
}

#[derive(Args)]
struct DownFlags {
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also delete the cluster's data, certificates and logs.
    #[arg(long)]
    purge: bool,
    #[arg(long, hide = true)]
    repo: PathBuf,
}

fn main() -> std::process::ExitCode {
    match start() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match Cli::parse().command {
            Command::Up(flags) => up::run(flags).await,
            Command::Down(flags) => down::run(flags).await,
            Command::Supervise { dir } => supervise::run(&dir).await,
        }
    })
}
