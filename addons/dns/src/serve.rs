//! Sockets, health and metrics.

use crate::cluster::Informed;
use crate::config::Flags;
use crate::handler::Handler;
use crate::zone::Zone;
use anyhow::Context;
use gantry_client::ClientConfig;
use gantry_daemon::ops::{Ops, Verdict};
use gantry_daemon::serving;
use hickory_proto::rr::Name;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_server::Server;
use prometheus::{IntCounterVec, Opts};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

/// An idle TCP client is hung up on after this long.
const TCP_PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let stop = gantry_daemon::shutdown::install()?;
    let client = ClientConfig::from_flags(flags.kubeconfig.as_deref(), None)
        .await?
        .user_agent("gantry-dns")
        .build()?;
    let cluster = Arc::new(Informed::start(&client, &stop));
    let answers =
        IntCounterVec::new(Opts::new("gantry_dns_responses_total", "Answers given, by code"), &["rcode"])?;
    let ops = Ops::new().authorized_by(Arc::new(|_| Box::pin(async { Verdict::Allowed })));
    gantry_daemon::metrics::registry().register(Box::new(answers.clone()))?;
    let synced = cluster.clone();
    ops.readyz.add("informer-sync", move || {
        if synced.has_synced() { Ok(()) } else { Err("the cluster's state has not been read yet".into()) }
    });
    let health = serving::bind(SocketAddr::new(flags.bind_address, flags.health_port)).await?;
    tokio::spawn(ops.serve(health, None, stop.clone()));

    let domain = Name::from_utf8(format!("{}.", flags.cluster_domain.trim_end_matches('.')))
        .context("--cluster-domain")?;
    let zone = Zone { cluster, domain, ttl: flags.ttl };
    let address = SocketAddr::new(flags.bind_address, flags.port);
    let mut server = Server::new(Handler { zone, outside: outside(&flags), answers });
    server.register_socket(
        UdpSocket::bind(address).await.with_context(|| format!("cannot listen on {address}/udp"))?,
    );
    let tcp = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}/tcp"))?;
    server.register_listener(tcp, TCP_PATIENCE, 64);
    stop.cancelled().await;
    server.shutdown_gracefully().await.context("stopping")
}

/// The resolver of other names; `None` where the machine has no name servers.
fn outside(flags: &Flags) -> Option<TokioResolver> {
    let built = if flags.forward.is_empty() {
        TokioResolver::builder_tokio()
    } else {
        let servers = flags.forward.iter().map(|ip| NameServerConfig::udp_and_tcp(*ip)).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
    };
    let resolver = built.and_then(|mut builder| {
        let options = builder.options_mut();
        // Names arrive complete; the search path is the client's business.
        options.ndots = 0;
        options.timeout = Duration::from_secs(2);
        options.attempts = 2;
        options.preserve_intermediates = true;
        builder.build()
    });
    resolver.inspect_err(|e| tracing::warn!("other names are not forwarded: {e}")).ok()
}
