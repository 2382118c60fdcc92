//! One metadata-only watch, feeding the graph.

use super::Shared;
use super::graph::{Identity, Node, Seen, Uid};
use crate::context::Context;
use crate::discovery::ApiResource;
use gantry_client::watch::{self, Sink, Target};
use gantry_client::{EventType, Key, Recorder};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::watch as tokio_watch;
use tokio_util::sync::CancellationToken;

/// Tells when a monitor has seen its whole resource.
pub(super) struct Synced(tokio_watch::Receiver<bool>);

impl Synced {
    pub(super) async fn wait(&self) {
        // An error says the monitor has stopped: nothing to wait for.
        let _ = self.0.clone().wait_for(|s| *s).await;
    }
}

pub(super) fn start(
    context: &Context,
    shared: Arc<Shared>,
    resource: ApiResource,
    stop: CancellationToken,
) -> Synced {
    let (sender, receiver) = tokio_watch::channel(false);
    let (client, recorder) = (
        context.watch_client.clone(),
        context.recorder("generic-garbage-collector", "garbage-collector-controller"),
    );
    let target =
        Target { path: resource.path(""), label_selector: None, field_selector: None, metadata_only: true };
    context.tasks.spawn(async move {
        let definitions = matches!(resource.resource.as_str(), "customresourcedefinitions" | "apiservices");
        let mut sink = Monitor {
            api_version: resource.api_version().into(),
            kind: resource.kind.as_str().into(),
            shared,
            recorder,
            synced: sender,
            definitions,
            known: HashMap::new(),
            fresh: None,
        };
        watch::run(client, target, &mut sink, stop).await;
        // The resource is gone, and with it all its objects.
        let uids: Vec<Uid> = sink.known.drain().map(|(_, uid)| uid).collect();
        for uid in uids {
            let works = sink.shared.graph.lock().deleted(&uid);
            sink.shared.enqueue(works);
        }
    });
    Synced(receiver)
}

struct Monitor {
    api_version: Arc<str>,
    kind: Arc<str>,
    shared: Arc<Shared>,
    recorder: Recorder,
    synced: tokio_watch::Sender<bool>,
    /// A change here may change the set of resources.
    definitions: bool,
    known: HashMap<Key, Uid>,
    fresh: Option<HashSet<Key>>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    #[serde(default)]
    namespace: String,
    uid: String,
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
    #[serde(default)]
    finalizers: Vec<String>,
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

impl Monitor {
    fn forget(&mut self, key: &Key) {
        if let Some(uid) = self.known.remove(key) {
            let works = self.shared.graph.lock().deleted(&uid);
            self.shared.enqueue(works);
        }
    }

    fn tell_astray(&self, nodes: Vec<Node>) {
        for node in nodes {
            let about = ObjectReference {
                api_version: Some(node.identity.api_version.to_string()),
                kind: Some(node.identity.kind.to_string()),
                namespace: Some(node.identity.namespace.to_string()),
                name: Some(node.identity.name.to_string()),
                uid: Some(node.identity.uid.to_string()),
                ..ObjectReference::default()
            };
            for owner in &node.owners {
                let message = format!(
                    "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace {:?}",
                    owner.api_version,
                    owner.kind,
                    node.identity.namespace,
                    owner.name,
                    owner.uid,
                    node.identity.namespace
                );
                self.recorder.event(&about, EventType::Warning, "OwnerRefInvalidNamespace", message);
            }
        }
    }
}

impl Sink for Monitor {
    fn begin(&mut self) {
        self.fresh = Some(HashSet::new());
    }

    fn upsert(&mut self, object: &RawValue) {
        let meta = match serde_json::from_str::<Object>(object.get()) {
            Ok(object) => object.metadata,
            Err(error) => {
                tracing::error!(kind = %self.kind, %error, "cannot read an object's metadata");
                return;
            }
        };
        let key = Key::new(&meta.namespace, &meta.name);
        let uid: Uid = meta.uid.as_str().into();
        if self.known.get(&key).is_some_and(|old| *old != uid) {
            self.forget(&key);
        }
        let new = self.known.insert(key.clone(), uid.clone()).is_none();
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(key);
        }
        if self.definitions && (new || self.fresh.is_none()) {
            self.shared.rediscover.notify_one();
        }
        let has = |name: &str| meta.finalizers.iter().any(|f| f == name);
        let seen = Seen {
            identity: Identity {
                api_version: self.api_version.clone(),
                kind: self.kind.clone(),
                namespace: meta.namespace.as_str().into(),
                name: meta.name.as_str().into(),
                uid,
            },
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has("foregroundDeletion"),
            orphan: has("orphan"),
            owners: meta.owner_references,
        };
        let (works, astray) = self.shared.graph.lock().seen(seen);
        self.shared.enqueue(works);
        self.tell_astray(astray);
    }

    fn remove(&mut self, object: &RawValue) {
        if let Ok(object) = serde_json::from_str::<Object>(object.get()) {
            let key = Key::new(&object.metadata.namespace, &object.metadata.name);
            if let Some(fresh) = &mut self.fresh {
                fresh.remove(&key);
            }
            self.forget(&key);
            if self.definitions {
                self.shared.rediscover.notify_one();
            }
        }
    }

    fn complete(&mut self) {
        let fresh = self.fresh.take().unwrap_or_default();
        let gone: Vec<Key> = self.known.keys().filter(|k| !fresh.contains(*k)).cloned().collect();
        gone.iter().for_each(|key| self.forget(key));
        self.known.shrink_to_fit();
        self.synced.send_replace(true);
    }

    fn progress(&mut self, _revision: u64) {}
}
