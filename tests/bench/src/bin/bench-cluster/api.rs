//! An ordinary client: several connections, many requests in flight.

use anyhow::Context;
use futures::TryStreamExt;
use gantry_client::informer::{Kind, Scope};
use gantry_client::{Client, ClientConfig, Informer};
use http::Method;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Requests in flight.
pub const IN_FLIGHT: usize = 64;
const CONNECTIONS: usize = 4;
/// Tries of a request the server puts off.
const TRIES: u32 = 8;

pub const JSON: &str = "application/json";
pub const MERGE: &str = "application/merge-patch+json";

#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    config: ClientConfig,
    clients: Vec<Client>,
    next: AtomicUsize,
}

impl Api {
    pub async fn new(kubeconfig: &Path) -> anyhow::Result<Self> {
        let config = ClientConfig::from_kubeconfig(kubeconfig).await?.user_agent("bench-cluster");
        let clients = (0..CONNECTIONS).map(|_| config.build()).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner { config, clients, next: AtomicUsize::new(0) })))
    }

    /// An informer with a connection of its own; not started.
    pub fn informer<K: Kind>(&self, scope: Scope) -> anyhow::Result<Informer<K>> {
        Ok(Informer::new(self.0.config.build()?, scope))
    }

    /// One request; the answer's text. What the server puts off is tried again, what is there already is fine.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<String> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let mut tries = 0;
        loop {
            let at = self.0.next.fetch_add(1, Ordering::Relaxed) % self.0.clients.len();
            let request = http::Request::builder()
                .method(method.clone())
                .uri(path)
                .header(http::header::CONTENT_TYPE, kind)
                .body(text.clone().into_bytes())?;
            tries += 1;
            match self.0.clients[at].request_text(request).await {
                Ok(text) => return Ok(text),
                Err(kube::Error::Api(status)) if status.code == 409 && method == Method::POST => {
                    return Ok(String::new());
                }
                Err(kube::Error::Api(status)) if tries < TRIES && matches!(status.code, 429 | 500..) => {
                    tokio::time::sleep(Duration::from_millis(100 << tries)).await;
                }
                Err(error) => return Err(error).with_context(|| format!("{method} {path}")),
            }
        }
    }

    pub async fn create(&self, path: &str, object: &Value) -> anyhow::Result<()> {
        self.send(Method::POST, path, JSON, Some(object)).await.map(drop)
    }

    pub async fn patch(&self, path: &str, change: &Value) -> anyhow::Result<()> {
        self.send(Method::PATCH, path, MERGE, Some(change)).await.map(drop)
    }

    pub async fn delete(&self, path: &str, options: &Value) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, JSON, Some(options)).await.map(drop)
    }

    /// Creates `count` objects, many at a time.
    pub async fn fill(
        &self,
        path: &str,
        count: usize,
        object: impl Fn(usize) -> Value,
    ) -> anyhow::Result<()> {
        futures::stream::iter((0..count).map(Ok::<_, anyhow::Error>))
            .try_for_each_concurrent(IN_FLIGHT, |i| {
                let object = object(i);
                async move { self.create(path, &object).await }
            })
            .await
    }
}
