//! Recorded requests with the answers Kubernetes 1.36 gives.

use crate::mask;
use anyhow::Context;
use gantry_testkit::{Cluster, Http, Identity, Reply};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// One request. `as` is `admin` where absent; others are `anonymous`, `user:<name>`, `node:<name>`,
/// `token:<literal>` and, for a service account, `sa:`, `foreign:` (a token for another audience) or
/// `expired:` before `<namespace>/<name>`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(default, rename = "as")]
    pub identity: Option<String>,
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A text is sent as it is, anything else as JSON.
    #[serde(default, deserialize_with = "present")]
    pub body: Option<Value>,
    /// How many letters take the place of `@FILL@` in the body.
    #[serde(default)]
    pub fill: usize,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// A request with its answer, and what has to happen first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    pub name: String,
    #[serde(default)]
    pub before: Vec<Request>,
    pub request: Request,
    pub status: u16,
    pub content_type: String,
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The body, masked: JSON, or text where it is none.
    pub answer: Value,
}

/// A file of cases, run in order on one cluster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    pub setup: Vec<Request>,
    pub cases: Vec<Case>,
}

/// Sends requests as many identities.
pub struct Sender<'a> {
    cluster: &'a Cluster,
    clients: HashMap<String, Http>,
}

impl<'a> Sender<'a> {
    pub fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, clients: HashMap::new() }
    }

    /// A token of a service account, issued some time ago, for an audience.
    fn token(&self, account: &str, audience: Option<&str>, ago: i64) -> anyhow::Result<Identity> {
        let (namespace, name) = account.split_once('/').context("<namespace>/<name>")?;
        let issuer = &self.cluster.server().issuer;
        let spec = TokenRequestSpec {
            audiences: audience.map(|a| vec![a.to_owned()]),
            ..TokenRequestSpec::default()
        };
        let mut request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let now = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(ago);
        let said = |status: gantry_types::Status| anyhow::anyhow!("{status:?}");
        issuer.prepare(namespace, name, &mut request, now).map_err(said)?;
        let issued = issuer.issue(namespace, name, request, now).map_err(said)?;
        let status = issued.request.status.context("no token")?;
        Ok(Identity::Token(status.token.context("no token")?))
    }

    fn identity(&self, text: &str) -> anyhow::Result<Identity> {
        Ok(match text.split_once(':') {
            None if text == "anonymous" => Identity::Anonymous,
            None => Identity::Admin,
            Some(("user", name)) => Identity::user(name),
            Some(("node", name)) => Identity::node(name),
            Some(("token", token)) => Identity::Token(token.to_owned()),
            Some(("sa", account)) => self.token(account, None, 0)?,
            Some(("foreign", account)) => self.token(account, Some("elsewhere"), 0)?,
            Some(("expired", account)) => self.token(account, None, 2 * 24 * 3600 * 365)?,
            Some((other, _)) => anyhow::bail!("unknown identity {other:?}"),
        })
    }

    /// Sends one request.
    ///
    /// # Errors
    /// Where no answer comes.
    pub async fn send(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let who = request.identity.as_deref().unwrap_or("admin");
        if !self.clients.contains_key(who) {
            let http = self.cluster.http(&self.identity(who)?);
            self.clients.insert(who.to_owned(), http);
        }
        let body = match &request.body {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        let body = body.replace("@FILL@", &"x".repeat(request.fill));
        let mut headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        if request.body.is_some() && !request.headers.contains_key("content-type") {
            headers.push(("content-type", "application/json"));
        }
        self.clients[who].try_send(&request.method, &request.path, &headers, body).await
    }
}

/// Where two values differ, at most a few places.
fn differences(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, x) in a {
                let below = format!("{path}.{key}");
                differences(&below, x, b.get(key).unwrap_or(&Value::Null), out);
            }
            for (key, x) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                out.push(format!("{path}.{key}\n    want nothing\n    got  {x}"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), x, y, out);
            }
        }
        (Value::String(a), Value::String(b)) if path == ".message" => {
            // A list of errors comes in any order.
            let parts = |s: &str| {
                let mut parts: Vec<String> = s
                    .replace(['[', ']'], "")
                    .replace(" is invalid: ", ", ")
                    .split(", ")
                    .map(str::to_owned)
                    .collect();
                parts.sort();
                parts
            };
            if a != b && (a.len() != b.len() || parts(a) != parts(b)) {
                out.push(format!("{path}\n    want {a}\n    got  {b}"));
            }
        }
        _ if want == got => {}
        _ => out.push(format!("{path}\n    want {want}\n    got  {got}")),
    }
}

/// What of an answer is not as recorded; empty where all is.
pub fn compare(case: &Case, reply: &Reply) -> Vec<String> {
    let mut out = Vec::new();
    if reply.status != case.status {
        out.push(format!("status\n    want {}\n    got  {}", case.status, reply.status));
    }
    let media = reply.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if media != case.content_type {
        out.push(format!("content type\n    want {}\n    got  {media}", case.content_type));
    }
    if reply.warnings() != case.warnings {
        out.push(format!("warnings\n    want {:?}\n    got  {:?}", case.warnings, reply.warnings()));
    }
    let got = match serde_json::from_slice::<Value>(&reply.body) {
        Ok(value) => value,
        Err(_) => Value::String(reply.text()),
    };
    differences("", &mask::value(&case.answer, ""), &mask::value(&got, ""), &mut out);
    out
}

/// Runs a recording on a new cluster.
///
/// # Panics
/// Where an answer is not as recorded, with all that differs.
pub async fn check(text: &str) {
    let recording: Recording = serde_json::from_str(text).expect("the recording is well-formed");
    let cluster = Cluster::start().await;
    let mut sender = Sender::new(&cluster);
    let mut failures = Vec::new();
    for request in &recording.setup {
        match sender.send(request).await {
            Ok(reply) if reply.status < 300 => {}
            other => failures.push(format!("setup {}: {other:?}", request.path)),
        }
    }
    for case in &recording.cases {
        for request in &case.before {
            match sender.send(request).await {
                Ok(reply) if reply.status < 300 => {}
                other => failures.push(format!("{}: before, {}: {other:?}", case.name, request.path)),
            }
        }
        match sender.send(&case.request).await {
            Ok(reply) => {
                let wrong = compare(case, &reply);
                if !wrong.is_empty() {
                    failures.push(format!("{}\n  {}", case.name, wrong.join("\n  ")));
                }
            }
            Err(error) => failures.push(format!("{}: {error:#}", case.name)),
        }
    }
    let (wrong, all) = (failures.len(), recording.cases.len());
    assert!(failures.is_empty(), "{wrong} of {all} differ\n{}", failures.join("\n"));
}
