//! `controller-manager`: parse, resolve, assemble, run, drain.

use clap::Parser;
use gantry_controller_manager::{assemble, flags};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = flags::Args::parse();
    if args.version {
        println!("{}", gantry_daemon::version::line());
        return ExitCode::SUCCESS;
    }
    gantry_daemon::logs::init(&args.logs);
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "controller-manager failed");
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: flags::Args) -> anyhow::Result<()> {
    args.inert.note();
    args.unused.note();
    let config = flags::resolve(args)?;
    let runtime = gantry_daemon::process::runtime(config.workers)?;
    runtime.block_on(async {
        let stop = gantry_daemon::shutdown::install()?;
        assemble::run(config, stop).await
    })
}
