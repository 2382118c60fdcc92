//! Events as upstream's recorder makes them: repeated ones counted, similar ones combined, floods cut.

mod correlate;

use crate::error::{self, ApiError};
use correlate::{Correlator, Outcome};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use std::time::Duration;
use tokio::sync::mpsc;

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Normal,
    Warning,
}

impl EventType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something to tell about an object.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub regarding: ObjectReference,
    pub kind: EventType,
    pub reason: String,
    pub message: String,
    pub at: Timestamp,
}

/// Takes events and sends them in the background. Clones share the queue; a full queue drops events.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<Report>);

/// The reference an event carries to an object of a known kind.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

impl Recorder {
    /// `component` is the source (`deployment-controller`, `kubelet`); `host` is the node's name for node
    /// components, else empty. Needs a runtime around it.
    pub fn new(client: Client, component: &str, host: &str) -> Self {
        let (sender, receiver) = mpsc::channel(1000);
        let sender_task = Sender {
            client,
            component: component.to_owned(),
            host: host.to_owned(),
            correlator: Correlator::default(),
        };
        tokio::spawn(sender_task.run(receiver));
        Self(sender)
    }

    /// A recorder whose events go nowhere, for tests of shells.
    pub fn discarding() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// Never waits.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let report = Report {
            regarding: regarding.clone(),
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            at: Timestamp::now(),
        };
        tracing::debug!(object = ?report.regarding.name, reason, message = report.message, "event");
        if let Err(mpsc::error::TrySendError::Full(report)) = self.0.try_send(report) {
            tracing::warn!(reason = report.reason, "event queue is full, dropping an event");
        }
    }
}

struct Sender {
    client: Client,
    component: String,
    host: String,
    correlator: Correlator,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Again {
    count: i32,
    message: String,
    last_timestamp: Time,
}

impl Sender {
    async fn run(mut self, mut receiver: mpsc::Receiver<Report>) {
        while let Some(report) = receiver.recv().await {
            let Some(outcome) = self.correlator.take(&report) else { continue };
            for attempt in 0..12 {
                match self.send(&report, &outcome).await {
                    Ok(()) => break,
                    // The server has judged it: no use in trying again.
                    Err(error) if error.code().is_some() => {
                        tracing::warn!(
                            reason = report.reason,
                            error = error::message(&error),
                            "server rejected event (will not retry!)"
                        );
                        break;
                    }
                    Err(error) => {
                        tracing::debug!(attempt, %error, "unable to write event (may retry after sleeping)");
                        let pause = if attempt == 0 { 10.0 * rand::random::<f64>() } else { 10.0 };
                        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
                    }
                }
            }
        }
    }

    async fn send(&mut self, report: &Report, outcome: &Outcome) -> Result<(), kube::Error> {
        let namespace = report.regarding.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if let Some(name) = &outcome.existing {
            let again = Again {
                count: outcome.count,
                message: outcome.message.clone(),
                last_timestamp: Time(report.at),
            };
            match api.patch(name, &PatchParams::default(), &Patch::Strategic(&again)).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let name =
            format!("{}.{:x}", report.regarding.name.as_deref().unwrap_or(""), report.at.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: report.regarding.clone(),
            type_: Some(report.kind.as_str().to_owned()),
            reason: Some(report.reason.clone()),
            message: Some(outcome.message.clone()),
            count: Some(outcome.count),
            first_timestamp: Some(Time(outcome.first)),
            last_timestamp: Some(Time(report.at)),
            source: Some(EventSource {
                component: Some(self.component.clone()),
                host: (!self.host.is_empty()).then(|| self.host.clone()),
            }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone()),
            ..Event::default()
        };
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {}
            Err(error) if error.is_already_exists() => {}
            // The namespace is going; the event would go with it.
            Err(error) if error.code() == Some(403) => {
                tracing::debug!(error = error::message(&error), "event refused")
            }
            Err(error) => return Err(error),
        }
        self.correlator.sent(outcome, name);
        Ok(())
    }
}
