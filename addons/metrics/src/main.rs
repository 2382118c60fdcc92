//! The resource metrics API, `metrics.k8s.io/v1beta1`: what nodes and pods use, for `top` and for autoscalers.
//!
//! Owns: reading every kubelet's `/metrics/resource` once a `--metric-resolution` ([`scrape`], [`exposition`]),
//! the last two figures of everything and the rates between them ([`book`], pure), and serving them as an
//! aggregated API ([`serve`], [`route`], [`form`], [`discovery`]) to whoever the apiserver vouches for and
//! allows ([`gate`], [`trust`]). An ordinary API client: it watches running pods, nodes and the ConfigMap
//! `extension-apiserver-authentication`. Tasks: an informer a kind, the loop over kubelets, one a connection.
//!
//! Refuses: history, storage, watches, serving without TLS, and the figures of a pod from any node but its own.

mod book;
mod config;
mod discovery;
mod exposition;
mod form;
mod gate;
mod kinds;
mod kubelets;
mod query;
mod route;
mod run;
mod scrape;
mod serve;
#[cfg(test)]
mod tests;
mod trust;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    let flags = config::Flags::parse();
    gantry_daemon::logs::init(&flags.log);
    gantry_daemon::process::runtime(1)?.block_on(run::run(flags))
}
