//! A cluster without machines, to measure schedulers and controllers by: load, hollow nodes, and the figures.
//! An ordinary client; it works against any apiserver, with any scheduler and controller manager, whose
//! process numbers it is told. `tests/bench/compare` runs all of it.

mod api;
mod credentials;
mod goals;
mod hollow;
mod load;
mod phases;

use anyhow::Context;
use clap::{Parser, Subcommand};
use gantry_bench::report::{Report, table};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Measures schedulers and controller managers on hollow nodes.")]
struct Cli {
    #[arg(long, global = true)]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    report: Report,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a control plane's credentials in a directory, as kubeadm lays them out.
    Credentials {
        #[arg(long)]
        dir: PathBuf,
        /// `https://host:port`
        #[arg(long)]
        server: String,
    },
    /// Register nodes in three zones, ready and without taints.
    Nodes {
        #[arg(long)]
        count: usize,
    },
    /// Register nodes and play their kubelets until interrupted.
    Hollow {
        #[arg(long)]
        count: usize,
    },
    /// Create pods that wait for a scheduler.
    Pending {
        #[arg(long)]
        count: usize,
        #[arg(long, value_enum, default_value = "plain")]
        shape: load::Shape,
    },
    /// Wait until as many pods are bound; the scheduler's CPU, pods a second, memory.
    Bound {
        #[arg(long)]
        count: usize,
        #[arg(long)]
        name: String,
        #[arg(long)]
        pid: u32,
    },
    /// Pods made by hand until all are ready: the floor under `deployment`.
    Floor {
        #[arg(long)]
        count: usize,
    },
    /// A Deployment from 0 to as many ready pods.
    Deployment {
        #[arg(long)]
        count: usize,
        #[arg(long)]
        pid: u32,
    },
    /// A namespace of as many objects, until it is gone.
    Namespace {
        #[arg(long)]
        count: usize,
        #[arg(long)]
        pid: u32,
    },
    /// A graph of owners of as many objects, until all are collected.
    Graph {
        #[arg(long)]
        count: usize,
        #[arg(long)]
        pid: u32,
    },
    /// What a process uses when nothing happens.
    Idle {
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        #[arg(long)]
        name: String,
        #[arg(long)]
        pid: u32,
    },
    /// The table of the figures in a file.
    Table { file: PathBuf },
}

/// Where waiting pods are made.
const PENDING: &str = "pending";

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    gantry_daemon::process::runtime(2)?.block_on(run(cli))
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let report = &cli.report;
    match &cli.command {
        Command::Credentials { dir, server } => return credentials::make(dir, server),
        Command::Idle { seconds, name, pid } => return phases::idle(report, name, *seconds, *pid).await,
        Command::Table { file } => {
            let lines = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            print!("{}", table(goals::ROWS, &lines));
            return Ok(());
        }
        _ => {}
    }
    let api = api::Api::new(&cli.kubeconfig.context("--kubeconfig is needed")?).await?;
    match cli.command {
        Command::Nodes { count } => load::nodes(&api, count).await,
        Command::Hollow { count } => hollow::run(&api, count, gantry_daemon::shutdown::install()?).await,
        Command::Pending { count, shape } => phases::pending(&api, PENDING, count, shape).await,
        Command::Bound { count, name, pid } => phases::bound(&api, report, &name, PENDING, count, pid).await,
        Command::Floor { count } => phases::floor(&api, report, count).await,
        Command::Deployment { count, pid } => phases::deployment(&api, report, count, pid).await,
        Command::Namespace { count, pid } => phases::namespace(&api, report, count, pid).await,
        Command::Graph { count, pid } => phases::graph(&api, report, count, pid).await,
        // Those above.
        Command::Credentials { .. } | Command::Idle { .. } | Command::Table { .. } => Ok(()),
    }
}
