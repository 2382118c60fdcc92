//! The Job controller's shell.

mod backoff;
mod index;
mod metrics;
mod orphans;
mod plan;
mod pods;
mod policy;
mod removal;
pub(crate) mod spec;
#[cfg(test)]
mod tests;
mod track;

use super::pod_control::{may_adopt, namespace_terminating};
use crate::context::{BY_CONTROLLER, Context, now};
use backoff::Record;
use futures::future::join_all;
use gantry_client::error::{self, ApiError};
use gantry_client::events::reference;
use gantry_client::{Delta, EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile, conditions, ownership, selector};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use orphans::{Orphans, is_orphan, job_of};
use parking_lot::Mutex;
use plan::{Assessment, Manage, Snapshot};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use track::Outcome;

struct Controller {
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    executor: Executor,
    recorder: Recorder,
    /// By job: its uid and its failures in a row.
    backoffs: Mutex<HashMap<Key, (String, Record)>>,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let (queue, stray) = (Queue::new("job"), Queue::new("job_orphan_pod"));
    let (jobs, pods) = (context.informers.of::<Job>(), context.pods());
    let (to, strays, known) = (queue.clone(), stray.clone(), pods.clone());
    jobs.on(move |delta| job_changed(&to, &strays, &known, delta));
    let (to, strays, known) = (queue.clone(), stray.clone(), jobs.clone());
    pods.on(move |delta| pod_changed(&to, &strays, &known, delta));
    let barrier = Barrier::default();
    barrier.track(&pods);
    let orphans = Orphans {
        jobs: jobs.clone(),
        pods: pods.clone(),
        executor: context.executor("job-controller", barrier.clone()),
    };
    let workers = context.config.args.concurrent_job_syncs;
    context.run("job-controller", workers, orphans, stray, barrier);
    let barrier = Barrier::default();
    barrier.track(&jobs).track(&pods);
    let controller = Controller {
        jobs,
        pods,
        executor: context.executor("job-controller", barrier.clone()),
        recorder: context.recorder("job-controller", "job-controller"),
        backoffs: Mutex::default(),
    };
    context.run("job-controller", workers, controller, queue, barrier);
}

/// How long to gather changes of pods before they are looked at together: a job of many pods would else be
/// written once for each.
fn gather(job: &Job) -> Duration {
    let many = job.spec.as_ref().is_some_and(|s| spec::Spec(s).parallelism() > 10);
    if many { Duration::from_secs(1) } else { Duration::from_millis(100) }
}

fn job_changed(queue: &Queue<Key>, strays: &Queue<Key>, pods: &Informer<Pod>, delta: &Delta<Job>) {
    let job = delta.object();
    let over = delta.is_deleted() || spec::finished(job).is_some();
    if over {
        // No pod should have its finalizer left; the queue of strays looks again.
        for pod in pods.store().by_index(BY_CONTROLLER, job.metadata.uid.as_deref().unwrap_or("")) {
            if spec::has_finalizer(&pod) {
                strays.add(Key::of(&*pod));
            }
        }
    }
    match delta.old() {
        // Its status was written, most likely by us.
        Some(old) if !over && old.metadata.generation == job.metadata.generation => {
            queue.add_after(Key::of(&**job), gather(job));
        }
        _ => queue.add(Key::of(&**job)),
    }
}

/// Queues the jobs a changed pod matters to: its controller, before and after; for an orphan, all that match.
fn pod_changed(queue: &Queue<Key>, strays: &Queue<Key>, jobs: &Informer<Job>, delta: &Delta<Pod>) {
    let new = delta.object();
    for pod in [Some(new), delta.old()].into_iter().flatten() {
        if let Some(job) = job_of(jobs, &pod.metadata).filter(|job| spec::finished(job).is_none()) {
            queue.add_after(Key::of(&*job), gather(&job));
        }
    }
    if delta.is_deleted() {
        return;
    }
    if is_orphan(new, job_of(jobs, &new.metadata).as_deref()) {
        strays.add(Key::of(&**new));
    }
    if ownership::controller_of(&new.metadata).is_some() {
        return;
    }
    for job in jobs.store().list_namespace(new.metadata.namespace.as_deref().unwrap_or("")) {
        let wanted = job.spec.as_ref().and_then(|s| s.selector.as_ref());
        if spec::finished(&job).is_none() && selector::matches(wanted, new.metadata.labels.as_ref()) {
            queue.add_after(Key::of(&*job), gather(&job));
        }
    }
}

