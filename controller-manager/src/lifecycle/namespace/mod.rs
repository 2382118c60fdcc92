//! The namespace controller's shell: empties namespaces that are being deleted.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::{Context, now};
use crate::discovery::{ApiResource, discover};
use futures::StreamExt;
use gantry_client::error::{self, ApiError};
use gantry_client::{Client, Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use kube::Api;
use kube::api::PostParams;
use plan::{Findings, Remaining};
use serde::Deserialize;
use std::time::Duration;

struct Controller {
    namespaces: Informer<Namespace>,
    client: Client,
    executor: Executor,
}

/// Upstream waits a little after the deletion, so that admission everywhere knows of it.
const GRACE: Duration = Duration::from_secs(5);

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let backoff =
        gantry_client::queue::Backoff { base: Duration::from_millis(100), max: Duration::from_secs(60) };
    let queue = Queue::with_backoff("namespace", backoff);
    let namespaces = context.informers.of::<Namespace>();
    let to = queue.clone();
    namespaces.on(move |delta| {
        let namespace = delta.object();
        if !delta.is_deleted() && namespace.metadata.deletion_timestamp.is_some() {
            to.add_after(Key::of(&**namespace), GRACE);
        }
    });
    let (to, known) = (queue.clone(), namespaces.clone());
    context.pods().on(move |delta| {
        // The last pods hold everything else up: look again as they go, not when their time is up.
        let namespace = delta.object().metadata.namespace.as_deref().unwrap_or("");
        let key = Key::new("", namespace);
        if delta.is_deleted()
            && known.store().get(&key).is_some_and(|n| n.metadata.deletion_timestamp.is_some())
        {
            to.add_after(key, Duration::from_millis(200));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&namespaces);
    let controller = Controller {
        namespaces,
        client: context.credentials.client("namespace-controller"),
        executor: context.executor("namespace-controller", barrier.clone()),
    };
    let workers = context.config.args.concurrent_namespace_syncs;
    context.run("namespace-controller", workers, controller, queue, barrier);
}

#[derive(Deserialize)]
struct Items {
    /// `null` where there are none.
    #[serde(default)]
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemMeta {
    name: String,
    #[serde(default)]
    finalizers: Vec<String>,
    #[serde(default)]
    deletion_grace_period_seconds: Option<i64>,
}

const BACKGROUND: &[u8] = br#"{"apiVersion":"v1","kind":"DeleteOptions","propagationPolicy":"Background"}"#;

impl Controller {
    async fn list(&self, resource: &ApiResource, namespace: &str) -> Result<Vec<ItemMeta>, kube::Error> {
        if !resource.can("list") {
            return Ok(Vec::new());
        }
        let request = http::Request::get(resource.path(namespace))
            .header(http::header::ACCEPT, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        match self.client.request::<Items>(request).await {
            Ok(list) => Ok(list.items.into_iter().flatten().map(|i| i.metadata).collect()),
            Err(error) if unsupported(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, path: String) -> Result<(), kube::Error> {
        let request = http::Request::delete(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(BACKGROUND.to_vec())
            .map_err(kube::Error::HttpError)?;
        self.client.request_text(request).await.map(drop)
    }

    /// Deletes everything of one resource and says what is left.
    async fn empty(&self, resource: &ApiResource, namespace: &str) -> Result<Remaining, kube::Error> {
        let before = self.list(resource, namespace).await?;
        if before.is_empty() {
            return Ok(Remaining::default());
        }
        let path = resource.path(namespace);
        let whole = resource.can("deletecollection");
        let mut each = !whole;
        if whole {
            match self.delete(path.clone()).await {
                Err(error) if unsupported(&error) => each = true,
                other => other?,
            }
        }
        if each {
            for item in &before {
                match self.delete(format!("{path}/{}", item.name)).await {
                    Err(error) if unsupported(&error) => {}
                    other => other?,
                }
            }
        }
        let left = self.list(resource, namespace).await?;
        let grace = |i: &ItemMeta| i.deletion_grace_period_seconds.unwrap_or(0);
        Ok(Remaining {
            count: left.len(),
            grace_seconds: if resource.resource == "pods" {
                left.iter().map(grace).max().unwrap_or(0)
            } else {
                0
            },
            finalizers: left.into_iter().flat_map(|i| i.finalizers).collect(),
        })
    }

    /// Deletes what there is: pods first, and the rest only once they are gone.
    async fn empty_all(&self, namespace: &str) -> Findings {
        let mut findings = Findings::default();
        let resources = match discover(&self.client).await {
            Ok(found) => {
                findings.discovery_failed = found.failed;
                found.resources
            }
            Err(error) => {
                findings.discovery_error = Some(error::message(&error));
                Vec::new()
            }
        };
        let wanted = |r: &ApiResource| r.namespaced && r.can("delete");
        let (pods, rest): (Vec<_>, Vec<_>) =
            resources.into_iter().filter(wanted).partition(|r| r.group.is_empty() && r.resource == "pods");
        for group in [pods, rest] {
            let results: Vec<_> = futures::stream::iter(group)
                .map(|resource: ApiResource| async move {
                    let result = self.empty(&resource, namespace).await;
                    (resource, result)
                })
                .buffer_unordered(8)
                .collect()
                .await;
            for (resource, result) in results {
                findings.add(&resource, result.map_err(|e| error::message(&e)), namespace);
            }
            if findings.anything_left() {
                // Pods stay, so nothing they may still need is touched.
                break;
            }
        }
        findings
    }
}

fn unsupported(error: &kube::Error) -> bool {
    matches!(error.code(), Some(404 | 405))
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        if self.namespaces.store().get(key).is_none_or(|n| n.metadata.deletion_timestamp.is_none()) {
            return Ok(Next::Done);
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let Some(mut namespace) = api.get_opt(key.name()).await? else { return Ok(Next::Done) };
        let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.clone()).unwrap_or_default();
        if namespace.metadata.deletion_timestamp.is_none() || finalizers.is_empty() {
            return Ok(Next::Done);
        }
        let status = namespace.status.get_or_insert_with(NamespaceStatus::default);
        if status.phase.as_deref() != Some("Terminating") {
            status.phase = Some("Terminating".into());
            namespace = api.replace_status(key.name(), &PostParams::default(), &namespace).await?;
        }
        let findings = self.empty_all(key.name()).await;
        let mut changed = namespace.clone();
        let status = changed.status.get_or_insert_with(NamespaceStatus::default);
        if plan::update_conditions(status, &findings, now()) {
            self.executor.apply(key, &Effect::update_status(&changed)).await?;
            namespace = api.get(key.name()).await?;
        }
        if let Some(words) = findings.failure() {
            return Err(kube::Error::Api(kube::core::Status::failure(&words, "Failed").boxed()));
        }
        if let Some(wait) = findings.wait() {
            return Ok(Next::After(wait));
        }
        if let Some(spec) = &mut namespace.spec {
            spec.finalizers = Some(finalizers.into_iter().filter(|f| f != "kubernetes").collect());
        }
        let body = serde_json::to_vec(&namespace).map_err(kube::Error::SerdeError)?;
        let request = http::Request::put(format!("/api/v1/namespaces/{}/finalize", key.name()))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(kube::Error::HttpError)?;
        match self.client.request_text(request).await {
            Err(error) if error.is_not_found() => Ok(Next::Done),
            other => other.map(|_| Next::Done),
        }
    }
}
