//! Raw requests, for what a typed client would hide.

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, BodyStream};
use kube::client::Body;
use serde_json::Value;
use std::pin::Pin;

/// Requests as one identity.
#[derive(Clone)]
pub struct Http {
    client: kube::Client,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; null where it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON of an answer that must have this status.
    ///
    /// # Panics
    /// Where it has another.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// The texts of all warnings, in order.
    pub fn warnings(&self) -> Vec<String> {
        let all = self.headers.get_all(http::header::WARNING);
        all.iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect()
    }
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

impl Http {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    fn request(
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Request<Body>> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(request.body(Body::from(body))?)
    }

    /// Any request.
    ///
    /// # Errors
    /// Where no answer comes; refusals are answers.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> anyhow::Result<Reply> {
        let request = Self::request(method, path, headers, body.into())?;
        let answer = self.client.send(request).await.with_context(|| format!("{method} {path}"))?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.with_context(|| format!("{method} {path}"))?.to_bytes();
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// As [`Self::try_send`].
    ///
    /// # Panics
    /// Where no answer comes.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        match self.try_send(method, path, headers, body).await {
            Ok(reply) => reply,
            Err(error) => panic!("{error:#}"),
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, JSON, body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, JSON, body.to_string()).await
    }

    /// A patch of the given kind: `json`, `merge`, `strategic` or `apply`.
    pub async fn patch(&self, kind: &str, path: &str, body: &Value) -> Reply {
        let media = match kind {
            "json" => "application/json-patch+json",
            "merge" => "application/merge-patch+json",
            "strategic" => "application/strategic-merge-patch+json",
            _ => "application/apply-patch+yaml",
        };
        self.send("PATCH", path, &[("content-type", media)], body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], "").await
    }

    pub async fn delete_with(&self, path: &str, options: &Value) -> Reply {
        self.send("DELETE", path, JSON, options.to_string()).await
    }

    /// Starts a watch.
    ///
    /// # Panics
    /// Where it is refused.
    pub async fn watch(&self, path: &str) -> Watch {
        let request = Self::request("GET", path, &[], Vec::new());
        let request = request.unwrap_or_else(|e| panic!("{e:#}"));
        let answer = self.client.send(request).await.unwrap_or_else(|e| panic!("GET {path}: {e}"));
        assert_eq!(answer.status().as_u16(), 200, "GET {path}");
        let frames = BodyStream::new(answer.into_body())
            .filter_map(|frame| async move { frame.ok().and_then(|f| f.into_data().ok()) });
        Watch { frames: Box::pin(frames), rest: BytesMut::new() }
    }
}

/// The events of a watch, one JSON value each.
pub struct Watch {
    frames: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    rest: BytesMut,
}

impl Watch {
    /// The next event; `None` once the server has ended the watch.
    ///
    /// # Panics
    /// Where none comes within [`crate::PATIENCE`].
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line = self.rest.split_to(end + 1);
                return Some(serde_json::from_slice(&line).unwrap_or(Value::Null));
            }
            match tokio::time::timeout(crate::PATIENCE, self.frames.next()).await {
                Ok(Some(bytes)) => self.rest.extend_from_slice(&bytes),
                Ok(None) => return None,
                Err(_) => panic!("no event came"),
            }
        }
    }

    /// Type and object name of the next event.
    pub async fn next_pair(&mut self) -> (String, String) {
        let event = self.next().await.unwrap_or(Value::Null);
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}