impl Controller {
    /// The pods that are the job's, adoptions and releases made.
    async fn claim(&self, key: &Key, job: &Job) -> Result<Vec<Arc<Pod>>, kube::Error> {
        let uid = job.metadata.uid.as_deref().unwrap_or("");
        let mut candidates = self.pods.store().by_index(BY_CONTROLLER, uid);
        candidates.extend(self.pods.store().by_index(BY_CONTROLLER, &format!("orphan:{}", key.namespace())));
        let wanted = job.spec.as_ref().and_then(|s| s.selector.as_ref());
        let mut claim = ownership::claim(job, wanted, candidates.clone(), |_| true);
        if !claim.adopt.is_empty() {
            may_adopt(&self.executor, job).await?;
        }
        let mut effects = Vec::new();
        for pod in &mut claim.owned {
            if ownership::controller_of(&pod.metadata).is_none() {
                effects.push(pods::adopt(job, pod));
                if !spec::has_finalizer(pod) {
                    let finalizers = &mut Arc::make_mut(pod).metadata.finalizers;
                    finalizers.get_or_insert_default().push(spec::FINALIZER.into());
                }
            }
        }
        for effect in &claim.release {
            let name = &effect.target().name;
            let pod = candidates.iter().find(|p| p.metadata.name.as_ref() == Some(name));
            effects.extend(pod.map(|pod| pods::release(job, pod)));
        }
        for effect in &effects {
            match self.executor.apply(key, effect).await {
                // Gone, or not the pod we meant: nothing to claim.
                Err(error) if error.is_not_found() || error.code() == Some(422) => {}
                other => drop(other?),
            }
        }
        Ok(claim.owned)
    }

    /// Creates or deletes; what came of it, and the first failure.
    async fn manage(&self, key: &Key, job: &Job, seen: &Assessment) -> (Outcome, Option<kube::Error>) {
        match &seen.manage {
            Manage::Keep => (Outcome::default(), None),
            Manage::Delete { pods, release } => self.delete(key, job, pods, *release).await,
            Manage::Create(indexes) => {
                let pod = |index: &Option<_>| {
                    let replaces = index.as_ref().and_then(|i| seen.awaiting.get(i));
                    Effect::create(&pods::pod_of(job, *index, replaces.map(|p| &**p)))
                };
                let effects: Vec<_> = indexes.iter().map(pod).collect();
                let about = reference(job);
                let (made, failure) = self.executor.slow_start(key, &effects).await;
                for pod in &made {
                    let message = format!("Created pod: {}", pod.name);
                    self.recorder.event(&about, EventType::Normal, "SuccessfulCreate", message);
                }
                let failure = failure.filter(|e| !namespace_terminating(e));
                if let Some(failure) = &failure {
                    let message = format!("Error creating: {}", error::message(failure));
                    self.recorder.event(&about, EventType::Warning, "FailedCreate", message);
                }
                (Outcome { created: made.len(), ..Outcome::default() }, failure)
            }
        }
    }

    async fn delete(
        &self,
        key: &Key,
        job: &Job,
        pods: &[Arc<Pod>],
        release: bool,
    ) -> (Outcome, Option<kube::Error>) {
        let one = async |pod: &Arc<Pod>| {
            if release && spec::has_finalizer(pod) {
                self.executor.apply(key, &pods::drop_finalizer(pod)).await?;
            }
            self.executor.apply(key, &Effect::delete(&**pod)).await
        };
        let (mut outcome, mut failure) = (Outcome::default(), None);
        let about = reference(job);
        for (pod, result) in pods.iter().zip(join_all(pods.iter().map(one)).await) {
            match result {
                Ok(_) => {
                    let message = format!("Deleted pod: {}", Key::of(&**pod).name());
                    self.recorder.event(&about, EventType::Normal, "SuccessfulDelete", message);
                }
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => {
                    let message = format!("Error deleting: {}", error::message(&error));
                    self.recorder.event(&about, EventType::Warning, "FailedDelete", message);
                    failure = failure.or(Some(error));
                    continue;
                }
            }
            outcome.deleted += 1;
            outcome.deleted_ready += usize::from(conditions::is_ready(pod));
        }
        (outcome, failure)
    }

