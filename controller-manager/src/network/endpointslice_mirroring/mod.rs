//! The EndpointSlice mirroring controller: `Endpoints` that people make for services without a selector are
//! copied into slices, which is what kube-proxy reads.

mod plan;
#[cfg(test)]
mod tests;

use super::endpointslice::{selector_of, service_of};
use crate::context::Context;
use gantry_client::events::reference;
use gantry_client::{EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::sync::Arc;

const ACCOUNT: &str = "endpointslicemirroring-controller";
const BY_SERVICE: &str = "service";

struct Controller {
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Informer<EndpointSlice>,
    executor: Executor,
    recorder: Recorder,
    most: usize,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("endpoint_slice_mirroring");
    let informers = &context.informers;
    let (services, endpoints, slices) =
        (informers.of::<Service>(), informers.of::<Endpoints>(), informers.of::<EndpointSlice>());
    slices.index(BY_SERVICE, |slice| service_of(slice).map(|k| k.to_string()).into_iter().collect());
    let to = queue.clone();
    services.on(move |delta| {
        let changed =
            delta.old().is_none_or(|old| selector_of(old).is_some() != selector_of(delta.object()).is_some());
        if changed {
            to.add(Key::of(&**delta.object()));
        }
    });
    let to = queue.clone();
    endpoints.on(move |delta| {
        let worth = |e: &Endpoints| plan::should_mirror(e);
        if worth(delta.object()) || delta.old().is_some_and(|old| worth(old)) {
            to.add(Key::of(&**delta.object()));
        }
    });
    let batch = context.config.args.mirroring_endpointslice_updates_batch_period;
    let to = queue.clone();
    slices.on(move |delta| {
        for slice in [Some(delta.object()), delta.old()].into_iter().flatten().filter(|s| plan::ours(s)) {
            if let Some(service) = service_of(slice) {
                to.add_after(service, batch);
            }
        }
    });
    let barrier = Barrier::default();
    barrier.track(&slices);
    let controller = Controller {
        services,
        endpoints,
        slices,
        executor: context.executor(ACCOUNT, barrier.clone()),
        recorder: context.recorder(ACCOUNT, "endpoint-slice-mirroring-controller"),
        most: context.config.args.mirroring_max_endpoints_per_subset.clamp(1, 1000),
    };
    let workers = context.config.args.mirroring_concurrent_service_endpoint_syncs;
    context.run("endpointslice-mirroring-controller", workers, controller, queue, barrier);
}

impl Controller {
    /// The endpoints to copy: of a service that has no selector.
    fn wanted(&self, key: &Key) -> Option<Arc<Endpoints>> {
        let endpoints = self.endpoints.store().get(key).filter(|e| plan::should_mirror(e))?;
        let service = self.services.store().get(key)?;
        selector_of(&service).is_none().then_some(endpoints)
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let mut slices = self.slices.store().by_index(BY_SERVICE, key.as_str());
        slices.retain(|s| plan::ours(s));
        let Some(endpoints) = self.wanted(key) else {
            for slice in &slices {
                self.executor.delete(key, &Effect::delete(&**slice)).await?;
            }
            return Ok(Next::Done);
        };
        let plan = plan::plan(&endpoints, &slices, self.most);
        if plan.invalid > 0 {
            let why =
                format!("Skipped {} invalid IP addresses when mirroring to EndpointSlices", plan.invalid);
            self.recorder.event(&reference(&*endpoints), EventType::Warning, "InvalidIPAddress", why);
        }
        if plan.skipped > 0 {
            let why = format!(
                "A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                self.most,
                plan.skipped + plan.invalid
            );
            self.recorder.event(&reference(&*endpoints), EventType::Warning, "TooManyAddressesToMirror", why);
        }
        for effect in &plan.effects {
            match self.executor.apply(key, effect).await {
                Err(error) if crate::workloads::replicaset::namespace_terminating(&error) => break,
                other => drop(other?),
            }
        }
        Ok(Next::Done)
    }
}
