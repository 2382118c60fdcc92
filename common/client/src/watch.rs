//! Keeping up with one resource: streaming list or paged list, then watch, for ever.

use crate::error::ApiError;
use futures::AsyncBufReadExt;
use http::header::ACCEPT;
use kube::Client;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What to watch: the collection's path and selectors.
#[derive(Clone, Debug)]
pub struct Target {
    /// `/api/v1/pods`, `/apis/apps/v1/namespaces/x/deployments`
    pub path: String,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    /// Asks for `PartialObjectMetadata` instead of whole objects.
    pub metadata_only: bool,
}

/// Where a watch's news goes. Called on the watch's task, in order; must not block.
pub trait Sink: Send {
    /// A full state begins: everything not upserted before [`Sink::complete`] is gone.
    fn begin(&mut self);
    fn upsert(&mut self, object: &RawValue);
    fn remove(&mut self, object: &RawValue);
    /// The full state, at this revision, has been delivered.
    fn complete(&mut self);
    /// Everything up to this revision has been delivered.
    fn progress(&mut self, revision: u64);
    /// A try failed; another follows.
    fn failed(&mut self, _error: &kube::Error) {}
}

const PAGE: u32 = 500;
const MIN_BACKOFF: Duration = Duration::from_millis(800);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A server that cannot be reached is not burdened by tries, and its return is to be noticed soon.
const MAX_BACKOFF_UNREACHABLE: Duration = Duration::from_secs(3);

/// Delivers to `sink` until `stop`. Errors are logged and retried with growing, jittered pauses; an expired
/// revision (410) leads to a new full state.
pub async fn run(client: Client, target: Target, sink: &mut dyn Sink, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow(&client, &target, sink) => {}
    }
}

async fn follow(client: &Client, target: &Target, sink: &mut dyn Sink) {
    let mut streaming = true;
    let mut backoff = Backoff::default();
    loop {
        let mut from = match full_state(client, target, sink, &mut streaming).await {
            Ok(Some(revision)) => revision,
            Ok(None) => {
                backoff.pause().await;
                continue;
            }
            Err(error) => {
                report(target, &error, &backoff);
                sink.failed(&error);
                backoff.pause_after(&error).await;
                continue;
            }
        };
        loop {
            let started = tokio::time::Instant::now();
            match stream(client, target, sink, &mut from, false).await {
                Ok(End::Expired) => break,
                Ok(End::Closed | End::InitialDone | End::Refused) => {
                    // A server that hangs up at once is not to be hammered.
                    if started.elapsed() > Duration::from_secs(5) {
                        backoff = Backoff::default();
                    } else {
                        backoff.pause().await;
                    }
                }
                Err(error) if error.code() == Some(410) => break,
                Err(error) => {
                    report(target, &error, &backoff);
                    sink.failed(&error);
                    backoff.pause_after(&error).await;
                }
            }
        }
    }
}

/// Tells of the first failure in a row; the rest only where debugging.
fn report(target: &Target, error: &kube::Error, backoff: &Backoff) {
    let (path, words) = (&target.path, crate::error::message(error));
    if backoff.0 > MIN_BACKOFF {
        tracing::debug!(path, error = words, "still failing to list or watch");
    } else if error.is_not_found() {
        tracing::warn!(path, "the API server does not serve this; asking again now and then");
    } else if error.code().is_some() {
        tracing::warn!(path, error = words, "failed to list or watch");
    } else {
        tracing::info!(path, error = words, "cannot reach the API server to list or watch");
    }
}

/// Brings the sink to a full state; the revision to watch from, or `None` where the stream broke off.
async fn full_state(
    client: &Client,
    target: &Target,
    sink: &mut dyn Sink,
    streaming: &mut bool,
) -> Result<Option<String>, kube::Error> {
    if *streaming {
        sink.begin();
        let mut from = String::new();
        match stream(client, target, sink, &mut from, true).await {
            Ok(End::InitialDone) => return Ok(Some(from)),
            // An apiserver on an old etcd accepts the request and then refuses inside the stream.
            Ok(End::Refused) => *streaming = false,
            Ok(_) => return Ok(None),
            Err(error) if matches!(error.code(), Some(400 | 422)) => *streaming = false,
            Err(error) => return Err(error),
        }
    }
    sink.begin();
    list(client, target, sink).await.map(Some)
}

