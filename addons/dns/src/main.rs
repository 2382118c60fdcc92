//! Cluster DNS: names of Services, their endpoints and pods, as the Kubernetes DNS specification 1.1.0 has
//! them; everything else is forwarded.
//!
//! Owns: answering from memory ([`zone`], pure over [`cluster::Cluster`]) and forwarding. An ordinary API
//! client: it watches Services, EndpointSlices and Namespaces. Tasks: the informers, a server a socket.
//!
//! Refuses: zone transfers, updates, and any state of its own.

mod cluster;
mod config;
mod handler;
mod serve;
#[cfg(test)]
mod tests;
mod zone;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    let flags = config::Flags::parse();
    gantry_daemon::logs::init(&flags.log);
    gantry_daemon::process::runtime(2)?.block_on(serve::run(flags))
}
