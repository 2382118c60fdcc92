//! The TTL-after-finished controller's shell: finished jobs go when their time is up.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::Context;
use gantry_client::error::ApiError;
use gantry_client::{Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Propagation, Reconcile};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use plan::{Verdict, judge};

struct Controller {
    jobs: Informer<Job>,
    executor: Executor,
}

/// Wires the controller to its informer and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("ttl_jobs_to_delete");
    let jobs = context.informers.of::<Job>();
    let to = queue.clone();
    jobs.on(move |delta| {
        if !delta.is_deleted() && judge(delta.object(), Timestamp::now()) != Verdict::Keep {
            to.add(Key::of(&**delta.object()));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&jobs);
    let controller =
        Controller { jobs, executor: context.executor("ttl-after-finished-controller", barrier.clone()) };
    let workers = context.config.args.concurrent_ttl_after_finished_syncs;
    context.run("ttl-after-finished-controller", workers, controller, queue, barrier);
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(job) = self.jobs.store().get(key) else {
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        match judge(&job, Timestamp::now()) {
            Verdict::Keep => return Ok(Next::Done),
            Verdict::KeepFor(left) => return Ok(Next::After(left)),
            Verdict::Delete => {}
        }
        // Its time may have been prolonged since.
        let api: Api<Job> = Api::namespaced(self.executor.client().clone(), key.namespace());
        let live = match api.get(key.name()).await {
            Err(error) if error.is_not_found() => return Ok(Next::Done),
            other => other?,
        };
        match judge(&live, Timestamp::now()) {
            Verdict::Keep => return Ok(Next::Done),
            Verdict::KeepFor(left) => return Ok(Next::After(left)),
            Verdict::Delete => {}
        }
        let mut effect = Effect::delete(&live);
        if let Effect::Delete { propagation, .. } = &mut effect {
            *propagation = Some(Propagation::Foreground);
        }
        self.executor.delete(key, &effect).await?;
        if let (Some(metrics), Some(due)) = (crate::metrics::get(), plan::expires(&live)) {
            metrics.job_deletion_delays.observe(Timestamp::now().duration_since(due).as_secs_f64());
        }
        Ok(Next::Done)
    }
}
