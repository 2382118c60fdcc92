//! The ServiceCIDR controller: ranges in use are not deleted, and say whether they are ready.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::{Context, now, time};
use gantry_client::{Delta, Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, PatchKind, Reconcile};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use std::time::Duration;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

struct Controller {
    cidrs: Informer<ServiceCIDR>,
    addresses: Informer<IPAddress>,
    executor: Executor,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("ipaddresses");
    let (cidrs, addresses) = (context.informers.of::<ServiceCIDR>(), context.informers.of::<IPAddress>());
    let (to, known) = (queue.clone(), cidrs.clone());
    cidrs.on(move |delta| {
        to.add(Key::of(&**delta.object()));
        // A new range may hold the addresses another waits to lose.
        if let Delta::Added(new) = delta {
            let all = known.store().list();
            all.iter().filter(|c| plan::overlap(c, new)).for_each(|c| to.add(Key::of(&**c)));
        }
    });
    let (to, known) = (queue.clone(), cidrs.clone());
    addresses.on(move |delta| {
        let Delta::Deleted(gone) = delta else { return };
        let Some(ip) = plan::managed(gone) else { return };
        // Only a range that waits to go cares.
        let all = known.store().list();
        let waiting = all.iter().filter(|c| c.metadata.deletion_timestamp.is_some());
        waiting.filter(|c| plan::contains(c, ip)).for_each(|c| to.add(Key::of(&**c)));
    });
    let barrier = Barrier::default();
    barrier.track(&cidrs);
    let executor = context.executor("service-cidrs-controller", barrier.clone());
    context.run("service-cidr-controller", 5, Controller { cidrs, addresses, executor }, queue, barrier);
}

#[derive(Serialize)]
struct Finalizers {
    metadata: Held,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    finalizers: Vec<&'static str>,
    #[serde(rename = "$deleteFromPrimitiveList/finalizers", skip_serializing_if = "Vec::is_empty")]
    released: Vec<&'static str>,
}

#[derive(Serialize)]
struct Status {
    status: Conditions,
}

#[derive(Serialize)]
struct Conditions {
    conditions: Vec<Condition>,
}

impl Controller {
    async fn finalizers(&self, key: &Key, held: Held) -> Result<(), kube::Error> {
        let patch = Finalizers { metadata: held };
        let effect = Effect::patch::<ServiceCIDR>("", key.name(), PatchKind::Strategic, &patch);
        self.executor.apply(key, &effect).await.map(|_| ())
    }

    async fn ready(&self, key: &Key, cidr: &ServiceCIDR, wanted: &plan::Ready) -> Result<(), kube::Error> {
        if plan::says(cidr, wanted) {
            return Ok(());
        }
        let condition = Condition {
            type_: "Ready".into(),
            status: wanted.status.into(),
            reason: wanted.reason.into(),
            message: wanted.message.into(),
            last_transition_time: time(now()),
            observed_generation: None,
        };
        let patch = Status { status: Conditions { conditions: vec![condition] } };
        let effect = Effect::patch_status::<ServiceCIDR>("", key.name(), PatchKind::Strategic, &patch);
        self.executor.apply(key, &effect).await.map(|_| ())
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(cidr) = self.cidrs.store().get(key) else { return Ok(Next::Done) };
        let all = self.cidrs.store().list();
        let addresses = if cidr.metadata.deletion_timestamp.is_some() {
            self.addresses.store().list()
        } else {
            Vec::new()
        };
        match plan::plan(&cidr, &all, &addresses, now()) {
            plan::Plan::Keep { hold } => {
                if hold {
                    let held = Held { finalizers: vec![FINALIZER], released: Vec::new() };
                    self.finalizers(key, held).await?;
                }
                self.ready(key, &cidr, &plan::READY).await?;
            }
            plan::Plan::InUse => self.ready(key, &cidr, &plan::TERMINATING).await?,
            plan::Plan::Later(wait) => return Ok(Next::After(Duration::from_secs(wait))),
            plan::Plan::Release => {
                self.finalizers(key, Held { finalizers: Vec::new(), released: vec![FINALIZER] }).await?;
            }
            plan::Plan::Nothing => {}
        }
        Ok(Next::Done)
    }
}
