//! The HorizontalPodAutoscaler controller's shell.
//!
//! An autoscaler is looked at when its spec changes, and else once every sync period: metrics tell of no change.

mod api;
mod calculator;
mod limits;
mod plan;
mod proposal;
mod requests;
#[cfg(test)]
mod tests;

use crate::context::{Context, now};
use crate::discovery::ApiResource;
use crate::metrics;
use api::Api;
use calculator::Setting;
use gantry_client::error::{self, ApiError};
use gantry_client::events::reference;
use gantry_client::{EventType, Informer, Key, Queue, Recorder};
use gantry_machinery::selector::Selector;
use gantry_reconcile::effect::Target;
use gantry_reconcile::{Barrier, Body, Effect, Executor, Next, Reconcile};
use jiff::SignedDuration;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricStatus};
use k8s_openapi::api::core::v1::Pod;
use limits::Memory;
use parking_lot::Mutex;
use plan::{Aim, Draft, Size};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often a write of the target is tried anew where somebody else wrote it meanwhile.
const TRIES: usize = 5;

/// Durations and tolerances of the flags.
struct Settings {
    period: Duration,
    tolerance: f64,
    downscale_window: SignedDuration,
    cpu_initialization: SignedDuration,
    initial_readiness: SignedDuration,
}

struct Controller {
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    api: Api,
    executor: Executor,
    recorder: Recorder,
    settings: Settings,
    memories: Mutex<HashMap<Key, Memory>>,
    /// Which pods each autoscaler's target has: no pod may have two.
    selectors: Mutex<HashMap<Key, Selector>>,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("horizontalpodautoscaler");
    let autoscalers = context.informers.of::<HorizontalPodAutoscaler>();
    let to = queue.clone();
    autoscalers.on(move |delta| {
        if delta.is_deleted() || delta.old().is_none_or(|old| old.spec != delta.object().spec) {
            to.add(Key::of(&**delta.object()));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&autoscalers);
    let args = &context.config.args;
    let span = |d: Duration| SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX);
    let account = "horizontal-pod-autoscaler";
    let controller = Controller {
        autoscalers,
        pods: context.pods(),
        api: Api::new(context.credentials.client(account)),
        executor: context.executor(account, barrier.clone()),
        recorder: context.recorder(account, "horizontal-pod-autoscaler"),
        settings: Settings {
            period: args.horizontal_pod_autoscaler_sync_period,
            tolerance: args.horizontal_pod_autoscaler_tolerance,
            downscale_window: span(args.horizontal_pod_autoscaler_downscale_stabilization),
            cpu_initialization: span(args.horizontal_pod_autoscaler_cpu_initialization_period),
            initial_readiness: span(args.horizontal_pod_autoscaler_initial_readiness_delay),
        },
        memories: Mutex::default(),
        selectors: Mutex::default(),
    };
    let workers = args.concurrent_horizontal_pod_autoscaler_syncs;
    context.run("horizontal-pod-autoscaler-controller", workers, controller, queue, barrier);
}

impl Controller {
    /// The target's resource and its scale.
    async fn target(&self, hpa: &HorizontalPodAutoscaler, key: &Key) -> Result<(ApiResource, Scale), String> {
        let wanted = &hpa.spec.scale_target_ref;
        let version = wanted.api_version.as_deref().unwrap_or("");
        let group = match version.split('/').collect::<Vec<_>>().as_slice() {
            [_] => "",
            [group, _] => group,
            _ => return Err(format!("unexpected GroupVersion string: {version}")),
        };
        let resource = self.api.resource(group, &wanted.kind).await?;
        match self.api.scale(&resource, key.namespace(), &wanted.name).await {
            Ok(scale) => Ok((resource, scale)),
            Err(error) => {
                if error.is_not_found() {
                    self.api.forget(group, &wanted.kind);
                }
                Err(error::message(&error))
            }
        }
    }