#[derive(Deserialize)]
struct Page<'a> {
    metadata: PageMeta<'a>,
    /// `null` where there are none, from some servers.
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta<'a> {
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
    #[serde(borrow, default, rename = "continue")]
    more: Cow<'a, str>,
}

async fn list(client: &Client, target: &Target, sink: &mut dyn Sink) -> Result<String, kube::Error> {
    let mut more = String::new();
    loop {
        let limit = PAGE.to_string();
        let mut pairs = vec![("limit", limit.as_str())];
        if !more.is_empty() {
            pairs.push(("continue", &more));
        }
        let text = client.request_text(request(target, &pairs, "PartialObjectMetadataList")?).await?;
        let page: Page<'_> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        for item in page.items.iter().flatten() {
            sink.upsert(item);
        }
        if page.metadata.more.is_empty() {
            sink.complete();
            progress(sink, &page.metadata.resource_version);
            return Ok(page.metadata.resource_version.into_owned());
        }
        more = page.metadata.more.into_owned();
    }
}

fn progress(sink: &mut dyn Sink, revision: &str) {
    if let Ok(revision) = revision.parse() {
        sink.progress(revision);
    }
}

enum End {
    InitialDone,
    /// The server does not stream lists (its store cannot tell how far it is).
    Refused,
    Expired,
    Closed,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Deserialize)]
