//! What every owner of pods does the same way: claiming, creating and deleting, with upstream's events.

use gantry_client::error::{self, ApiError};
use gantry_client::events::reference;
use gantry_client::{EventType, Key, Recorder};
use gantry_reconcile::{Effect, Executor, ownership, selector};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

/// An owner of pods.
pub(super) trait Owner:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
}

impl<O> Owner for O where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
}

/// A failure of our own making: the key comes back later.
pub(super) fn failure(message: &str) -> kube::Error {
    kube::Error::Api(kube::core::Status::failure(message, "Failed").boxed())
}

/// Whether a creation failed because its namespace is going.
pub(crate) fn namespace_terminating(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.details.as_ref().is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating")))
}

/// Reads the owner anew: it may adopt only while it is the same and not going.
///
/// # Errors
/// Where it is another one or going, and any refusal.
pub(super) async fn may_adopt<O: Owner>(executor: &Executor, owner: &O) -> Result<(), kube::Error> {
    let meta = owner.meta();
    let (kind, name) = (O::kind(&()), meta.name.as_deref().unwrap_or(""));
    let namespace = meta.namespace.as_deref().unwrap_or("");
    let live = Api::<O>::namespaced(executor.client().clone(), namespace).get(name).await?;
    if live.meta().uid != meta.uid {
        let found = live.meta().uid.as_deref().unwrap_or("");
        let wanted = meta.uid.as_deref().unwrap_or("");
        return Err(failure(&format!(
            "original {kind} {namespace}/{name} is gone: got uid {found}, wanted {wanted}"
        )));
    }
    match &live.meta().deletion_timestamp {
        Some(at) => Err(failure(&format!("{namespace}/{name} has just been deleted at {}", at.0))),
        None => Ok(()),
    }
}

/// The candidates that are the owner's, adoptions and releases made.
///
/// # Errors
/// Any refusal but that a candidate is gone.
pub(super) async fn claim<O: Owner, C: Resource<DynamicType = ()>>(
    executor: &Executor,
    key: &Key,
    owner: &O,
    candidates: Vec<Arc<C>>,
    mine: impl Fn(&C) -> bool,
) -> Result<Vec<Arc<C>>, kube::Error> {
    let mut claim = ownership::claim_where(owner, candidates, mine);
    if !claim.adopt.is_empty() {
        may_adopt(executor, owner).await?;
    }
    for effect in &claim.adopt {
        match executor.apply(key, effect).await {
            // Gone, or another of its name: nothing to adopt.
            Err(error) if error.is_not_found() || error.code() == Some(422) => {
                let name = &effect.target().name;
                claim.owned.retain(|c| c.meta().name.as_ref() != Some(name));
            }
            other => drop(other?),
        }
    }
    for effect in &claim.release {
        match executor.apply(key, effect).await {
            Err(error) if error.is_not_found() || error.code() == Some(422) => {}
            other => drop(other?),
        }
    }
    Ok(claim.owned)
}

/// [`claim`] by a label selector.
///
/// # Errors
/// As [`claim`].
pub(super) async fn claim_selected<O: Owner, C: Resource<DynamicType = ()>>(
    executor: &Executor,
    key: &Key,
    owner: &O,
    wanted: Option<&LabelSelector>,
    candidates: Vec<Arc<C>>,
) -> Result<Vec<Arc<C>>, kube::Error> {
    claim(executor, key, owner, candidates, |c| selector::matches(wanted, c.meta().labels.as_ref())).await
}

/// Creates and deletes pods and says so. Lives as long as one reconciliation.
pub(super) struct PodControl<'a> {
    executor: &'a Executor,
    recorder: &'a Recorder,
    key: &'a Key,
    about: ObjectReference,
}

impl<'a> PodControl<'a> {
    pub(super) fn new<O: Owner>(
        executor: &'a Executor,
        recorder: &'a Recorder,
        key: &'a Key,
        owner: &O,
    ) -> Self {
        Self { executor, recorder, key, about: reference(owner) }
    }

    pub(super) fn event(&self, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(&self.about, kind, reason, message);
    }

    /// Creates in growing batches; the words of the first failure. A namespace on its way out is none.
    pub(super) async fn create(&self, pods: &[Effect]) -> Option<String> {
        let (made, failure) = self.executor.slow_start(self.key, pods).await;
        for pod in made {
            self.event(EventType::Normal, "SuccessfulCreate", format!("Created pod: {}", pod.name));
        }
        let words = error::message(&failure.filter(|e| !namespace_terminating(e))?);
        self.event(EventType::Warning, "FailedCreate", format!("Error creating: {words}"));
        Some(words)
    }

    /// Deletes all at once; the words of the last failure. One that is gone, or another of its name, is none.
    pub(super) async fn delete(&self, pods: &[Arc<Pod>]) -> Option<String> {
        let effects: Vec<_> = pods.iter().map(|p| Effect::delete(&**p)).collect();
        let mut failure = None;
        for (effect, result) in effects.iter().zip(self.executor.concurrently(self.key, &effects).await) {
            match result {
                Ok(_) => {
                    let message = format!("Deleted pod: {}", effect.target().name);
                    self.event(EventType::Normal, "SuccessfulDelete", message);
                }
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => {
                    let words = error::message(&error);
                    self.event(EventType::Warning, "FailedDelete", format!("Error deleting: {words}"));
                    failure = Some(format!("unable to delete pods: {words}"));
                }
            }
        }
        failure
    }
}
