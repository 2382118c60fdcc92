//! Workloads roll when their configuration changes: an extra of Gantry's.
//!
//! A Deployment, StatefulSet or DaemonSet with the annotation `gantry.io/roll-on-change: "true"` is rolled out anew
//! when a ConfigMap or Secret its containers use as environment or files changes. What the pods have is noted on the
//! workload (`gantry.io/configuration-seen`), when it is first seen and with each roll-out; a change comes into the
//! pod template as the annotation `gantry.io/configuration`, and the workload's own controller does the rest. Changes
//! that come within a few seconds roll out together. Asking for it rolls nothing out.
//!
//! ConfigMaps and Secrets are watched from the first workload on that asks, and only their digests are kept.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::{Context, now};
use crate::references;
use gantry_client::events::reference;
use gantry_client::informer::Kind;
use gantry_client::{EventType, Informer, Key, Queue, Recorder};
use gantry_reconcile::{Barrier, Effect, Executor, Next, PatchKind, Reconcile};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, PodTemplateSpec, Secret};
use kube::api::ObjectMeta;
use parking_lot::Mutex;
pub(super) use plan::SEEN;
use plan::{OPT_IN, Pending, Plan, ROLLED, Record};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const ACCOUNT: &str = "roll-on-change-controller";
/// Until the first list of configuration is there.
const SOON: Duration = Duration::from_millis(200);

/// A kind with a pod template whose change rolls out.
trait Workload: Kind + Serialize {
    fn template(&self) -> Option<&PodTemplateSpec>;
}

impl Workload for Deployment {
    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref().map(|s| &s.template)
    }
}

impl Workload for StatefulSet {
    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref().map(|s| &s.template)
    }
}

impl Workload for DaemonSet {
    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref().map(|s| &s.template)
    }
}

/// What is configured with: only names and digests.
#[derive(Clone)]
struct Configuration {
    maps: Informer<ConfigMap>,
    secrets: Informer<Secret>,
    stop: CancellationToken,
}

struct Controller<K> {
    workloads: Informer<K>,
    configuration: Configuration,
    executor: Executor,
    recorder: Recorder,
    pending: Mutex<HashMap<Key, Option<Pending>>>,
}

/// Leaves of an object its name and a digest.
fn cut(meta: &mut ObjectMeta) {
    *meta = ObjectMeta {
        name: meta.name.take(),
        namespace: meta.namespace.take(),
        uid: meta.uid.take(),
        resource_version: meta.resource_version.take(),
        ..ObjectMeta::default()
    };
}

/// Wires one controller a kind to its informers and starts them.
pub fn start(context: &Context) {
    let maps = Informer::<ConfigMap>::new(context.client.clone(), Default::default());
    maps.transform(|map| {
        let digest = plan::digest(&(&map.data, &map.binary_data));
        cut(&mut map.metadata);
        (map.data, map.binary_data) = (Some([(String::new(), digest)].into()), None);
    });
    let secrets = Informer::<Secret>::new(context.client.clone(), Default::default());
    secrets.transform(|secret| {
        let digest = plan::digest(&secret.data);
        cut(&mut secret.metadata);
        secret.data = Some([(String::new(), ByteString(digest.into_bytes()))].into());
    });
    let configuration = Configuration { maps, secrets, stop: context.stop.clone() };
    start_for::<Deployment>(context, "roll_on_change_deployment", &configuration);
    start_for::<StatefulSet>(context, "roll_on_change_statefulset", &configuration);
    start_for::<DaemonSet>(context, "roll_on_change_daemonset", &configuration);
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

fn asks(meta: &ObjectMeta) -> bool {
    annotation(meta, OPT_IN) == Some("true") && meta.deletion_timestamp.is_none()
}

/// Queues those that ask and refer to what changed.
fn changed<K: Workload>(
    queue: &Queue<Key>,
    workloads: &Informer<K>,
    object: &Key,
    refers: impl Fn(&references::References<'_>, &str) -> bool,
) {
    for workload in workloads.store().list_namespace(object.namespace()) {
        let spec = workload.template().and_then(|t| t.spec.as_ref()).filter(|_| asks(workload.meta()));
        if spec.is_some_and(|s| refers(&references::of(s), object.name())) {
            queue.add(Key::of(&*workload));
        }
    }
}

fn start_for<K: Workload>(context: &Context, name: &'static str, configuration: &Configuration) {
    let queue = Queue::new(name);
    let workloads = context.informers.of::<K>();
    let to = queue.clone();
    workloads.on(move |delta| {
        let meta = delta.object().meta();
        if delta.is_deleted() || asks(meta) || annotation(meta, SEEN).is_some() {
            to.add(Key::of(&**delta.object()));
        }
    });
    let (to, known) = (queue.clone(), workloads.clone());
    configuration.maps.on(move |delta| {
        changed(&to, &known, &Key::of(&**delta.object()), |r, name| r.config_maps.contains(name));
    });
    let (to, known) = (queue.clone(), workloads.clone());
    configuration.secrets.on(move |delta| {
        changed(&to, &known, &Key::of(&**delta.object()), |r, name| r.secrets.contains(name));
    });
    let barrier = Barrier::default();
    barrier.track(&workloads);
    let controller = Controller {
        workloads,
        configuration: configuration.clone(),
        executor: context.executor(ACCOUNT, barrier.clone()),
        recorder: context.recorder(ACCOUNT, ACCOUNT),
        pending: Mutex::default(),
    };
    context.run("roll-on-change-controller", 1, controller, queue, barrier);
}

impl Configuration {
    /// What a spec's containers see; `None` while it is being listed.
    fn record(&self, namespace: &str, spec: &PodSpec) -> Option<Record> {
        self.maps.start(&self.stop);
        self.secrets.start(&self.stop);
        if !self.maps.has_synced() || !self.secrets.has_synced() {
            return None;
        }
        let map = |name: &str| {
            let map = self.maps.store().get(&Key::new(namespace, name))?;
            map.data.as_ref()?.get("").cloned()
        };
        let secret = |name: &str| {
            let secret = self.secrets.store().get(&Key::new(namespace, name))?;
            let digest = secret.data.as_ref()?.get("")?;
            String::from_utf8(digest.0.clone()).ok()
        };
        Some(plan::record(spec, map, secret))
    }
}

#[derive(Serialize)]
struct Patch<'a> {
    metadata: Annotated<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<SpecPatch<'a>>,
}

#[derive(Serialize)]
struct SpecPatch<'a> {
    template: TemplatePatch<'a>,
}

