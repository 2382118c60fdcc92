//! The scheduler daemon.

use clap::Parser;
use gantry_scheduler::{config, run};

/// Objects come and go in thousands of small pieces: glibc's malloc would be a fifth of the scheduler's CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One: what there is to do is short, and threads that hand it to each other cost more than they save.
const WORKERS: usize = 1;

fn main() -> anyhow::Result<()> {
    let flags = config::Flags::parse();
    gantry_daemon::logs::init(&flags.logs);
    // The allocator's pages are to come one by one, as they are used; where they cannot, there are just more.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let config = config::Config::resolve(flags)?;
    gantry_daemon::process::runtime(WORKERS)?.block_on(async {
        let stop = gantry_daemon::shutdown::install()?;
        // On a worker, so that waiting for an extender does not stop the others' work.
        tokio::spawn(run::run(config, stop)).await?
    })
}