    async fn write_status(&self, key: &Key, job: &mut Job, status: JobStatus) -> Result<(), kube::Error> {
        let before = job.status.replace(status.clone());
        let written = self.executor.apply(key, &Effect::update_status(job)).await?;
        job.metadata.resource_version = Some(written.resource_version);
        metrics::counted(job, before.as_ref(), &status);
        Ok(())
    }

    /// Counts what ended: status, finalizers, status.
    async fn count(
        &self,
        key: &Key,
        snapshot: &Snapshot,
        seen: Assessment,
        outcome: Outcome,
    ) -> Result<(), kube::Error> {
        let record = seen.backoff;
        let mut tracking = track::track(snapshot, seen, outcome, now());
        let mut job = Job::clone(&snapshot.job);
        let about = reference(&job);
        for (kind, reason, message) in std::mem::take(&mut tracking.events) {
            self.recorder.event(&about, kind, &reason, message);
        }
        if std::mem::take(&mut tracking.flush) {
            self.write_status(key, &mut job, tracking.status.clone()).await?;
            let uid = job.metadata.uid.clone().unwrap_or_default();
            self.backoffs.lock().insert(key.clone(), (uid, record));
        }
        let effects: Vec<_> = tracking.strip.iter().map(|p| pods::drop_finalizer(p)).collect();
        let results = self.executor.concurrently(key, &effects).await;
        let (mut stripped, mut failure) = (Vec::new(), None);
        for (pod, result) in tracking.strip.clone().iter().zip(results) {
            match result {
                Err(error) if !error.is_not_found() => failure = Some(error),
                _ => stripped.push(pod.metadata.uid.clone().unwrap_or_default()),
            }
        }
        let stripped: Vec<_> = stripped.iter().map(String::as_str).collect();
        let completions = job.spec.as_ref().and_then(|s| s.completions);
        let events = tracking.conclude(&stripped, completions, failure.is_none(), now());
        if tracking.flush {
            self.write_status(key, &mut job, tracking.status).await?;
        }
        if let Some(last) = spec::finished(&job) {
            metrics::ended(&job, last);
        }
        for (kind, reason, message) in events {
            self.recorder.event(&about, kind, &reason, message);
        }
        failure.map_or(Ok(()), Err)
    }

    /// Observes, decides and applies; notes in `action` what was done about the number of pods.
    async fn look(&self, key: &Key, job: Arc<Job>, action: &mut &'static str) -> Result<Next, kube::Error> {
        let pods = self.claim(key, &job).await?;
        let known = self.backoffs.lock().get(key).cloned();
        let backoff = known
            .filter(|(uid, _)| Some(uid) == job.metadata.uid.as_ref())
            .map(|(_, record)| record)
            .unwrap_or_default();
        let snapshot = Snapshot { job, pods, backoff };
        let Some(seen) = plan::assess(&snapshot, now()) else { return Ok(Next::Done) };
        let next = seen.next;
        *action = metrics::action(seen.managed, &seen.manage);
        let (outcome, failure) = self.manage(key, &snapshot.job, &seen).await;
        self.count(key, &snapshot, seen, outcome).await?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        Ok(next.map_or(Next::Done, Next::After))
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let job = self.jobs.store().get(key);
        let Some(job) = job.filter(|j| spec::managed_elsewhere(j).is_none() && spec::finished(j).is_none())
        else {
            self.executor.barrier().forget(key);
            self.backoffs.lock().remove(key);
            return Ok(Next::Done);
        };
        let mode = job.spec.as_ref().and_then(|s| s.completion_mode.as_deref());
        if mode.is_some_and(|m| m != "NonIndexed" && m != "Indexed") {
            let message = "Skipped Job sync because completion mode is unknown";
            self.recorder.event(&reference(&*job), EventType::Warning, "UnknownCompletionMode", message);
            return Ok(Next::Done);
        }
        let begun = Instant::now();
        let mut action = "reconciling";
        let result = self.look(key, job.clone(), &mut action).await;
        metrics::synced(&job, action, result.is_ok(), begun.elapsed());
        result
    }
}