struct HeadMeta {
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl HeadMeta {
    /// Whether this bookmark ends a full state.
    fn ends_initial(&self) -> bool {
        self.annotations
            .as_ref()
            .is_some_and(|a| a.get("k8s.io/initial-events-end").is_some_and(|v| v == "true"))
    }
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
}

/// One watch request, read to its end. With `initial` the full state comes first, as events, and the live part
/// follows on the same stream.
async fn stream(
    client: &Client,
    target: &Target,
    sink: &mut dyn Sink,
    from: &mut String,
    initial: bool,
) -> Result<End, kube::Error> {
    let timeout = (300 + rand::random::<u64>() % 300).to_string();
    let mut pairs = vec![("watch", "true"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", &timeout)];
    if initial {
        pairs.extend([("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]);
    } else {
        pairs.push(("resourceVersion", from));
    }
    let request = request(target, &pairs, "PartialObjectMetadata")?;
    let mut lines = Box::pin(client.request_stream(request).await?);
    let mut initial = initial;
    let mut done = false;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        if buffer.capacity() > 256 << 10 {
            buffer.shrink_to(16 << 10);
        }
        let read = lines.read_until(b'\n', &mut buffer).await.map_err(kube::Error::ReadEvents);
        match read {
            Ok(0) => return Ok(if initial { End::Closed } else { closed(done) }),
            Ok(_) => {}
            // A cut connection is how watches end; the next request tells whether something is wrong.
            Err(error) => {
                tracing::debug!(path = target.path, %error, "watch cut off");
                return Ok(if initial { End::Closed } else { closed(done) });
            }
        }
        if buffer.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let Ok(line) = serde_json::from_slice::<Line<'_>>(&buffer) else {
            tracing::warn!(path = target.path, "unreadable watch event");
            return Ok(if initial { End::Closed } else { End::Expired });
        };
        match &*line.kind {
            "ERROR" => {
                let failure: Failure =
                    serde_json::from_str(line.object.get()).map_err(kube::Error::SerdeError)?;
                if initial && failure.code != 410 {
                    tracing::debug!(path = target.path, failure.message, "falling back to a list");
                    return Ok(End::Refused);
                }
                if failure.code != 410 {
                    tracing::warn!(
                        path = target.path,
                        reason = failure.reason,
                        message = failure.message,
                        "watch error"
                    );
                }
                return Ok(if initial { End::Closed } else { End::Expired });
            }
            "ADDED" | "MODIFIED" => sink.upsert(line.object),
            "DELETED" => sink.remove(line.object),
            _ => {}
        }
        if initial {
            if line.kind == "BOOKMARK" && head(line.object).is_some_and(|meta| meta.ends_initial()) {
                sink.complete();
                initial = false;
                done = true;
            } else {
                continue;
            }
        }
        if let Some(revision) = revision(line.object) {
            from.clear();
            from.push_str(&revision);
            progress(sink, from);
        }
    }
}

fn head(object: &RawValue) -> Option<HeadMeta> {
    serde_json::from_str::<Head>(object.get()).ok().map(|head| head.metadata)
}

/// An object's revision. Reads no further than that: mostly a fraction of the object.
fn revision(object: &RawValue) -> Option<Cow<'_, str>> {
    let mut found = None;
    // The error is how reading ends early.
    let _ = serde_json::Deserializer::from_str(object.get())
        .deserialize_map(Finding { path: &["metadata", "resourceVersion"], found: &mut found });
    found.filter(|revision: &Cow<'_, str>| !revision.is_empty())
}

/// Looks for the string at a path of keys, and stops there.
struct Finding<'p, 'f, 'de> {
    path: &'p [&'static str],
    found: &'f mut Option<Cow<'de, str>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> serde::de::Visitor<'de> for Finding<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [first, rest @ ..] = self.path else { return Ok(()) };
        while let Some(Text(key)) = map.next_key()? {
            if key != *first {
                map.next_value::<serde::de::IgnoredAny>()?;
            } else if rest.is_empty() {
                *self.found = Some(map.next_value::<Text<'de>>()?.0);
                return Err(serde::de::Error::custom("found"));
            } else {
                map.next_value_seed(Finding { path: rest, found: self.found })?;
                return Err(serde::de::Error::custom("not there"));
            }
        }
        Ok(())
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Finding<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

fn closed(initial_done: bool) -> End {
    if initial_done { End::InitialDone } else { End::Closed }
}

fn request(
    target: &Target,
    pairs: &[(&str, &str)],
    metadata_kind: &str,
) -> Result<http::Request<Vec<u8>>, kube::Error> {
    let mut uri = target.path.clone();
    let selectors = [("labelSelector", &target.label_selector), ("fieldSelector", &target.field_selector)];
    let selectors = selectors.iter().filter_map(|(n, v)| v.as_deref().map(|v| (*n, v)));
    for (n, (name, value)) in pairs.iter().copied().chain(selectors).enumerate() {
        uri.push(if n == 0 { '?' } else { '&' });
        uri.push_str(name);
        uri.push('=');
        escape_into(&mut uri, value);
    }
    let accept = if target.metadata_only {
        format!("application/json;as={metadata_kind};g=meta.k8s.io;v=v1")
    } else {
        "application/json".to_owned()
    };
    http::Request::get(uri).header(ACCEPT, accept).body(Vec::new()).map_err(kube::Error::HttpError)
}

/// Percent-encodes a query value.
pub(crate) fn escape_into(out: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Pauses that double up to a limit, with up to as much again at random.
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(MIN_BACKOFF)
    }
}

impl Backoff {
    async fn pause(&mut self) {
        self.pause_at_most(MAX_BACKOFF).await;
    }

    async fn pause_after(&mut self, error: &kube::Error) {
        let unreachable = error.code().is_none();
        self.pause_at_most(if unreachable { MAX_BACKOFF_UNREACHABLE } else { MAX_BACKOFF }).await;
    }

    async fn pause_at_most(&mut self, limit: Duration) {
        let pause = self.0.min(limit).mul_f64(1.0 + rand::random::<f64>());
        self.0 = (self.0 * 2).min(limit);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_found_wherever_it_stands() {
        let check = |text: &str, expected: Option<&str>| {
            let object = RawValue::from_string(text.to_owned()).unwrap();
            assert_eq!(revision(&object).as_deref(), expected, "{text}");
        };
        check(
            r#"{"kind":"Pod","metadata":{"name":"a","resourceVersion":"7","uid":"u"},"spec":{}}"#,
            Some("7"),
        );
        check(
            r#"{"spec":{"metadata":{"resourceVersion":"1"}},"metadata":{"resourceVersion":"2"}}"#,
            Some("2"),
        );
        check(r#"{"metadata":{"labels":{"resourceVersion":"1"}}}"#, None);
        check(r#"{"metadata":{"resourceVersion":""}}"#, None);
        check(r#"{"code":410}"#, None);
        check("[1]", None);
    }
}
