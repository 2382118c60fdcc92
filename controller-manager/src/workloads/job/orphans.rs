//! Pods nobody counts any more: they lose the tracking finalizer, so that they can go.

use super::pods;
use super::spec::{finished, has_finalizer, managed_elsewhere};
use gantry_client::error::ApiError;
use gantry_client::{Informer, Key};
use gantry_reconcile::{Executor, Next, Reconcile, ownership};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectMeta;
use std::sync::Arc;

/// Keys are pods.
pub(super) struct Orphans {
    pub jobs: Informer<Job>,
    pub pods: Informer<Pod>,
    pub executor: Executor,
}

/// The job that is the object's controller, where it is still there.
pub(super) fn job_of(jobs: &Informer<Job>, meta: &ObjectMeta) -> Option<Arc<Job>> {
    let owner = ownership::controller_of(meta).filter(|o| o.kind == "Job")?;
    let key = Key::new(meta.namespace.as_deref().unwrap_or(""), &owner.name);
    jobs.store().get(&key).filter(|job| job.metadata.uid.as_deref() == Some(&owner.uid))
}

/// Whether the pod's finalizer waits for nobody; `job` is the pod's controller, where it is there.
pub(super) fn is_orphan(pod: &Pod, job: Option<&Job>) -> bool {
    let ours = ownership::controller_of(&pod.metadata)
        .is_none_or(|owner| owner.kind == "Job" && owner.api_version == "batch/v1");
    has_finalizer(pod)
        && ours
        && job.is_none_or(|job| managed_elsewhere(job).is_none() && finished(job).is_some())
}

impl Reconcile for Orphans {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(pod) = self.pods.store().get(key) else {
            self.executor.barrier().forget(key);
            return Ok(Next::Done);
        };
        if is_orphan(&pod, job_of(&self.jobs, &pod.metadata).as_deref()) {
            match self.executor.apply(key, &pods::drop_finalizer(&pod)).await {
                Err(error) if error.is_not_found() => {}
                other => drop(other?),
            }
        }
        Ok(Next::Done)
    }
}
