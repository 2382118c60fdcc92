//! The resource quota controller: counts what is used of quotas, and gives back what is used no longer.
//!
//! Admission takes from a quota before it stores an object; this controller sees the object later. What was taken
//! for objects not seen yet therefore stays taken, whatever is counted ([`ledger`], [`plan`]).

mod counts;
mod ledger;
mod plan;
#[cfg(test)]
mod tests;

use crate::context::{Context, now};
use counts::Counts;
use gantry_client::{Delta, Informer, Key, Queue};
use gantry_machinery::quota::{Item, Measure};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, conditions};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use ledger::Ledger;
use plan::{Snapshot, counted, names, plan};
use std::sync::Arc;
use std::time::Duration;

/// How long until a resource nobody serves is looked for again.
const UNKNOWN: Duration = Duration::from_secs(30);

struct Controller {
    context: Context,
    quotas: Informer<ResourceQuota>,
    pods: Informer<Pod>,
    services: Informer<Service>,
    claims: Informer<PersistentVolumeClaim>,
    counts: Counts,
    ledger: Arc<Ledger>,
    executor: Executor,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("resource_quota_controller_resource_changes");
    let (quotas, pods) = (context.informers.of::<ResourceQuota>(), context.informers.of::<Pod>());
    // Watched from the first quota on that counts them.
    let services = Informer::new(context.client.clone(), Default::default());
    let claims = Informer::new(context.client.clone(), Default::default());
    let ledger = Arc::new(Ledger::new(quotas.clone(), queue.clone()));
    let to = ledger.clone();
    quotas.on(move |delta| to.quota(delta));
    let to = ledger.clone();
    pods.on(move |delta| pod_changed(delta, &to));
    let to = ledger.clone();
    services.on(move |delta: &Delta<Service>| {
        let new = delta.object();
        match delta {
            Delta::Added(_) => {
                to.arrived(namespace(&new.metadata), &Measure::Services, Item::Service(new), now())
            }
            _ => to.changed(namespace(&new.metadata)),
        }
    });
    let to = ledger.clone();
    claims.on(move |delta: &Delta<PersistentVolumeClaim>| {
        let new = delta.object();
        match delta {
            Delta::Added(_) => {
                to.arrived(namespace(&new.metadata), &Measure::Claims, Item::Claim(new), now())
            }
            _ => to.changed(namespace(&new.metadata)),
        }
    });
    let barrier = Barrier::default();
    barrier.track(&quotas);
    let controller = Controller {
        context: context.clone(),
        quotas,
        pods,
        services,
        claims,
        counts: Counts::new(context, ledger.clone()),
        ledger,
        executor: context.executor("resourcequota-controller", barrier.clone()),
    };
    let workers = context.config.args.concurrent_resource_quota_syncs;
    context.run("resourcequota-controller", workers, controller, queue, barrier);
}

fn namespace(meta: &kube::api::ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or("")
}

/// Tells of a pod that came, went, or may cost something else now.
fn pod_changed(delta: &Delta<Pod>, ledger: &Ledger) {
    let pod = delta.object();
    let matters = delta.is_deleted()
        || delta.old().is_some_and(|old| {
            conditions::is_terminal(old) != conditions::is_terminal(pod)
                || old.metadata.deletion_timestamp != pod.metadata.deletion_timestamp
                || old.metadata.generation != pod.metadata.generation
                || resources(old) != resources(pod)
        });
    match delta {
        Delta::Added(_) => ledger.arrived(namespace(&pod.metadata), &Measure::Pods, Item::Pod(pod), now()),
        _ if matters => ledger.changed(namespace(&pod.metadata)),
        _ => {}
    }
}

/// What the pod's containers were given.
fn resources(pod: &Pod) -> impl PartialEq + '_ {
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    statuses.map(|s| (&s.resources, &s.allocated_resources)).collect::<Vec<_>>()
}

impl Controller {
    /// What the informer holds of a namespace, once it does; it is started here.
    fn held<K: gantry_client::informer::Kind>(
        &self,
        informer: &Informer<K>,
        wanted: bool,
        namespace: &str,
    ) -> Option<Vec<Arc<K>>> {
        if wanted {
            informer.start(&self.context.stop);
        }
        informer.has_synced().then(|| informer.store().list_namespace(namespace))
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(quota) = self.quotas.store().get(key) else {
            self.executor.barrier().forget(key);
            self.ledger.forget(key);
            return Ok(Next::Done);
        };
        let measured = |measure: Measure| names(&quota).any(|n| measure.covers(n));
        let (services, claims) = (measured(Measure::Services), measured(Measure::Claims));
        let (recent, wait) = self.ledger.unseen(key);
        let mut waits: Vec<Duration> = wait.into_iter().map(|w| w + Duration::from_millis(50)).collect();
        let mut snapshot = Snapshot {
            recent,
            pods: self.pods.store().list_namespace(key.namespace()),
            services: self.held(&self.services, services, key.namespace()),
            claims: self.held(&self.claims, claims, key.namespace()),
            ..Snapshot::default()
        };
        if (services && snapshot.services.is_none()) || (claims && snapshot.claims.is_none()) {
            // An empty resource tells of no change when it is all there.
            waits.push(Duration::from_millis(200));
        }
        for resource in names(&quota).filter_map(counted) {
            match self.counts.of(&resource, key.namespace()).await? {
                Some(count) => _ = snapshot.counts.insert(resource, count),
                None => waits.push(UNKNOWN),
            }
        }
        let at = now();
        let plan = plan(&quota, &snapshot, at);
        if let Some(status) = plan.status {
            let updated = ResourceQuota { status: Some(status), ..(*quota).clone() };
            self.executor.apply(key, &Effect::update_status(&updated)).await?;
        }
        let overdue = plan.due.map(|due| Duration::try_from(due.duration_since(at)).unwrap_or_default());
        waits.extend(overdue.map(|wait| wait + Duration::from_secs(1)));
        let anew = self.context.config.args.resource_quota_sync_period;
        waits.extend((!anew.is_zero()).then_some(anew));
        Ok(waits.into_iter().min().map_or(Next::Done, Next::After))
    }
}
