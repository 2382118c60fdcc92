//! The daemon on one screen: client, port, lease, controllers.

use crate::context::{Context, trim_pod};
use crate::flags::Config;
use crate::{identity, lifecycle, network, ops_auth, workloads};
use anyhow::Context as _;
use gantry_client::leader::Elector;
use gantry_client::{ClientConfig, Informers};
use gantry_daemon::ops::Ops;
use gantry_daemon::tls::{Pem, TlsOptions, TlsSource};
use gantry_daemon::{serving, version};
use k8s_openapi::api::core::v1::Pod;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs until `stop`, or until the lead is lost.
///
/// # Errors
/// Where a part cannot start, or the lead was lost.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let clients = ClientConfig::from_flags(config.args.kubeconfig.as_deref(), config.args.master.as_deref())
        .await?
        .user_agent(version::user_agent("kube-controller-manager"));
    let client = clients.build()?;
    let ops = Ops::new().authorized_by(ops_auth::delegated(client.clone()));
    let port = tokio::spawn(serve(&config, ops, stop.clone()).await?);
    let leading = match &config.leader {
        None => None,
        Some(leader) => match Elector::new(client.clone(), leader.clone()).acquire(&stop).await {
            Some(leading) => Some(leading),
            None => return Ok(()),
        },
    };
    let work = CancellationToken::new();
    let context = Context {
        config: Arc::new(config),
        informers: Informers::new(client.clone()),
        watch_client: clients.build()?,
        client,
        stop: work.clone(),
        tasks: TaskTracker::new(),
    };
    start(&context).await?;
    let lost = leading.as_ref().map(|l| l.lost.clone()).unwrap_or_default();
    let in_time = tokio::select! {
        () = stop.cancelled() => true,
        () = lost.cancelled() => false,
    };
    work.cancel();
    context.tasks.close();
    context.tasks.wait().await;
    anyhow::ensure!(in_time, "leaderelection lost");
    if let Some(leading) = leading {
        leading.release().await;
    }
    // The port ends by the same signal; a panic in it has been reported.
    let _ = port.await;
    Ok(())
}

async fn start(context: &Context) -> anyhow::Result<()> {
    context.informers.of::<Pod>().transform(trim_pod);
    let on = |name| context.config.enabled(name);
    if on("replicaset-controller") {
        workloads::replicaset::start(context);
    }
    if on("deployment-controller") {
        workloads::deployment::start(context);
    }
    if on("endpointslice-controller") {
        network::endpointslice::start(context);
    }
    if on("node-ipam-controller") && context.config.args.allocate_node_cidrs {
        network::nodeipam::start(context);
    }
    if on("namespace-controller") {
        lifecycle::namespace::start(context);
    }
    if on("garbage-collector-controller") && context.config.args.enable_garbage_collector {
        lifecycle::garbage_collector::start(context);
    }
    if on("node-lifecycle-controller") {
        lifecycle::node_lifecycle::start(context);
    }
    if on("taint-eviction-controller") {
        lifecycle::taint_eviction::start(context);
    }
    if on("pod-garbage-collector-controller") {
        lifecycle::pod_gc::start(context);
    }
    if on("serviceaccount-controller") {
        identity::service_account::start(context);
    }
    if on("root-ca-certificate-publisher-controller") {
        identity::root_ca::start(context)?;
    }
    if on("clusterrole-aggregation-controller") {
        identity::clusterrole_aggregation::start(context);
    }
    context.informers.start(&context.stop);
    Ok(())
}

/// The secure port, ready to run. Without certificate files it presents one of its own making, as upstream.
async fn serve(
    config: &Config,
    ops: Ops,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let port = &config.port;
    let (certificate, key) = match &port.certificate {
        Some((certificate, key)) => (Pem::File(certificate.clone()), Pem::File(key.clone())),
        None => {
            let (certificate, key) = self_signed().context("cannot make a serving certificate")?;
            (Pem::Data(certificate), Pem::Data(key))
        }
    };
    let client_ca = port.client_ca.clone().map(Pem::File);
    let tls = Arc::new(TlsSource::new(TlsOptions { certificate, key, client_ca, http2: true })?);
    let listener = match port.port {
        0 => None,
        number => {
            let address = SocketAddr::new(port.address, number);
            Some(serving::bind(address).await.with_context(|| format!("failed to listen on {address}"))?)
        }
    };
    Ok(async move {
        if let Some(listener) = listener {
            ops.serve(listener, Some(tls), stop).await;
        }
    })
}

fn self_signed() -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    use gantry_pki::{Ca, Profile};
    let (now, year) = (jiff::Timestamp::now(), std::time::Duration::from_secs(365 * 86_400));
    let authority = Ca::create("kube-controller-manager-ca", now, year)?;
    let profile = Profile::server("kube-controller-manager", vec!["localhost".into(), "127.0.0.1".into()]);
    let issued = authority.issue(&profile, now)?;
    Ok((issued.cert.into_bytes(), issued.key.into_bytes()))
}
