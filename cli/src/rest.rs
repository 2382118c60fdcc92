//! Requests to the API: paths, media types and refusals. What bodies mean is the callers'.

use crate::error::{Error, Result, message};
use bytes::Bytes;
use futures::StreamExt;
use gantry_types::status::{StatusBody, StatusMeta};
use gantry_types::{Document, Status};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub const JSON: &str = "application/json";
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

static WARNINGS: AtomicUsize = AtomicUsize::new(0);

/// How many different warnings this run was given.
pub fn warnings() -> usize {
    WARNINGS.load(Ordering::Relaxed)
}

/// A client of one server.
pub struct Rest {
    pub client: kube::Client,
    pub host: String,
    pub server: String,
    pub timeout: Option<Duration>,
    pub verbosity: i64,
    pub seen: Mutex<Vec<String>>,
}

/// Percent-encodes one part of a query or path.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(b as char);
        } else {
            // Writing into a string does not fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// A path with a query of the pairs that are not empty.
pub fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (k, v) in pairs.iter().filter(|(_, v)| !v.is_empty()) {
        out.push(if out.contains('?') { '&' } else { '?' });
        out.push_str(k);
        out.push('=');
        out.push_str(&escape(v));
    }
    out
}

fn why(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut at = e.source();
    while let Some(cause) = at {
        text = cause.to_string();
        at = cause.source();
    }
    text
}

impl Rest {
    fn transport(&self, e: &kube::Error) -> Error {
        let mut chain = why(e);
        if e.to_string().contains("onnection refused") {
            chain = "Connection refused".into();
        }
        Error::Transport { host: self.host.clone(), why: chain }
    }

    /// Sends a request and returns the answer's head with its body unread; refusals are errors.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Response<Body>> {
        let mut request = Request::builder().method(method.clone()).uri(path).header(ACCEPT, accept);
        if self.verbosity >= 8
            && let Some((_, data)) = &body
        {
            eprintln!("Request Body: {}", String::from_utf8_lossy(data));
        }
        let body = match body {
            Some((kind, data)) => {
                request = request.header(CONTENT_TYPE, kind);
                Body::from(data)
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|e| message(format!("{path}: {e}")))?;
        let start = Instant::now();
        let sent = self.client.send(request);
        let answer = match self.timeout {
            None => sent.await,
            Some(limit) => tokio::time::timeout(limit, sent).await.map_err(|_| Error::Transport {
                host: self.host.clone(),
                why: "net/http: request canceled (Client.Timeout exceeded while awaiting headers)".into(),
            })?,
        }
        .map_err(|e| self.transport(&e))?;
        if self.verbosity >= 6 {
            let (ms, status) = (start.elapsed().as_millis(), answer.status());
            eprintln!("{method} {}{path} {status} in {ms} milliseconds", self.server);
        }
        for warning in answer.headers().get_all(http::header::WARNING) {
            self.warn(&String::from_utf8_lossy(warning.as_bytes()));
        }
        if answer.status().is_success() {
            return Ok(answer);
        }
        let code = answer.status().as_u16();
        let body = self.drain(answer).await?;
        Err(Error::Api(Box::new(
            serde_json::from_slice::<StatusBody>(&body)
                .ok()
                .filter(|s| s.kind == "Status")
                .unwrap_or_else(|| generic(code, &body)),
        )))
    }

    /// Tells a `Warning` header, once.
    fn warn(&self, header: &str) {
        let text =
            header.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"')).map_or(header, |(t, _)| t);
        let text = text.replace("\\\"", "\"").replace("\\\\", "\\");
        let mut seen = self.seen.lock();
        if !seen.contains(&text) {
            eprintln!("Warning: {text}");
            seen.push(text);
            WARNINGS.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn drain(&self, answer: Response<Body>) -> Result<Bytes> {
        let all = answer
            .into_body()
            .collect()
            .await
            .map_err(|e| Error::Transport { host: self.host.clone(), why: why(&e) })?;
        Ok(all.to_bytes())
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Bytes> {
        let answer = self.open(method, path, accept, body).await?;
        let body = self.drain(answer).await?;
        if self.verbosity >= 8 {
            eprintln!("Response Body: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    /// # Errors
    /// As [`Self::open`].
    pub async fn get(&self, path: &str) -> Result<Document> {
        Ok(Document::from_json(&self.call(Method::GET, path, JSON, None).await?)?)
    }

    /// A typed object or list.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn typed<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        Ok(serde_json::from_slice(&self.call(Method::GET, path, JSON, None).await?)?)
    }

    /// Sends an object.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn send(&self, method: Method, path: &str, object: &Document) -> Result<Document> {
        let body = Some((JSON, object.to_json()));
        Ok(Document::from_json(&self.call(method, path, JSON, body).await?)?)
    }

    /// Sends a patch of the given media type.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn patch(&self, path: &str, kind: &str, patch: Vec<u8>) -> Result<Document> {
        Ok(Document::from_json(&self.call(Method::PATCH, path, JSON, Some((kind, patch))).await?)?)
    }

    /// Watches: every line of the answer as it comes.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn lines(&self, path: &str, accept: &str) -> Result<Lines> {
        let answer = self.open(Method::GET, path, accept, None).await?;
        Ok(Lines { body: answer.into_body(), kept: Vec::new() })
    }
}

/// What is said of a refusal that is no `Status`.
fn generic(code: u16, body: &[u8]) -> StatusBody {
    let text = String::from_utf8_lossy(body).trim().to_owned();
    let (reason, words) = match code {
        401 => ("Unauthorized", "the server has asked for the client to provide credentials"),
        403 => ("Forbidden", "the server does not allow access to the requested resource"),
        404 => ("NotFound", "the server could not find the requested resource"),
        405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
        406 => {
            ("NotAcceptable", "the server was unable to respond with a content type that the client supports")
        }
        415 => (
            "UnsupportedMediaType",
            "the server was unable to respond with a content type that the client supports",
        ),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later",
        ),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        500..600 => ("InternalError", "an error on the server has prevented the request from succeeding"),
        _ => ("", "the server responded with the status code but did not return more information"),
    };
    let words = if text.is_empty() || code == 404 { words.to_owned() } else { format!("{words} ({text})") };
    let mut body = Status::failure(code, reason, words).body().clone();
    body.metadata = StatusMeta::default();
    body
}

/// The lines of a body.
pub struct Lines {
    body: Body,
    kept: Vec<u8>,
}

impl Lines {
    /// The next line, without its end; `None` where the server closed.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.kept.iter().position(|b| *b == b'\n') {
                let rest = self.kept.split_off(at + 1);
                let mut line = std::mem::replace(&mut self.kept, rest);
                line.pop();
                return Some(line);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.kept.extend_from_slice(&data);
                    }
                }
                _ if self.kept.is_empty() => return None,
                _ => return Some(std::mem::take(&mut self.kept)),
            }
        }
    }
}

/// Copies a body to standard output as it comes.
///
/// # Errors
/// Where the connection breaks.
pub async fn pour(answer: Response<Body>, mut sink: impl FnMut(&[u8])) -> Result<()> {
    let mut data = answer.into_body().into_data_stream();
    while let Some(chunk) = data.next().await {
        sink(&chunk.map_err(|e| message(why(&e)))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped_and_empty_pairs_left_out() {
        assert_eq!(with_query("/api", &[("a", "x=y,z"), ("b", ""), ("c", "1")]), "/api?a=x%3Dy%2Cz&c=1");
    }
}
