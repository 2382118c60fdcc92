//! The pod network of one node.
//!
//! Owns: this node's CNI configuration (a bridge over `spec.podCIDR`), the way to every other node's pods
//! (plain routes where nodes share a link, vxlan where they do not), and masquerading of what leaves the
//! cluster. An ordinary API client: it watches Nodes and nothing else. One task; a change only wakes it.
//!
//! Refuses: policy, service addresses (kube-proxy has them), and touching links it did not make.

mod apply;
mod config;
mod plan;
mod run;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    let flags = config::Flags::parse();
    gantry_daemon::logs::init(&flags.log);
    gantry_daemon::process::runtime(1)?.block_on(run::run(flags))
}