    /// The target's pods, by the selector its scale tells.
    fn select(&self, key: &Key, text: &str, draft: &mut Draft) -> Result<Vec<Arc<Pod>>, String> {
        if text.is_empty() {
            let words = "selector is required";
            draft.warn("SelectorRequired", words);
            let message = "the HPA target's scale is missing a selector";
            draft.condition("ScalingActive", false, "InvalidSelector", message);
            return Err(words.into());
        }
        let selector = Selector::parse(text).map_err(|error| {
            let words =
                format!("couldn't convert selector into a corresponding internal selector object: {error}");
            draft.warn("InvalidSelector", words.clone());
            draft.condition("ScalingActive", false, "InvalidSelector", words.clone());
            words
        })?;
        let mut pods = self.pods.store().list_namespace(key.namespace());
        pods.retain(|p| selector.matches(&p.metadata.labels));
        let mut selectors = self.selectors.lock();
        selectors.insert(key.clone(), selector);
        let claims = |other: &&Key| {
            other.namespace() == key.namespace()
                && selectors.get(*other).is_some_and(|s| pods.iter().any(|p| s.matches(&p.metadata.labels)))
        };
        let mut claiming: Vec<_> = selectors.keys().filter(claims).cloned().collect();
        drop(selectors);
        if claiming.len() > 1 {
            claiming.sort();
            let listed: Vec<_> = claiming.iter().map(Key::as_str).collect();
            let listed = listed.join(" ");
            let words = format!("pods by selector {text} are controlled by multiple HPAs: [{listed}]");
            draft.warn("AmbiguousSelector", words.clone());
            draft.condition("ScalingActive", false, "AmbiguousSelector", words.clone());
            return Err(words);
        }
        Ok(pods)
    }

    /// The size the metrics ask for.
    async fn measure(
        &self,
        hpa: &HorizontalPodAutoscaler,
        key: &Key,
        scale: &Scale,
        draft: &mut Draft,
    ) -> Result<(i32, String, Vec<MetricStatus>, Option<String>), (String, Vec<MetricStatus>)> {
        let text = scale.status.as_ref().and_then(|s| s.selector.as_deref()).unwrap_or("");
        let pods = self.select(key, text, draft).map_err(|words| (words, Vec::new()))?;
        let setting = Setting {
            wanted: plan::current(scale),
            running: scale.status.as_ref().map_or(0, |s| s.replicas),
            pods: &pods,
            tolerances: plan::tolerances(hpa, self.settings.tolerance),
            cpu_initialization: self.settings.cpu_initialization,
            initial_readiness: self.settings.initial_readiness,
            now: draft.now,
        };
        let mut proposals = Vec::new();
        for spec in hpa.spec.metrics.iter().flatten() {
            let reading = match proposal::query(spec) {
                Some(query) => self.api.read(&query, key.namespace(), text).await,
                None => Err("nothing to read".into()),
            };
            proposals.push(proposal::propose(spec, reading, &setting, key.namespace()));
        }
        draft.choose(proposals, setting.wanted)
    }

    /// Writes the target's size; whoever else writes it meanwhile is overridden.
    async fn resize(
        &self,
        key: &Key,
        resource: &ApiResource,
        mut scale: Scale,
        replicas: i32,
    ) -> Result<(), kube::Error> {
        let name = scale.metadata.name.clone().unwrap_or_default();
        let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
        for attempt in 1.. {
            scale.spec.get_or_insert_default().replicas = Some(replicas);
            let effect = Effect::Update {
                target: Target {
                    resource: format!("{}{group}", resource.resource),
                    path: resource.path(key.namespace()),
                    namespace: key.namespace().into(),
                    name: name.clone(),
                },
                subresource: "scale",
                body: Body(serde_json::to_vec(&scale).map_err(kube::Error::SerdeError)?),
            };
            match self.executor.apply(key, &effect).await {
                Err(error) if error.is_conflict() && attempt < TRIES => {
                    scale = self.api.scale(resource, key.namespace(), &name).await?;
                }
                other => return other.map(drop),
            }
        }
        Ok(())
    }

