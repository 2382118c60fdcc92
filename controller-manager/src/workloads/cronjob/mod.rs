//! The CronJob controller's shell.

mod plan;
mod schedule;
#[cfg(test)]
mod tests;

use super::pod_control::{failure, namespace_terminating};
use crate::context::{BY_CONTROLLER, Context, owner_index};
use gantry_client::error::{self, ApiError};
use gantry_client::events::reference;
use gantry_client::{Delta, EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::effect::Target;
use gantry_reconcile::{Barrier, Effect, Executor, Next, Propagation, Reconcile, Written, ownership};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;
use plan::Run;
use prometheus::{Histogram, exponential_buckets, register_histogram};
use std::sync::LazyLock;

/// How late runs begin. A process has one; `None` where the name is taken already by someone else.
static SKEW: LazyLock<Option<Histogram>> = LazyLock::new(|| {
    let name = "cronjob_controller_job_creation_skew_duration_seconds";
    let buckets = exponential_buckets(1.0, 2.0, 10).ok()?;
    register_histogram!(name, "How long after its time a run's job was created", buckets).ok()
});

struct Controller {
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
    executor: Executor,
    recorder: Recorder,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("cronjob");
    let (crons, jobs) = (context.informers.of::<CronJob>(), context.informers.of::<Job>());
    jobs.index(BY_CONTROLLER, |job| vec![owner_index(&job.metadata)]);
    let to = queue.clone();
    crons.on(move |delta| cron_changed(&to, delta));
    let to = queue.clone();
    jobs.on(move |delta| {
        for job in [Some(delta.object()), delta.old()].into_iter().flatten() {
            if let Some(owner) = ownership::controller_of(&job.metadata).filter(|o| o.kind == "CronJob") {
                to.add(Key::new(job.metadata.namespace.as_deref().unwrap_or(""), &owner.name));
            }
        }
    });
    let barrier = Barrier::default();
    barrier.track(&crons).track(&jobs);
    let controller = Controller {
        crons,
        jobs,
        executor: context.executor("cronjob-controller", barrier.clone()),
        recorder: context.recorder("cronjob-controller", "cronjob-controller"),
    };
    let workers = context.config.args.concurrent_cron_job_syncs;
    context.run("cronjob-controller", workers, controller, queue, barrier);
}

fn cron_changed(queue: &Queue<Key>, delta: &Delta<CronJob>) {
    let new = delta.object();
    let when = |cron: &CronJob| (cron.spec.schedule.clone(), cron.spec.time_zone.clone());
    let pause = match delta.old() {
        Some(old) if when(old) != when(new) => plan::pause(new, Timestamp::now()),
        _ => None,
    };
    match pause {
        Some(pause) => queue.add_after(Key::of(&**new), pause),
        None => queue.add(Key::of(&**new)),
    }
}

impl Controller {
    /// Deletes a job of the cron job's; whether it is off the active list.
    async fn delete(&self, key: &Key, cron: &mut CronJob, name: &str, uid: Option<&str>) -> bool {
        let effect = Effect::Delete {
            target: Target::of::<Job>(key.namespace(), name),
            uid: uid.map(str::to_owned),
            resource_version: None,
            propagation: Some(Propagation::Background),
            grace_seconds: None,
        };
        let about = reference(cron);
        match self.executor.apply(key, &effect).await {
            Ok(_) => {
                let message = format!("Deleted job {name}");
                self.recorder.event(&about, EventType::Normal, "SuccessfulDelete", message);
            }
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => {
                let message = format!("Deleted job: {}", error::message(&error));
                self.recorder.event(&about, EventType::Warning, "FailedDelete", message);
                return false;
            }
        }
        plan::forget(cron, uid);
        true
    }

    /// Begins a run and notes it in the status.
    async fn start_run(&self, key: &Key, cron: &mut CronJob, run: Run) -> Result<(), kube::Error> {
        for job in run.replace {
            let name = job.name.as_deref().unwrap_or("");
            if !self.delete(key, cron, name, job.uid.as_deref()).await {
                return Err(failure(&format!("could not replace job {}/{name}", key.namespace())));
            }
        }
        let about = reference(cron);
        let made = match self.executor.apply(key, &Effect::create(&*run.job)).await {
            Ok(made) => {
                if let Some(skew) = &*SKEW {
                    skew.observe(Timestamp::now().duration_since(run.at).as_secs_f64());
                }
                let message = format!("Created job {}", made.name);
                self.recorder.event(&about, EventType::Normal, "SuccessfulCreate", message);
                made
            }
            // Begun before, and not noted: a crash came between.
            Err(error) if error.is_already_exists() => {
                let api: Api<Job> = Api::namespaced(self.executor.client().clone(), key.namespace());
                let meta = api.get(run.job.metadata.name.as_deref().unwrap_or("")).await?.metadata;
                let ours = ownership::is_controlled_by(&meta, cron.metadata.uid.as_deref());
                if !ours || plan::is_active(cron, |j| j.uid == meta.uid) {
                    return Ok(());
                }
                Written {
                    name: meta.name.unwrap_or_default(),
                    uid: meta.uid.unwrap_or_default(),
                    resource_version: meta.resource_version.unwrap_or_default(),
                }
            }
            Err(error) => {
                if !namespace_terminating(&error) {
                    let message = format!("Error creating job: {}", error::message(&error));
                    self.recorder.event(&about, EventType::Warning, "FailedCreate", message);
                }
                return Err(error);
            }
        };
        let reference = ObjectReference {
            api_version: Some("batch/v1".into()),
            kind: Some("Job".into()),
            namespace: Some(key.namespace().into()),
            name: Some(made.name),
            uid: Some(made.uid),
            resource_version: Some(made.resource_version),
            field_path: None,
        };
        plan::remember(cron, reference, run.at);
        Ok(())
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(known) = self.crons.store().get(key) else {
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        let mut cron = CronJob::clone(&known);
        let jobs = self.jobs.store().by_index(BY_CONTROLLER, cron.metadata.uid.as_deref().unwrap_or(""));
        for job in plan::surplus(&cron, &jobs) {
            let name = job.metadata.name.as_deref().unwrap_or("");
            self.delete(key, &mut cron, name, job.metadata.uid.as_deref()).await;
        }
        let exists = |name: &str| self.jobs.store().get(&Key::new(key.namespace(), name)).is_some();
        let mut plan = plan::plan(cron, &jobs, exists, Timestamp::now());
        let about = reference(&plan.cron);
        for (kind, reason, message) in plan.events {
            self.recorder.event(&about, kind, reason, message);
        }
        let begun = match plan.run {
            Some(run) => self.start_run(key, &mut plan.cron, run).await,
            None => Ok(()),
        };
        if plan.cron.status != known.status {
            self.executor.apply(key, &Effect::update_status(&plan.cron)).await?;
        }
        begun?;
        Ok(plan.next.map_or(Next::Done, Next::After))
    }
}
