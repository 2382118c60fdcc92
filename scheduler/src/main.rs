//! The scheduler daemon.

use clap::Parser;
use gantry_scheduler::{config, run};

fn main() -> anyhow::Result<()> {
    let flags = config::Flags::parse();
    gantry_daemon::logs::init(&flags.logs);
    let config = config::Config::resolve(flags)?;
    gantry_daemon::process::runtime(2)?.block_on(async {
        let stop = gantry_daemon::shutdown::install()?;
        // On a worker, so that waiting for an extender does not stop the others' work.
        tokio::spawn(run::run(config, stop)).await?
    })
}
