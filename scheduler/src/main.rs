//! The scheduler daemon: a shell around the pure core.
//!
//! Owns: the informers of Pods and Nodes, one task that holds all scheduling state, and the API writes a
//! decision leads to ([`effects`]). Channels: the informers' deltas in, finished bindings back in. Writes run
//! beside the loop and never hold it up.
//!
//! Refuses: deciding anything; `gantry-scheduler-core` and the plugins do.

mod config;
mod effects;
mod metrics;
mod run;
mod state;
mod trim;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    let flags = config::Flags::parse();
    gantry_daemon::logs::init(&flags.logs);
    let config = config::Config::resolve(flags)?;
    gantry_daemon::process::runtime(2)?.block_on(async {
        let stop = gantry_daemon::shutdown::install()?;
        run::run(config, stop).await
    })
}
