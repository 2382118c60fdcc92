//! The service proxy of one node.
//!
//! Owns: one nftables table, brought from state to state by the smallest transaction; stale UDP connections;
//! health (`/healthz`, health check node ports) and metrics. Tasks: informers, the proxy loop, one server a
//! port. A change only wakes the loop, which then looks at the stores.
//!
//! Refuses: touching tables that are not its own, and removing its rules on exit: connections outlive it.

mod config;
mod conntrack;
mod health;
mod nft;
mod proxy;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    let flags = config::Flags::parse();
    gantry_daemon::logs::init(&flags.log);
    let config = config::Config::resolve(flags)?;
    gantry_daemon::process::runtime(2)?.block_on(proxy::run(config))
}
