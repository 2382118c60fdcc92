//! The daemon on one screen: client, port, lease, controllers.

use crate::context::{Context, trim_pod};
use crate::credentials::Credentials;
use crate::flags::Config;
use crate::{identity, lifecycle, network, storage, workloads};
use gantry_client::leader::Elector;
use gantry_client::{ClientConfig, Informers, Recorder, port};
use gantry_daemon::ops::Ops;
use gantry_daemon::version;
use k8s_openapi::api::core::v1::Pod;
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
    port::serve(
        &config.args.port,
        "kube-controller-manager",
        10257,
        Ops::new(),
        client.clone(),
        stop.clone(),
    )
    .await?;
    let leading = match &config.leader {
        None => None,
        Some(leader) => {
            let recorder = Recorder::new(client.clone(), "kube-controller-manager", "");
            let elector = Elector::new(client.clone(), leader.clone()).reporting(recorder);
            match elector.acquire(&stop).await {
                Some(leading) => Some(leading),
                None => return Ok(()),
            }
        }
    };
    let work = CancellationToken::new();
    let separate = config.args.use_service_account_credentials;
    let credentials = Credentials::new(&clients, client.clone(), separate, work.clone())?;
    let context = Context {
        config: Arc::new(config),
        informers: Informers::new(client.clone()),
        watch_client: clients.build()?,
        client,
        credentials,
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
    if tokio::time::timeout(context.config.args.controller_shutdown_timeout, context.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("Controller shutdown timeout reached");
    }
    anyhow::ensure!(in_time, "leaderelection lost");
    if let Some(leading) = leading {
        leading.release().await;
    }
    Ok(())
}

/// Starts the enabled controllers on what `context` gives them.
///
/// # Errors
/// Where one cannot start.
pub async fn start(context: &Context) -> anyhow::Result<()> {
    context.informers.of::<Pod>().transform(trim_pod);
    let on = |name| context.config.enabled(name);
    if on("replicaset-controller") {
        workloads::replicaset::start(&context.part());
    }
    if on("deployment-controller") {
        workloads::deployment::start(&context.part());
    }
    if on("replicationcontroller-controller") {
        workloads::replication::start(&context.part());
    }
    if on("statefulset-controller") {
        workloads::statefulset::start(&context.part());
    }
    if on("daemonset-controller") {
        workloads::daemonset::start(&context.part());
    }
    if on("job-controller") {
        workloads::job::start(&context.part());
    }
    if on("cronjob-controller") {
        workloads::cronjob::start(&context.part());
    }
    if on("ttl-after-finished-controller") {
        workloads::ttl_after_finished::start(&context.part());
    }
    if on("horizontal-pod-autoscaler-controller") {
        workloads::horizontal_pod_autoscaler::start(&context.part());
    }
    if on("endpointslice-controller") {
        network::endpointslice::start(&context.part());
    }
    if on("endpoints-controller") {
        network::endpoints::start(&context.part());
    }
    if on("endpointslice-mirroring-controller") {
        network::endpointslice_mirroring::start(&context.part());
    }
    if on("service-cidr-controller") {
        network::service_cidr::start(&context.part());
    }
    if on("ttl-controller") {
        network::ttl::start(&context.part());
    }
    if on("node-ipam-controller") && context.config.args.allocate_node_cidrs {
        network::nodeipam::start(&context.part())?;
    }
    if on("persistentvolume-binder-controller") {
        storage::binder::start(&context.part());
    }
    if on("persistentvolumeclaim-protection-controller") {
        storage::claim_protection::start(&context.part());
    }
    if on("persistentvolume-protection-controller") {
        storage::volume_protection::start(&context.part());
    }
    if on("ephemeral-volume-controller") {
        storage::ephemeral::start(&context.part());
    }
    if on("namespace-controller") {
        lifecycle::namespace::start(&context.part());
    }
    if on("garbage-collector-controller") && context.config.args.enable_garbage_collector {
        lifecycle::garbage_collector::start(&context.part());
    }
    if on("node-lifecycle-controller") {
        lifecycle::node_lifecycle::start(&context.part());
    }
    if on("taint-eviction-controller") {
        lifecycle::taint_eviction::start(&context.part());
    }
    if on("resourcequota-controller") {
        lifecycle::resource_quota::start(&context.part());
    }
    if on("disruption-controller") {
        lifecycle::disruption_budget::start(&context.part());
    }
    if on("pod-garbage-collector-controller") {
        lifecycle::pod_gc::start(&context.part());
    }
    if on("powered-off-node-controller") {
        lifecycle::powered_off::start(&context.part());
    }
    if on("roll-on-change-controller") {
        workloads::roll_on_change::start(&context.part());
    }
    if on("serviceaccount-controller") {
        identity::service_account::start(&context.part());
    }
    if on("serviceaccount-token-controller") {
        identity::legacy_token::start(&context.part())?;
    }
    if on("root-ca-certificate-publisher-controller") {
        identity::root_ca::start(&context.part())?;
    }
    if on("clusterrole-aggregation-controller") {
        identity::clusterrole_aggregation::start(&context.part());
    }
    if on("certificatesigningrequest-signing-controller") {
        identity::csr_signing::start(&context.part())?;
    }
    if on("certificatesigningrequest-approving-controller") {
        identity::csr_approving::start(&context.part());
    }
    if on("certificatesigningrequest-cleaner-controller") {
        identity::csr_cleaner::start(&context.part());
    }
    if on("bootstrap-signer-controller") {
        identity::bootstrap_signer::start(&context.part());
    }
    if on("legacy-serviceaccount-token-cleaner-controller") {
        identity::legacy_token_cleaner::start(&context.part())?;
    }
    if on("token-cleaner-controller") {
        identity::token_cleaner::start(&context.part());
    }
    context.informers.start(&context.stop);
    Ok(())
}