    /// One look; the new status is in the draft. The error is for the log.
    /// `action` is what was done, for the metrics.
    async fn look(
        &self,
        hpa: &HorizontalPodAutoscaler,
        key: &Key,
        action: &mut &'static str,
    ) -> Result<(), String> {
        let mut draft = Draft::new(hpa, now());
        let (resource, scale) = match self.target(hpa, key).await {
            Ok(found) => found,
            Err(words) => {
                draft.no_scale(&words);
                let (status, events) = (draft.status, draft.events);
                self.publish(hpa, key, status, events).await?;
                return Err(format!("failed to query scale subresource: {words}"));
            }
        };
        draft.has_scale();
        let current = plan::current(&scale);
        self.memories.lock().entry(key.clone()).or_default().begin(current, draft.now);
        let (mut metrics, mut partly) = (None, None);
        let size = match plan::aim(hpa, current) {
            Aim::Off => {
                draft.off(hpa);
                None
            }
            Aim::Fixed(replicas, reason) => Some(Size { replicas, reason: reason.into() }),
            Aim::Metrics => match self.measure(hpa, key, &scale, &mut draft).await {
                Ok((asked, metric, statuses, words)) => {
                    (metrics, partly) = (Some(statuses), words);
                    let mut memories = self.memories.lock();
                    let memory = memories.entry(key.clone()).or_default();
                    let window = self.settings.downscale_window;
                    Some(draft.settle(hpa, memory, current, (asked, &metric), window))
                }
                Err((words, statuses)) => {
                    draft.warn("FailedComputeMetricsReplicas", words.clone());
                    let (status, events) = draft.finish(current, None, Some(statuses));
                    self.publish(hpa, key, status, events).await?;
                    return Err(format!("failed to compute desired number of replicas: {words}"));
                }
            },
        };
        let change = size.filter(|size| size.replicas != current);
        if let Some(size) = &change {
            if let Err(error) = self.resize(key, &resource, scale, size.replicas).await {
                let words = error::message(&error);
                draft.not_scaled(size, &words);
                let (status, events) = draft.finish(current, None, metrics);
                self.publish(hpa, key, status, events).await?;
                return Err(format!("failed to rescale: {words}"));
            }
            *action = if size.replicas > current { "scale_up" } else { "scale_down" };
            draft.scaled(hpa, current, size);
            let behavior = hpa.spec.behavior.as_ref();
            let mut memories = self.memories.lock();
            memories.entry(key.clone()).or_default().scaled(behavior, current, size.replicas, draft.now);
        }
        let desired = change.map_or(current, |size| size.replicas);
        let (status, events) = draft.finish(current, Some(desired), metrics);
        self.publish(hpa, key, status, events).await?;
        partly.map_or(Ok(()), Err)
    }

    async fn publish(
        &self,
        hpa: &HorizontalPodAutoscaler,
        key: &Key,
        status: k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerStatus,
        events: Vec<plan::Event>,
    ) -> Result<(), String> {
        let about = reference(hpa);
        for (kind, reason, message) in events {
            self.recorder.event(&about, kind, reason, message);
        }
        if hpa.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let changed = HorizontalPodAutoscaler { status: Some(status), ..hpa.clone() };
        if let Err(error) = self.executor.apply(key, &Effect::update_status(&changed)).await {
            let words = error::message(&error);
            self.recorder.event(&about, EventType::Warning, "FailedUpdateStatus", words.clone());
            return Err(format!("failed to update status: {words}"));
        }
        Ok(())
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(hpa) = self.autoscalers.store().get(key) else {
            self.executor.barrier().forget(key);
            if let Some(metrics) = metrics::get() {
                metrics.autoscalers.set(i64::try_from(self.autoscalers.store().len()).unwrap_or(i64::MAX));
            }
            self.memories.lock().remove(key);
            self.selectors.lock().remove(key);
            return Ok(Next::Done);
        };
        let (begin, mut action) = (std::time::Instant::now(), "none");
        let outcome = self.look(&hpa, key, &mut action).await;
        if let Some(metrics) = metrics::get() {
            metrics.autoscalers.set(i64::try_from(self.autoscalers.store().len()).unwrap_or(i64::MAX));
            let wrong =
                hpa.spec.scale_target_ref.api_version.as_ref().is_some_and(|v| v.matches('/').count() > 1);
            let error = match &outcome {
                Ok(()) => "none",
                Err(_) if wrong => "spec",
                Err(_) => "internal",
            };
            metrics.autoscaler(action, error, begin.elapsed());
        }
        if let Err(words) = outcome {
            tracing::warn!(controller = "horizontal-pod-autoscaler-controller", %key, error = words, "will retry");
        }
        Ok(Next::After(self.settings.period))
    }
}
