//! What every controller gets to work with.

use crate::credentials::Credentials;
use crate::flags::Config;
use gantry_client::{Client, Informer, Informers, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Executor, Reconcile, RunOptions};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The index of dependents by their controller's uid; orphans are under `orphan:<namespace>`.
pub const BY_CONTROLLER: &str = "controller";

/// Shared by all controllers.
#[derive(Clone)]
pub struct Context {
    pub config: Arc<Config>,
    /// The daemon's own identity, for reading.
    pub client: Client,
    /// The controllers' identities, for writing.
    pub credentials: Credentials,
    /// Its own connection, for the many metadata watches of the garbage collector.
    pub watch_client: Client,
    pub informers: Informers,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

impl Context {
    /// Events reported by `component`, sent as the service account `account`.
    pub fn recorder(&self, account: &str, component: &str) -> Recorder {
        Recorder::new(self.credentials.client(account), component, "")
    }

    /// The hand of the controller whose service account is `account`.
    pub fn executor(&self, account: &str, barrier: Barrier) -> Executor {
        Executor::new(self.credentials.client(account), barrier)
    }

    /// The shared pod informer, with the index every owner uses.
    pub fn pods(&self) -> Informer<Pod> {
        let pods = self.informers.of::<Pod>();
        pods.index(BY_CONTROLLER, |pod| vec![owner_index(&pod.metadata)]);
        pods
    }

    /// The context of one controller: what it asks for is all it waits for.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { informers: self.informers.part(), ..self.clone() }
    }

    /// Runs a controller once every informer it asked for has synced, until stop.
    pub fn run<R: Reconcile>(
        &self,
        name: &'static str,
        workers: usize,
        controller: R,
        queue: Queue<Key>,
        barrier: Barrier,
    ) {
        let (informers, stop) = (self.informers.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => return,
                () = informers.synced() => {}
            }
            tracing::info!(controller = name, "started");
            let options = RunOptions { name, workers, barrier };
            gantry_reconcile::run(Arc::new(controller), queue, options, stop).await;
        });
    }
}

/// The value of [`BY_CONTROLLER`] for an object.
pub fn owner_index(meta: &kube::api::ObjectMeta) -> String {
    match gantry_reconcile::ownership::controller_of(meta) {
        Some(controller) => controller.uid.clone(),
        None => format!("orphan:{}", meta.namespace.as_deref().unwrap_or("")),
    }
}

/// Drops from a cached pod what no controller reads: most of its weight.
pub fn trim_pod(pod: &mut Pod) {
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    let Some(spec) = &mut pod.spec else { return };
    // Stateful sets read which claims their pods mount, daemon sets where their pods are meant to go.
    let claims: Vec<_> = spec.volumes.take().into_iter().flatten().filter(claims_something).collect();
    spec.volumes = (!claims.is_empty()).then_some(claims);
    let controller = gantry_reconcile::ownership::controller_of(&pod.metadata);
    let placed = spec.node_name.is_some() || controller.is_none_or(|o| o.kind != "DaemonSet");
    // Quotas may count pods that look into other namespaces.
    if placed && !gantry_machinery::quota::crosses_namespaces(spec) {
        spec.affinity = None;
    }
    spec.topology_spread_constraints = None;
    spec.image_pull_secrets = None;
    spec.security_context = None;
    spec.dns_config = None;
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let ports = container.ports.take();
        // The autoscaler's utilization is of what was requested; quotas count both.
        let mut resources = container.resources.take().filter(|r| r.requests.is_some() || r.limits.is_some());
        resources.iter_mut().for_each(|r| r.claims = None);
        let kept = k8s_openapi::api::core::v1::Container {
            name: std::mem::take(&mut container.name),
            restart_policy: container.restart_policy.take(),
            ports,
            resources,
            ..Default::default()
        };
        *container = kept;
    }
    let (spec, status) = (&pod.spec, &mut pod.status);
    if let Some(status) = status {
        for list in [&mut status.container_statuses, &mut status.init_container_statuses] {
            for entry in list.iter_mut().flatten() {
                // Jobs read how and when containers ended.
                let terminated = entry.state.take().and_then(|s| s.terminated).map(|ended| {
                    k8s_openapi::api::core::v1::ContainerStateTerminated {
                        exit_code: ended.exit_code,
                        finished_at: ended.finished_at,
                        ..Default::default()
                    }
                });
                // Quotas read what a container has, where that is not what it asks for: a resize is under way.
                let resized = is_resized(spec.as_ref(), entry);
                *entry = k8s_openapi::api::core::v1::ContainerStatus {
                    resources: entry.resources.take().filter(|_| resized),
                    allocated_resources: entry.allocated_resources.take().filter(|_| resized),
                    name: std::mem::take(&mut entry.name),
                    ready: entry.ready,
                    restart_count: entry.restart_count,
                    state: terminated.map(|terminated| k8s_openapi::api::core::v1::ContainerState {
                        terminated: Some(terminated),
                        ..Default::default()
                    }),
                    ..Default::default()
                };
            }
        }
    }
}

/// Whether a volume is a claim, or comes with one.
fn claims_something(volume: &Volume) -> bool {
    volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
}

/// Whether a container has other resources than it asks for.
fn is_resized(
    spec: Option<&k8s_openapi::api::core::v1::PodSpec>,
    status: &k8s_openapi::api::core::v1::ContainerStatus,
) -> bool {
    let containers = spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let asked = containers.into_iter().find(|c| c.name == status.name).and_then(|c| c.resources.clone());
    let asked = asked.unwrap_or_default();
    status.resources.as_ref().is_some_and(|has| {
        has.requests != asked.requests
            || has.limits != asked.limits
            || status.allocated_resources.as_ref().is_some_and(|a| Some(a) != asked.requests.as_ref())
    })
}

/// Now, to the second, as Kubernetes' times are kept.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// [`now`] as an API value.
pub fn time(at: Timestamp) -> Time {
    Time(at)
}
