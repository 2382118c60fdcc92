//! Carries out a stateful set's plan, with upstream's events.

use super::identity;
use super::plan::{Act, ClaimStep, OwnerStep, Phase, Task};
use crate::workloads::pod_control::failure;
use futures::future::join_all;
use gantry_client::error::{self, ApiError};
use gantry_client::events::reference;
use gantry_client::{EventType, Key, Recorder};
use gantry_reconcile::{Effect, Executor, PatchKind};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim, Pod, Volume};
use serde::Serialize;
use std::collections::BTreeMap;

/// No more than this many pods at a time.
const BATCH: usize = 500;

/// One reconciliation's hand.
pub(super) struct Hand<'a> {
    pub executor: &'a Executor,
    pub recorder: &'a Recorder,
    pub key: &'a Key,
    pub set: &'a StatefulSet,
    about: ObjectReference,
}

#[derive(Serialize)]
struct PodPatch {
    metadata: MetaPatch,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<SpecPatch>,
}

#[derive(Serialize)]
struct MetaPatch {
    uid: Option<String>,
    labels: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct SpecPatch {
    volumes: Vec<Volume>,
}

impl<'a> Hand<'a> {
    pub(super) fn new(
        executor: &'a Executor,
        recorder: &'a Recorder,
        key: &'a Key,
        set: &'a StatefulSet,
    ) -> Self {
        Self { executor, recorder, key, set, about: reference(set) }
    }

    /// Does one phase after the other; how many pods went for an update, and the failure that ended it.
    pub(super) async fn run(&self, phases: &[Phase]) -> (usize, Result<(), kube::Error>) {
        let mut rolled = 0;
        for phase in phases {
            let mut rest = phase.tasks.as_slice();
            let mut size = 1;
            while !rest.is_empty() {
                let (batch, after) = rest.split_at(size.min(rest.len()));
                let mut problem = None;
                for result in join_all(batch.iter().map(|task| self.task(task))).await {
                    match result {
                        Ok(()) => rolled += usize::from(phase.rolling),
                        Err(error) => problem = problem.or(Some(error)),
                    }
                }
                if let Some(error) = problem {
                    return (rolled, Err(error));
                }
                rest = after;
                size = if phase.burst { (size * 2).min(BATCH) } else { 1 };
            }
        }
        (rolled, Ok(()))
    }

    async fn task(&self, task: &Task) -> Result<(), kube::Error> {
        match &task.act {
            Act::None => {
                self.make_claims(task).await?;
                self.settle(task).await
            }
            Act::Create(pod) => self.create(task, pod).await,
            Act::Mend { pod, storage } => {
                let result = self.mend(task, pod, *storage).await;
                self.tell("Update", &task.pod, result)
            }
            Act::Delete(pod) => {
                let result = self.executor.delete(self.key, &Effect::delete(&**pod)).await;
                self.tell("Delete", &task.pod, result)
            }
        }
    }

    async fn create(&self, task: &Task, pod: &Pod) -> Result<(), kube::Error> {
        if let Err(error) = self.make_claims(task).await {
            return self.tell("Create", &task.pod, Err(error));
        }
        let result = self.executor.apply(self.key, &Effect::create(pod)).await.map(drop);
        if result.as_ref().is_err_and(ApiError::is_already_exists) {
            return result;
        }
        self.settle(task).await?;
        self.tell("Create", &task.pod, result)
    }

    async fn mend(&self, task: &Task, pod: &Pod, storage: bool) -> Result<(), kube::Error> {
        self.make_claims(task).await?;
        self.settle_quietly(task).await?;
        let labels = BTreeMap::from([
            (identity::POD_NAME, task.pod.clone()),
            (identity::POD_INDEX, task.ordinal.to_string()),
        ]);
        let patch = PodPatch {
            metadata: MetaPatch { uid: pod.metadata.uid.clone(), labels },
            spec: storage.then(|| SpecPatch { volumes: identity::volumes(self.set, task.ordinal) }),
        };
        let effect = Effect::patch::<Pod>(self.key.namespace(), &task.pod, PatchKind::Strategic, &patch);
        self.executor.apply(self.key, &effect).await.map(drop)
    }

    /// Says how an act on a pod went, and passes the result on.
    fn tell(&self, verb: &str, pod: &str, result: Result<(), kube::Error>) -> Result<(), kube::Error> {
        let set = identity::name(self.set);
        match &result {
            Ok(()) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} successful");
                self.event(EventType::Normal, &format!("Successful{verb}"), message);
            }
            Err(error) => {
                let words = error::message(error);
                let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {words}");
                self.event(EventType::Warning, &format!("Failed{verb}"), message);
            }
        }
        result
    }

    fn event(&self, kind: EventType, reason: &str, message: String) {
        self.recorder.event(&self.about, kind, reason, message);
    }

    /// Makes all the claims that are missing; each failure counts, but keeps no other from being made.
    async fn make_claims(&self, task: &Task) -> Result<(), kube::Error> {
        let mut problems = Vec::new();
        for step in &task.claims {
            let problem = match step {
                ClaimStep::Going(name) => Some(format!("pvc {name} is being deleted")),
                ClaimStep::Create(claim) => self.make_claim(&task.pod, claim).await,
            };
            problems.extend(problem);
        }
        match problems.as_slice() {
            [] => Ok(()),
            [one] => Err(failure(one)),
            all => Err(failure(&format!("[{}]", all.join(", ")))),
        }
    }

    async fn make_claim(&self, pod: &str, claim: &PersistentVolumeClaim) -> Option<String> {
        let (set, name) = (identity::name(self.set), claim.metadata.name.as_deref().unwrap_or(""));
        let error = match self.executor.apply(self.key, &Effect::create(claim)).await {
            Ok(_) => {
                let message = format!("Create Claim {name} Pod {pod} in StatefulSet {set} success");
                self.event(EventType::Normal, "SuccessfulCreate", message);
                return None;
            }
            Err(error) => error,
        };
        let words = error::message(&error);
        if !error.is_already_exists() {
            let message =
                format!("Create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {words}");
            self.event(EventType::Warning, "FailedCreate", message);
        }
        Some(format!("failed to create PVC {name}: {words}"))
    }

    /// Looks after the claims' owners; a failure is told as one of the pod's update.
    async fn settle(&self, task: &Task) -> Result<(), kube::Error> {
        match self.settle_quietly(task).await {
            Ok(()) => Ok(()),
            Err(error) => self.tell("Update", &task.pod, Err(error)),
        }
    }

    async fn settle_quietly(&self, task: &Task) -> Result<(), kube::Error> {
        for OwnerStep { claim, conflicting, update } in &task.owners {
            if *conflicting {
                let message = format!(
                    "PersistentVolumeClaim {claim} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim"
                );
                self.event(EventType::Warning, "ConflictingController", message);
            }
            if let Some(changed) = update
                && let Err(error) = self.executor.apply(self.key, &Effect::update(&**changed)).await
            {
                let words = error::message(&error);
                return Err(failure(&format!(
                    "could not update claim {claim} for delete policy ownerRefs: {words}"
                )));
            }
        }
        Ok(())
    }
}
