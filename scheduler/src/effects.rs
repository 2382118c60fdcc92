//! The API writes decisions lead to. Each runs on a task of its own, a bounded number at a time.

use crate::extender::Extenders;
use crate::slots::Slots;
use gantry_client::error::{ApiError, message};
use gantry_client::{Client, EventType, Informer, Key, Recorder};
use gantry_scheduler_core::PodInfo;
use gantry_scheduler_core::framework::Step;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Writes in flight at once.
const WRITES: usize = 64;
/// Writes that begin together.
const HANDFUL: usize = 16;
/// Longest note of an event.
const NOTE: usize = 1024;
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";

/// How an effect ended, told to the loop.
pub enum Done {
    /// `None`: bound. Otherwise why not, and whether the pod still waits.
    Bound { pod: Arc<PodInfo>, failure: Option<Failure> },
    /// All victims have been asked to go, or not.
    Preempted { pod: Arc<PodInfo>, failed: bool },
}

pub struct Failure {
    pub message: String,
    pub gone: bool,
}

impl Failure {
    fn of(error: &kube::Error) -> Self {
        Self { gone: error.code() == Some(404), message: message(error) }
    }

    fn saying(message: String) -> Self {
        Self { message, gone: false }
    }
}

/// What to do about a pod's nomination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    Keep,
    Clear,
    Set(String),
}

#[derive(Clone)]
pub struct Effects {
    client: Client,
    recorder: Recorder,
    claims: Informer<PersistentVolumeClaim>,
    extenders: Extenders,
    slots: Slots,
    turns: Turns,
    done: mpsc::UnboundedSender<Done>,
}

/// The last work asked for each pod that has some: the next waits for it.
#[derive(Clone, Default)]
struct Turns(Arc<Mutex<HashMap<Box<str>, Arc<Notify>>>>);

impl Turns {
    /// What to announce the end of the new work by, and what to wait for before it.
    fn take(&self, uid: &str) -> (Arc<Notify>, Option<Arc<Notify>>) {
        let mine = Arc::new(Notify::new());
        let before = self.0.lock().insert(uid.into(), mine.clone());
        (mine, before)
    }

    fn end(&self, uid: &str, mine: &Arc<Notify>) {
        // One waits, now or soon: the permit is kept for it.
        mine.notify_one();
        let mut last = self.0.lock();
        if last.get(uid).is_some_and(|l| Arc::ptr_eq(l, mine)) {
            last.remove(uid);
        }
    }
}

fn reference(pod: &PodInfo) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.namespace.to_string()),
        name: Some(pod.name.to_string()),
        uid: Some(pod.uid.to_string()),
        ..ObjectReference::default()
    }
}

fn key(claim: &str) -> Key {
    let (namespace, name) = claim.split_once('/').unwrap_or(("", claim));
    Key::new(namespace, name)
}

impl Effects {
    pub fn new(
        client: Client,
        recorder: Recorder,
        claims: Informer<PersistentVolumeClaim>,
        extenders: Extenders,
        done: mpsc::UnboundedSender<Done>,
    ) -> Self {
        let slots = Slots::new(WRITES, HANDFUL);
        Self { client, recorder, claims, extenders, slots, turns: Turns::default(), done }
    }