#[derive(Serialize)]
struct TemplatePatch<'a> {
    metadata: Annotated<'a>,
}

#[derive(Serialize)]
struct Annotated<'a> {
    /// Holds the patch to this very object.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    /// `None` takes one off.
    annotations: BTreeMap<&'a str, Option<String>>,
}

impl<K: Workload> Controller<K> {
    async fn note(
        &self,
        key: &Key,
        workload: &K,
        record: Option<&Record>,
        rolled: Option<String>,
    ) -> Result<(), kube::Error> {
        // Names and digests always serialize.
        let seen = record.map(|r| serde_json::to_string(r).unwrap_or_default());
        let template = |digest| TemplatePatch {
            metadata: Annotated { uid: None, annotations: [(ROLLED, Some(digest))].into() },
        };
        let patch = Patch {
            metadata: Annotated { uid: workload.meta().uid.as_deref(), annotations: [(SEEN, seen)].into() },
            spec: rolled.map(|digest| SpecPatch { template: template(digest) }),
        };
        let effect = Effect::patch::<K>(key.namespace(), key.name(), PatchKind::Merge, &patch);
        self.executor.apply(key, &effect).await.map(drop)
    }
}

impl<K: Workload> Reconcile for Controller<K> {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(workload) = self.workloads.store().get(key) else {
            self.executor.barrier().forget(key);
            self.pending.lock().remove(key);
            return Ok(Next::Done);
        };
        let asked = asks(workload.meta());
        let spec = workload.template().and_then(|t| t.spec.as_ref()).filter(|_| asked);
        let current = match spec.map(|s| self.configuration.record(key.namespace(), s)) {
            Some(None) => return Ok(Next::After(SOON)),
            Some(Some(record)) => record,
            None => Record::new(),
        };
        let seen = annotation(workload.meta(), SEEN);
        let plan = {
            let mut pending = self.pending.lock();
            plan::plan(asked, seen, current, pending.entry(key.clone()).or_default(), now())
        };
        match plan {
            Plan::Nothing => {}
            Plan::Forget => self.note(key, &workload, None, None).await?,
            Plan::Record(record) => self.note(key, &workload, Some(&record), None).await?,
            Plan::Wait(left) => return Ok(Next::After(Duration::try_from(left).unwrap_or(SOON))),
            Plan::Roll { record, digest, changed } => {
                self.note(key, &workload, Some(&record), Some(digest)).await?;
                let words = format!("Rolling out for a change of {}", changed.join(", "));
                self.recorder.event(&reference(&*workload), EventType::Normal, "ConfigurationChanged", words);
            }
        }
        Ok(Next::Done)
    }
}
