//! The EndpointSlice controller's shell.

pub(super) mod endpoint;
mod hints;
mod plan;
#[cfg(test)]
mod tests;

use crate::context::Context;
use gantry_client::error::ApiError;
use gantry_client::events::reference;
use gantry_client::{Delta, EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Executor, Next, Reconcile, selector};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// The `endpointslice.kubernetes.io/managed-by` of our slices.
const MANAGER: &str = "endpointslice-controller.k8s.io";
const BY_SERVICE: &str = "service";

struct Controller {
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    executor: Executor,
    max: usize,
    recorder: Recorder,
    /// The zones' shares of the cluster's processors; `None` until somebody needs them, and after a change.
    shares: Arc<Mutex<Option<hints::Shares>>>,
    /// Services whose endpoints are spread by topology.
    spread: Mutex<HashSet<Key>>,
    /// What `EndpointsLastChangeTriggerTime` said last, by service.
    triggers: Mutex<HashMap<Key, jiff::Timestamp>>,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("endpoint_slice");
    let informers = &context.informers;
    let (services, pods, nodes, slices) =
        (informers.of::<Service>(), context.pods(), informers.of::<Node>(), informers.of::<EndpointSlice>());
    slices.index(BY_SERVICE, |slice| service_of(slice).map(|k| k.to_string()).into_iter().collect());
    let to = queue.clone();
    services.on(move |delta| to.add(Key::of(&**delta.object())));
    let (to, known) = (queue.clone(), services.clone());
    let batch = context.config.args.endpointslice_updates_batch_period;
    pods.on(move |delta| pod_changed(&to, &known, batch, delta));
    let to = queue.clone();
    slices.on(move |delta| {
        // Our own writes come back too, and find nothing to do.
        for slice in [Some(delta.object()), delta.old()].into_iter().flatten().filter(|s| ours(s)) {
            if let Some(service) = service_of(slice) {
                to.add_after(service, batch);
            }
        }
    });
    let shares = Arc::new(Mutex::new(None));
    let (to, known, told) = (queue.clone(), services.clone(), shares.clone());
    nodes.on(move |delta| {
        let zone =
            |n: &Node| n.metadata.labels.as_ref().and_then(|l| l.get("topology.kubernetes.io/zone").cloned());
        let new = delta.object();
        let weighs = delta.old().is_none_or(|old| hints::weight(old) != hints::weight(new));
        let moved = matches!(delta, Delta::Added(_)) || delta.old().is_some_and(|old| zone(old) != zone(new));
        if weighs {
            *told.lock() = None;
        }
        let matters = |s: &Service| has_selector(s) && (moved || (weighs && hints::wants_topology(s)));
        if moved || weighs {
            known.store().list().iter().filter(|s| matters(s)).for_each(|s| to.add(Key::of(&**s)));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&slices);
    let controller = Controller {
        services,
        pods,
        nodes,
        slices,
        executor: context.executor("endpointslice-controller", barrier.clone()),
        max: context.config.args.max_endpoints_per_slice.clamp(1, 1000),
        recorder: context.recorder("endpointslice-controller", "endpoint-slice-controller"),
        shares,
        spread: Mutex::default(),
        triggers: Mutex::default(),
    };
    let workers = context.config.args.concurrent_service_endpoint_syncs;
    context.run("endpointslice-controller", workers, controller, queue, barrier);
}

fn ours(slice: &EndpointSlice) -> bool {
    slice
        .metadata
        .labels
        .as_ref()
        .and_then(|l| l.get("endpointslice.kubernetes.io/managed-by"))
        .is_some_and(|m| m == MANAGER)
}

pub(super) fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
    Some(Key::new(slice.metadata.namespace.as_deref().unwrap_or(""), name))
}

pub(super) fn selector_of(service: &Service) -> Option<&BTreeMap<String, String>> {
    service.spec.as_ref()?.selector.as_ref()
}

fn has_selector(service: &Service) -> bool {
    selector_of(service).is_some_and(|s| !s.is_empty())
        && service.spec.as_ref().and_then(|s| s.type_.as_deref()) != Some("ExternalName")
}

/// Queues the services that select a pod, or did, where the change shows in endpoints; after `batch`, so that what
/// changes together is written together.
pub(super) fn pod_changed(
    queue: &Queue<Key>,
    services: &Informer<Service>,
    batch: Duration,
    delta: &Delta<Pod>,
) {
    let new = delta.object();
    if delta.old().is_some_and(|old| endpoint::same_for_endpoints(old, new)) {
        return;
    }
    let namespace = new.metadata.namespace.as_deref().unwrap_or("");
    for service in services.store().list_namespace(namespace) {
        let Some(wanted) = selector_of(&service).filter(|s| !s.is_empty()) else { continue };
        let selects = |pod: &Pod| pod.metadata.labels.as_ref().is_some_and(|l| selector::subset(wanted, l));
        if selects(new) || delta.old().is_some_and(|old| selects(old)) {
            queue.add_after(Key::of(&*service), batch);
        }
    }
}

impl Controller {
    /// Reports what became of hints by topology, once for each change of it and each new failure.
    fn tell(&self, key: &Key, service: &Service, told: &[hints::Told]) {
        let event = |kind, reason, text: &str| {
            self.recorder.event(&reference(service), kind, reason, text.to_owned())
        };
        for one in told {
            match one {
                hints::Told::Enabled(text) if self.spread.lock().insert(key.clone()) => {
                    event(EventType::Normal, "TopologyAwareHintsEnabled", text);
                }
                hints::Told::Enabled(_) => {}
                hints::Told::Disabled(text) => {
                    self.spread.lock().remove(key);
                    event(EventType::Warning, "TopologyAwareHintsDisabled", text);
                }
            }
        }
        if told.is_empty() && self.spread.lock().remove(key) {
            let text = "Topology Aware Hints has been disabled, addressType: IPv4";
            event(EventType::Warning, "TopologyAwareHintsDisabled", text);
        }
    }

