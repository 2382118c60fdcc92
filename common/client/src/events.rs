//! Events as upstream's recorder makes them: repeated ones counted, similar ones combined, floods cut.

mod correlate;
mod series;

use crate::error::{self, ApiError};
use correlate::{Correlator, Outcome};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::api::events::v1::{Event as SeriesEvent, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::{Client, Resource};
use serde::Serialize;
use series::{Series, Telling};
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
    /// Only `events.k8s.io` has this, and the action.
    pub related: Option<ObjectReference>,
    pub action: &'static str,
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

    /// A recorder whose events go to `events.k8s.io`, with actions and in series, as those of `controller`
    /// (`default-scheduler`) on this host. Needs a runtime around it.
    pub fn in_series(client: Client, controller: &str) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let (sender, receiver) = mpsc::channel(1000);
        tokio::spawn(narrate(client, Series::new(controller, host.trim()), receiver));
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
        self.action(regarding, None, kind, (reason, ""), message);
    }

    /// As [`Recorder::event`], with what was done about the object, and another object that has to do with it.
    pub fn action(
        &self,
        regarding: &ObjectReference,
        related: Option<ObjectReference>,
        kind: EventType,
        (reason, action): (&str, &'static str),
        message: impl Into<String>,
    ) {
        let report = Report {
            regarding: regarding.clone(),
            related,
            action,
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

/// How long events are gathered, so that a burst goes out together: nobody waits for them.
const GATHER: Duration = Duration::from_millis(20);
/// Events taken together at most, and how many of them are on their way at once.
const GATHERED: usize = 256;
const AT_ONCE: usize = 16;

/// Sends what is told, and the counts of series once they are over.
async fn narrate(client: Client, mut series: Series, mut receiver: mpsc::Receiver<Report>) {
    let over = Duration::from_secs(series::OVER_SECONDS.unsigned_abs());
    let mut sweep = tokio::time::Instant::now() + over;
    let mut reports = Vec::new();
    loop {
        let tellings = tokio::select! {
            taken = receiver.recv_many(&mut reports, GATHERED) => {
                if taken == 0 {
                    return;
                }
                tokio::time::sleep(GATHER).await;
                while reports.len() < GATHERED && let Ok(report) = receiver.try_recv() {
                    reports.push(report);
                }
                if series.is_empty() {
                    sweep = tokio::time::Instant::now() + over;
                }
                reports.drain(..).filter_map(|report| series.take(&report)).collect()
            },
            () = tokio::time::sleep_until(sweep), if !series.is_empty() => {
                sweep += over;
                series.sweep(Timestamp::now())
            }
        };
        // A series prolongs what must be there by then.
        let (new, prolonged): (Vec<_>, Vec<_>) =
            tellings.into_iter().partition(|telling| matches!(telling, Telling::New(_)));
        for stage in [new, prolonged] {
            let client = &client;
            futures::stream::iter(stage)
                .for_each_concurrent(AT_ONCE, |telling| async move {
                    for attempt in 0..TRIES {
                        let Some(pause) = again(attempt, tell(client, &telling).await) else { break };
                        tokio::time::sleep(pause).await;
                    }
                })
                .await;
        }
    }
}

/// Creates an object; nobody reads the answer.
async fn post(client: &Client, path: String, object: &impl Serialize) -> Result<(), kube::Error> {
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await.map(drop)
}

/// An event is tried so often, two minutes at most.
const TRIES: u32 = 12;

/// When to try again; `None` where the server has judged.
fn again(attempt: u32, sent: Result<(), kube::Error>) -> Option<Duration> {
    let error = sent.err()?;
    if error.code().is_some() {
        tracing::warn!(error = error::message(&error), "server rejected event (will not retry!)");
        return None;
    }
    tracing::debug!(attempt, %error, "unable to write event (may retry after sleeping)");
    let share = if attempt == 0 { rand::random::<f64>() } else { 1.0 };
    Some(Duration::from_secs_f64(10.0 * share))
}

#[derive(Debug, Serialize)]
struct Prolonged<'a> {
    series: &'a EventSeries,
}

async fn tell(client: &Client, telling: &Telling) -> Result<(), kube::Error> {
    let done = match telling {
        Telling::New(event) => {
            let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
            post(client, SeriesEvent::url_path(&(), Some(namespace)), event).await
        }
        Telling::Series { namespace, name, series } => {
            let api: Api<SeriesEvent> = Api::namespaced(client.clone(), namespace);
            let patch = Patch::Strategic(Prolonged { series });
            api.patch(name, &PatchParams::default(), &patch).await.map(drop)
        }
    };
    match done {
        // Told by an earlier try; or the namespace is going, and the event would go with it.
        Err(error) if error.is_already_exists() || matches!(error.code(), Some(403 | 404)) => {
            tracing::debug!(error = error::message(&error), "event refused");
            Ok(())
        }
        done => done,
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
            for attempt in 0..TRIES {
                let Some(pause) = again(attempt, self.send(&report, &outcome).await) else { break };
                tokio::time::sleep(pause).await;
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
            // Upstream leaves these out of what it combines.
            reporting_component: (!outcome.combined).then(|| self.component.clone()),
            reporting_instance: (!outcome.combined).then(|| self.host.clone()),
            ..Event::default()
        };
        match post(&self.client, Event::url_path(&(), Some(namespace)), &event).await {
            Ok(()) => {}
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