    fn pods(&self, pod: &PodInfo) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace)
    }

    fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let slots = self.slots.clone();
        tokio::spawn(async move {
            let _slot = slots.take().await;
            work.await;
        });
    }

    /// As [`Effects::run`], after all that was asked for this pod before: a pod that is bound must not be told
    /// afterwards that it cannot be.
    fn run_in_turn(&self, pod: &PodInfo, bounded: bool, work: impl Future<Output = ()> + Send + 'static) {
        let (slots, turns, uid) = (self.slots.clone(), self.turns.clone(), pod.uid.clone());
        let before = turns.take(&uid);
        tokio::spawn(async move {
            let (mine, before) = before;
            if let Some(before) = before {
                before.notified().await;
            }
            let _slot = if bounded { Some(slots.take().await) } else { None };
            work.await;
            turns.end(&uid, &mine);
        });
    }

    /// Takes the steps that lead to a bound pod and tells the loop how it went.
    pub fn bind(&self, pod: Arc<PodInfo>, node: String, steps: Vec<Step>) {
        let (this, of) = (self.clone(), pod.clone());
        let slow = steps.iter().any(|s| matches!(s, Step::AwaitClaims { .. }));
        let work = async move {
            let mut failure = None;
            if slow {
                // Others see that the pod is about to be there (KEP-5278).
                let patch = Patch::Strategic(
                    json!({"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": node}}),
                );
                let _ = this.pods(&pod).patch_status(&pod.name, &PatchParams::default(), &patch).await;
            }
            for step in steps {
                if let Err(why) = this.take(&pod, step).await {
                    failure = Some(why);
                    break;
                }
            }
            if failure.is_none() {
                let text = format!("Successfully assigned {} to {node}", pod.key());
                let what = ("Scheduled", "Binding");
                this.recorder.action(&reference(&pod), None, EventType::Normal, what, text);
            }
            // The loop is gone only when the process ends.
            let _ = this.done.send(Done::Bound { pod, failure });
        };
        // Waiting for volumes must not keep others from being bound.
        self.run_in_turn(&of, !slow, work);
    }

    async fn take(&self, pod: &PodInfo, step: Step) -> Result<(), Failure> {
        match step {
            Step::Bind { node } => match self.extenders.bind(pod, &node).await {
                Some(answer) => answer.map_err(Failure::saying),
                None => self.send_binding(pod, &node).await.map_err(|e| Failure::of(&e)),
            },
            Step::GiveVolume { volume, claim } => {
                let Some(object) = self.claims.store().get(&key(&claim)) else {
                    return Err(Failure::saying(format!("persistentvolumeclaim {claim:?} not found")));
                };
                let meta = &object.metadata;
                let patch = Patch::Merge(json!({
                    "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
                    "spec": {"claimRef": {
                        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace,
                        "name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version}}}));
                let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
                let done = volumes.patch(&volume, &PatchParams::default(), &patch).await;
                done.map(drop).map_err(|e| Failure::saying(message(&e)))
            }
            Step::ChooseNode { claim, node } => {
                let (namespace, name) = claim.split_once('/').unwrap_or(("", &claim));
                let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
                let patch = Patch::Merge(json!({"metadata": {"annotations": {SELECTED_NODE: node}}}));
                let done = claims.patch(name, &PatchParams::default(), &patch).await;
                done.map(drop).map_err(|e| Failure::saying(message(&e)))
            }
            Step::AwaitClaims { claims, node, timeout } => {
                let limit = Duration::try_from(timeout).unwrap_or_default();
                match tokio::time::timeout(limit, self.bound(&claims, &node)).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(why)) => Err(Failure::saying(format!("binding volumes: {why}"))),
                    Err(_) => Err(Failure::saying("binding volumes: context deadline exceeded".into())),
                }
            }
        }
    }

    /// Resolves once all claims are bound.
    async fn bound(&self, claims: &[String], node: &str) -> Result<(), String> {
        let mut revisions = self.claims.revisions();
        let mut seen_selected = vec![false; claims.len()];
        loop {
            revisions.borrow_and_update();
            let mut left = 0;
            for (claim, seen) in claims.iter().zip(&mut seen_selected) {
                let Some(object) = self.claims.store().get(&key(claim)) else {
                    return Err(format!(
                        "failed to check provisioning pvc: could not find v1.PersistentVolumeClaim {claim:?}"
                    ));
                };
                let note = |k: &str| object.metadata.annotations.as_ref().and_then(|a| a.get(k));
                let selected = note(SELECTED_NODE).is_some_and(|n| n == node);
                let volume = object.spec.as_ref().and_then(|s| s.volume_name.as_ref());
                if volume.is_some_and(|v| !v.is_empty()) && note(BIND_COMPLETED).is_some() {
                    continue;
                }
                // A provisioner that cannot takes the choice of node back.
                if *seen && !selected {
                    let name = object.metadata.name.as_deref().unwrap_or_default();
                    return Err(format!("provisioning failed for PVC {name:?}"));
                }
                *seen |= selected;
                left += 1;
            }
            if left == 0 {
                return Ok(());
            }
            if revisions.changed().await.is_err() {
                return Err("the watch of claims has ended".into());
            }
        }
    }

    async fn send_binding(&self, pod: &PodInfo, node: &str) -> Result<(), kube::Error> {
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": *pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node},
        });
        let request =
            http::Request::post(format!("/api/v1/namespaces/{}/pods/{}/binding", pod.namespace, pod.name))
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(body.to_string().into_bytes())
                .map_err(|e| kube::Error::BuildRequest(kube::core::request::Error::BuildRequest(e)))?;
        self.client.request_text(request).await.map(drop)
    }

    /// Says why a pod waits: an event, and (where `write`) its `PodScheduled` condition and nomination.
    pub fn report(
        &self,
        pod: Arc<PodInfo>,
        reason: &'static str,
        message: String,
        nomination: Nomination,
        write: bool,
    ) {
        let (this, of) = (self.clone(), pod.clone());
        self.run_in_turn(&of, true, async move {
            let mut note = message.clone();
            if note.len() > NOTE {
                let end = (0..=NOTE - 4).rev().find(|i| note.is_char_boundary(*i)).unwrap_or(0);
                note.truncate(end);
                note.push_str(" ...");
            }
            let what = ("FailedScheduling", "Scheduling");
            this.recorder.action(&reference(&pod), None, EventType::Warning, what, note);
            if !write {
                return;
            }
            let mut condition = json!({
                "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
                "observedGeneration": pod.generation,
            });
            if !pod.refused {
                condition["lastProbeTime"] = json!(null);
                condition["lastTransitionTime"] = now().into();
            }
            let mut status = json!({"conditions": [condition]});
            match nomination {
                Nomination::Set(node) => status["nominatedNodeName"] = node.into(),
                Nomination::Clear if !pod.nominated.is_empty() => status["nominatedNodeName"] = json!(null),
                _ => {}
            }
            this.patch_status(&pod, status, "cannot update a pod's condition").await;
        });
    }

    async fn patch_status(&self, pod: &PodInfo, status: impl serde::Serialize, trouble: &str) -> bool {
        let patch = Patch::Strategic(json!({"metadata": {"uid": pod.uid}, "status": status}));
        let done = self.pods(pod).patch_status(&pod.name, &PatchParams::default(), &patch).await;
        match done {
            Err(error) if error.code() != Some(404) => {
                tracing::warn!(pod = pod.key(), error = message(&error), "{trouble}");
                false
            }
            _ => true,
        }
    }

    /// Evicts pods to make room for another, and ends the nominations of less important ones there. Tells the
    /// loop when all have been asked to go.
    pub fn preempt(
        &self,
        victims: Vec<Arc<PodInfo>>,
        displaced: Vec<Arc<PodInfo>>,
        by: Arc<PodInfo>,
        node: String,
    ) {
        let this = self.clone();
        self.run(async move {
            let mut failed = false;
            for pod in displaced.iter().filter(|p| !p.nominated.is_empty()) {
                let status = json!({"nominatedNodeName": null});
                failed |= !this.patch_status(pod, status, "cannot clear a nomination").await;
            }
            for victim in &victims {
                failed |= !this.evict(victim, &by, &node).await;
            }
            let _ = this.done.send(Done::Preempted { pod: by, failed });
        });
    }

    async fn evict(&self, victim: &PodInfo, by: &PodInfo, node: &str) -> bool {
        let why = format!("{}: preempting to accommodate a higher priority pod", by.scheduler);
        let condition = json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                                "message": why, "lastTransitionTime": now(), "observedGeneration": victim.generation}]);
        let status = json!({"conditions": condition});
        if !self.patch_status(victim, status, "cannot mark a pod as preempted").await {
            return false;
        }
        let precondition = Preconditions { uid: Some(victim.uid.to_string()), resource_version: None };
        let params = DeleteParams { preconditions: Some(precondition), ..DeleteParams::default() };
        match self.pods(victim).delete(&victim.name, &params).await {
            Ok(_) => {
                let text = format!("Preempted by pod {} on node {node}", by.uid);
                let (what, by) = (("Preempted", "Preempting"), Some(reference(by)));
                self.recorder.action(&reference(victim), by, EventType::Normal, what, text);
                true
            }
            Err(error) if error.code() == Some(404) => true,
            Err(error) => {
                tracing::warn!(pod = victim.key(), error = message(&error), "cannot preempt a pod");
                false
            }
        }
    }
}

fn now() -> String {
    let now = Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_for_a_pod_is_done_in_the_order_it_was_asked() {
        let turns = Turns::default();
        let (first, none) = turns.take("a");
        let (second, before) = turns.take("a");
        assert!(none.is_none() && turns.take("b").1.is_none());
        turns.end("a", &first);
        // Told before it waits; and the map still has the later work.
        before.unwrap().notified().await;
        let (third, before) = turns.take("a");
        turns.end("a", &second);
        before.unwrap().notified().await;
        turns.end("a", &third);
        assert!(turns.take("a").1.is_none());
    }
}
