//! The API writes decisions lead to. Each runs on a task of its own, a bounded number at a time.

use gantry_client::error::{ApiError, message};
use gantry_client::{Client, EventType, Recorder};
use gantry_scheduler_core::PodInfo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// Writes in flight at once.
const WRITES: usize = 64;

/// How a binding ended, told to the loop.
pub struct Bound {
    pub pod: Arc<PodInfo>,
    /// `None`: bound. Otherwise why not, and whether the pod still waits.
    pub failure: Option<Failure>,
}

pub struct Failure {
    pub message: String,
    pub gone: bool,
}

#[derive(Clone)]
pub struct Effects {
    client: Client,
    recorder: Recorder,
    slots: Arc<Semaphore>,
    bound: mpsc::UnboundedSender<Bound>,
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

impl Effects {
    pub fn new(client: Client, recorder: Recorder, bound: mpsc::UnboundedSender<Bound>) -> Self {
        Self { client, recorder, slots: Arc::new(Semaphore::new(WRITES)), bound }
    }

    fn pods(&self, pod: &PodInfo) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace)
    }

    fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let slots = self.slots.clone();
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _slot = slots.acquire_owned().await;
            work.await;
        });
    }

    /// Binds a pod to a node and tells the loop how it went.
    pub fn bind(&self, pod: Arc<PodInfo>, node: String) {
        let this = self.clone();
        self.run(async move {
            let failure = match this.send_binding(&pod, &node).await {
                Ok(()) => {
                    let text = format!("Successfully assigned {} to {node}", pod.key());
                    this.recorder.event(&reference(&pod), EventType::Normal, "Scheduled", text);
                    None
                }
                Err(error) => Some(Failure { gone: error.code() == Some(404), message: message(&error) }),
            };
            // The loop is gone only when the process ends.
            let _ = this.bound.send(Bound { pod, failure });
        });
    }

    async fn send_binding(&self, pod: &PodInfo, node: &str) -> Result<(), kube::Error> {
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node},
        });
        let request =
            http::Request::post(format!("/api/v1/namespaces/{}/pods/{}/binding", pod.namespace, pod.name))
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(body.to_string().into_bytes())
                .map_err(|e| kube::Error::BuildRequest(kube::core::request::Error::BuildRequest(e)))?;
        self.client.request_text(request).await.map(drop)
    }

    /// Says why a pod waits: an event, and its `PodScheduled` condition.
    pub fn report(
        &self,
        pod: Arc<PodInfo>,
        reason: &'static str,
        message: String,
        nominated: Option<String>,
    ) {
        let this = self.clone();
        self.run(async move {
            this.recorder.event(&reference(&pod), EventType::Warning, "FailedScheduling", message.clone());
            let mut status = json!({"conditions": [{
                "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
                "lastProbeTime": null, "lastTransitionTime": now(), "observedGeneration": pod.generation,
            }]});
            if let Some(node) = nominated {
                status["nominatedNodeName"] = node.into();
            }
            let patch = Patch::Strategic(json!({"metadata": {"uid": pod.uid}, "status": status}));
            if let Err(error) = this.pods(&pod).patch_status(&pod.name, &PatchParams::default(), &patch).await
                && error.code() != Some(404)
            {
                tracing::warn!(
                    pod = pod.key(),
                    error = gantry_client::error::message(&error),
                    "cannot update a pod's condition"
                );
            }
        });
    }

    /// Evicts a pod to make room for another.
    pub fn preempt(&self, victim: Arc<PodInfo>, by: Arc<PodInfo>, node: String) {
        let this = self.clone();
        self.run(async move {
            let why = format!("{}: preempting to accommodate a higher priority pod", by.scheduler);
            let condition = json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                                    "message": why, "lastTransitionTime": now()}]);
            let patch = Patch::Strategic(json!({"metadata": {"uid": victim.uid}, "status": {"conditions": condition}}));
            let pods = this.pods(&victim);
            if let Err(error) = pods.patch_status(&victim.name, &PatchParams::default(), &patch).await {
                tracing::warn!(pod = victim.key(), error = message(&error), "cannot mark a pod as preempted");
            }
            let precondition = Preconditions { uid: Some(victim.uid.to_string()), resource_version: None };
            let params = DeleteParams { preconditions: Some(precondition), ..DeleteParams::default() };
            match pods.delete(&victim.name, &params).await {
                Ok(_) => {
                    let text = format!("Preempted by pod {} on node {node}", by.uid);
                    this.recorder.event(&reference(&victim), EventType::Normal, "Preempted", text);
                }
                Err(error) if error.code() == Some(404) => {}
                Err(error) => tracing::warn!(pod = victim.key(), error = message(&error), "cannot preempt a pod"),
            }
        });
    }
}

fn now() -> String {
    let now = Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}
