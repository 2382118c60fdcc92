//! The Endpoints controller: services with a selector have an `Endpoints` of their name beside their slices.

mod plan;
#[cfg(test)]
mod tests;

use super::endpointslice::{pod_changed, selector_of};
use crate::context::Context;
use gantry_client::error::ApiError;
use gantry_client::events::reference;
use gantry_client::{Delta, EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, selector};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const ACCOUNT: &str = "endpoint-controller";

struct Controller {
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
    executor: Executor,
    recorder: Recorder,
    /// What `EndpointsLastChangeTriggerTime` said last, by service.
    triggers: Mutex<HashMap<Key, jiff::Timestamp>>,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("endpoint");
    let informers = &context.informers;
    let (services, pods, endpoints) =
        (informers.of::<Service>(), context.pods(), informers.of::<Endpoints>());
    let to = queue.clone();
    services.on(move |delta| to.add(Key::of(&**delta.object())));
    let (to, known) = (queue.clone(), services.clone());
    let batch = context.config.args.endpoint_updates_batch_period;
    pods.on(move |delta| pod_changed(&to, &known, batch, delta));
    // What was left behind while nobody looked is seen once, at the start.
    let began = Arc::new(AtomicBool::new(false));
    let (to, begun) = (queue.clone(), began.clone());
    endpoints.on(move |delta| match delta {
        Delta::Added(left) if !begun.load(Ordering::Acquire) && !plan::elects(left) => {
            to.add(Key::of(&**left))
        }
        Delta::Added(_) => {}
        Delta::Deleted(gone) => to.add(Key::of(&**gone)),
        Delta::Modified { new, .. } => to.add(Key::of(&**new)),
    });
    let everything = informers.clone();
    context.tasks.spawn({
        let stop = context.stop.clone();
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = everything.synced() => began.store(true, Ordering::Release),
            }
        }
    });
    let barrier = Barrier::default();
    barrier.track(&endpoints);
    let controller = Controller {
        services,
        pods,
        endpoints,
        executor: context.executor(ACCOUNT, barrier.clone()),
        recorder: context.recorder(ACCOUNT, ACCOUNT),
        triggers: Mutex::default(),
    };
    let workers = context.config.args.concurrent_endpoint_syncs;
    context.run("endpoints-controller", workers, controller, queue, barrier);
}

impl Controller {
    /// The newest change among the service and its pods, where it is newer than the last one told.
    fn trigger(&self, key: &Key, service: &Service, pods: &[Arc<Pod>]) -> Option<jiff::Timestamp> {
        let ready = |p: &Arc<Pod>| {
            Some(gantry_reconcile::conditions::of(p, "Ready")?.last_transition_time.as_ref()?.0)
        };
        let created = service.metadata.creation_timestamp.as_ref().map(|t| t.0);
        let newest = pods.iter().filter_map(ready).chain(created).max()?;
        let last = self.triggers.lock().insert(key.clone(), newest);
        last.is_none_or(|l| newest > l).then_some(newest)
    }

    /// The service went: so do its endpoints, whoever made them.
    async fn remove(&self, key: &Key) -> Result<(), kube::Error> {
        self.triggers.lock().remove(key);
        match self.endpoints.store().get(key).filter(|e| !plan::elects(e)) {
            Some(left) => self.executor.delete(key, &Effect::delete(&*left)).await,
            None => Ok(()),
        }
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(service) = self.services.store().get(key) else {
            self.remove(key).await?;
            return Ok(Next::Done);
        };
        if service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("ExternalName") {
            return Ok(Next::Done);
        }
        let Some(wanted) = selector_of(&service) else { return Ok(Next::Done) };
        let mut pods = self.pods.store().list_namespace(key.namespace());
        let empty = std::collections::BTreeMap::new();
        pods.retain(|p| selector::subset(wanted, p.metadata.labels.as_ref().unwrap_or(&empty)));
        let present = self.endpoints.store().get(key);
        let Some(mut changed) = plan::plan(&service, &pods, present.as_deref()) else {
            return Ok(Next::Done);
        };
        plan::stamp(&mut changed, self.trigger(key, &service, &pods));
        let (effect, doing) = match &present {
            None => (Effect::create(&changed), ("FailedToCreateEndpoint", "create endpoint for service")),
            Some(_) => (Effect::update(&changed), ("FailedToUpdateEndpoint", "update endpoint")),
        };
        match self.executor.apply(key, &effect).await {
            Err(error) if crate::workloads::replicaset::namespace_terminating(&error) => Ok(Next::Done),
            Err(error) => {
                if !error.is_conflict() {
                    let why = format!("Failed to {} {key}: {error}", doing.1);
                    self.recorder.event(&reference(&changed), EventType::Warning, doing.0, why);
                }
                Err(error)
            }
            Ok(_) => Ok(Next::Done),
        }
    }
}
