//! `apiserver`: parse, resolve, assemble, run, drain.

use clap::Parser;
use gantry_apiserver::{config::Config, flags::Flags, start};

/// A write makes and drops thousands of small pieces: with glibc's malloc that is a third of its CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    gantry_daemon::logs::init(&flags.logs);
    gantry_daemon::metrics::init();
    for flag in flags.inert.given() {
        tracing::warn!(flag, "this flag is accepted and has no effect");
    }
    let config = Config::resolve(&flags)?;
    gantry_daemon::process::runtime(0)?.block_on(async {
        let stop = gantry_daemon::shutdown::install()?;
        let listener = gantry_daemon::serving::bind(config.listen).await?;
        let server = start::server(config).await?;
        start::run(server, listener, stop).await;
        Ok(())
    })
}