    /// The newest change among the service and its pods, where it is newer than the last one told.
    fn trigger(&self, key: &Key, service: &Service, pods: &[std::sync::Arc<Pod>]) -> Option<jiff::Timestamp> {
        let of_pod = |p: &std::sync::Arc<Pod>| {
            gantry_reconcile::conditions::of(p, "Ready")?.last_transition_time.as_ref().map(|t| t.0)
        };
        let created = service.metadata.creation_timestamp.as_ref().map(|t| t.0);
        let newest = pods.iter().filter_map(of_pod).chain(created).max()?;
        let mut triggers = self.triggers.lock();
        let last = triggers.insert(key.clone(), newest);
        (last.is_none_or(|l| newest > l)).then_some(newest)
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(service) = self.services.store().get(key) else {
            // Its slices go with it, by the garbage collector.
            self.triggers.lock().remove(key);
            self.spread.lock().remove(key);
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        // Without a selector the slices are somebody else's.
        let Some(wanted) = selector_of(&service)
            .filter(|_| service.spec.as_ref().and_then(|s| s.type_.as_deref()) != Some("ExternalName"))
        else {
            return Ok(Next::Done);
        };
        let wanted = LabelSelector { match_labels: Some(wanted.clone()), match_expressions: None };
        let mut pods = self.pods.store().list_namespace(key.namespace());
        pods.retain(|p| selector::matches(Some(&wanted), p.metadata.labels.as_ref()));
        let mut slices = self.slices.store().by_index(BY_SERVICE, key.as_str());
        slices.retain(|s| ours(s) && s.metadata.deletion_timestamp.is_none());
        let zones = |node: &str| {
            let node = self.nodes.store().get(&Key::new("", node))?;
            let zone =
                node.metadata.labels.as_ref().and_then(|l| l.get("topology.kubernetes.io/zone")).cloned();
            Some(zone.unwrap_or_default())
        };
        let shares = if hints::wants_topology(&service) {
            let count = || hints::shares(&self.nodes.store().list());
            self.shares.lock().get_or_insert_with(count).clone()
        } else {
            hints::Shares::new()
        };
        let plan = plan::plan(&plan::Snapshot {
            service: &service,
            pods: &pods,
            slices: &slices,
            zones: &zones,
            shares: &shares,
            max: self.max,
        });
        self.tell(key, &service, &plan.told);
        let trigger = if plan.is_empty() { None } else { self.trigger(key, &service, &pods) };
        for effect in plan.effects(trigger) {
            match self.executor.apply(key, &effect).await {
                Err(error) if crate::workloads::replicaset::namespace_terminating(&error) => break,
                Err(error)
                    if error.is_not_found() && matches!(effect, gantry_reconcile::Effect::Delete { .. }) => {}
                other => drop(other?),
            }
        }
        Ok(Next::Done)
    }
}
