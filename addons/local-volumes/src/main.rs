//! Persistent volumes of folders on one node.
//!
//! Owns: a folder below `--path` for every claim of a class of ours (`gantry.io/local-volumes`) whose pod the
//! scheduler has placed on this node, the PersistentVolume that offers it there and nowhere else, and the
//! folder's end once the volume is released and its policy is `Delete`. An ordinary API client: it watches
//! claims, classes and volumes. One informer a kind, one task a reconciliation; nothing polls.
//!
//! Refuses: other nodes' claims and volumes, folders outside `--path`, block devices, and limits on size: a
//! folder has the room its file system has.

mod config;
mod folder;
mod plan;
mod run;
#[cfg(test)]
mod tests;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    let flags = config::Flags::parse();
    gantry_daemon::logs::init(&flags.log);
    gantry_daemon::process::runtime(1)?.block_on(run::run(flags))
}
