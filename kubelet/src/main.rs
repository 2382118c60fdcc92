//! The kubelet: parse, resolve, assemble, run, drain.

use clap::Parser;
use gantry_kubelet::assemble;
use gantry_kubelet::config::Config;
use gantry_kubelet::flags::Flags;

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    gantry_daemon::logs::init(&flags.logs);
    let config = Config::resolve(&flags)?;
    gantry_daemon::process::runtime(0)?.block_on(async {
        let stop = gantry_daemon::shutdown::install()?;
        assemble::run(config, stop).await
    })
}
