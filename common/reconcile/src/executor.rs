//! Makes effects happen, and tells the barrier.

use crate::barrier::Barrier;
use crate::effect::{Effect, PatchKind, Target};
use futures::future::join_all;
use gantry_client::error::ApiError;
use gantry_client::{Client, Key};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use serde::{Deserialize, Serialize};

/// What the server said of the object it wrote.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    deletion_grace_period_seconds: Option<i64>,
    #[serde(default)]
    finalizers: Vec<String>,
}

impl Metadata {
    /// Whether the object went with the write: it only waited for its finalizers. Namespaces wait for those of
    /// their spec, too.
    fn removed(&self, resource: &str) -> bool {
        self.deletion_timestamp.is_some()
            && self.deletion_grace_period_seconds.unwrap_or(0) == 0
            && self.finalizers.is_empty()
            && resource != "namespaces"
    }
}

#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteOptions<'a> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_period_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    propagation_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preconditions: Option<Preconditions<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Preconditions<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
}

/// The one hand that writes. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    barrier: Barrier,
}

impl Executor {
    pub fn new(client: Client, barrier: Barrier) -> Self {
        Self { client, barrier }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// Makes one change, on behalf of the reconciliation of `key`.
    ///
    /// # Errors
    /// The server's refusal, or that it could not be reached.
    pub async fn apply(&self, key: &Key, effect: &Effect) -> Result<Written, kube::Error> {
        let target = effect.target();
        let deletes = matches!(effect, Effect::Delete { .. });
        let text = self.client.request_text(request(effect)?).await?;
        let meta = serde_json::from_str::<Answer>(&text).map(|a| a.metadata).unwrap_or_default();
        let removed = !deletes && meta.removed(&target.resource);
        let written = Written { name: meta.name, uid: meta.uid, resource_version: meta.resource_version };
        tracing::debug!(%key, resource = target.resource, name = target.name, revision = written.resource_version, deletes, "wrote");
        if let Effect::Delete { uid: Some(uid), .. } = effect {
            self.barrier.deleted(key, &target.resource, target.key(), uid);
        } else if removed {
            self.barrier.removed(key, &target.resource, target.key(), &written.uid);
        } else if let Ok(revision) = written.resource_version.parse()
            && !deletes
        {
            self.barrier.wrote(key, &target.resource, revision);
        }
        Ok(written)
    }

    /// Makes changes one after the other; the first failure ends it.
    ///
    /// # Errors
    /// As [`Executor::apply`].
    pub async fn apply_all(&self, key: &Key, effects: &[Effect]) -> Result<(), kube::Error> {
        for effect in effects {
            self.apply(key, effect).await?;
        }
        Ok(())
    }

    /// Deletes; an object that is gone, or another of its name, counts as deleted.
    ///
    /// # Errors
    /// As [`Executor::apply`].
    pub async fn delete(&self, key: &Key, effect: &Effect) -> Result<(), kube::Error> {
        match self.apply(key, effect).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes changes at once, in batches of 1, 2, 4, …: while the server refuses, it is asked little. What
    /// succeeded, and the first failure; effects after a failing batch are not tried.
    pub async fn slow_start(&self, key: &Key, effects: &[Effect]) -> (Vec<Written>, Option<kube::Error>) {
        let mut done = Vec::new();
        let (mut rest, mut size) = (effects, 1);
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(size.min(rest.len()));
            let mut failure = None;
            for result in join_all(batch.iter().map(|effect| self.apply(key, effect))).await {
                match result {
                    Ok(written) => done.push(written),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            if failure.is_some() {
                return (done, failure);
            }
            (rest, size) = (after, size * 2);
        }
        (done, None)
    }

    /// All at once; each one's result, in order.
    pub async fn concurrently(&self, key: &Key, effects: &[Effect]) -> Vec<Result<Written, kube::Error>> {
        join_all(effects.iter().map(|effect| self.apply(key, effect))).await
    }
}

fn path(target: &Target, subresource: &str) -> String {
    let mut path = format!("{}/{}", target.path, target.name);
    if !subresource.is_empty() {
        path.push('/');
        path.push_str(subresource);
    }
    path
}

fn request(effect: &Effect) -> Result<Request<Vec<u8>>, kube::Error> {
    let json = "application/json";
    let (method, path, content, body) = match effect {
        Effect::Create { target, body } => (Method::POST, target.path.clone(), json, body.0.clone()),
        Effect::Update { target, subresource, body } => {
            (Method::PUT, path(target, subresource), json, body.0.clone())
        }
        Effect::Patch { target, subresource, kind, body } => {
            (Method::PATCH, path(target, subresource), PatchKind::content_type(*kind), body.0.clone())
        }
        Effect::Delete { target, uid, resource_version, propagation, grace_seconds } => {
            let preconditions = (uid.is_some() || resource_version.is_some()).then_some(Preconditions {
                uid: uid.as_deref(),
                resource_version: resource_version.as_deref(),
            });
            let options = DeleteOptions {
                api_version: "v1",
                kind: "DeleteOptions",
                grace_period_seconds: *grace_seconds,
                propagation_policy: propagation.map(|p| p.as_str()),
                preconditions,
            };
            let body = serde_json::to_vec(&options).map_err(kube::Error::SerdeError)?;
            (Method::DELETE, path(target, ""), json, body)
        }
    };
    Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, content)
        .header(ACCEPT, json)
        .body(body)
        .map_err(kube::Error::HttpError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resource: &str, metadata: &str, expected: bool) {
        let meta: Metadata = serde_json::from_str(metadata).unwrap();
        assert_eq!(meta.removed(resource), expected, "{resource} {metadata}");
    }

    #[test]
    fn an_object_goes_with_its_last_finalizer() {
        let at = r#""deletionTimestamp":"2026-01-01T00:00:00Z""#;
        check("pods", "{}", false);
        check("pods", &format!(r#"{{{at},"deletionGracePeriodSeconds":0}}"#), true);
        check("pods", &format!(r#"{{{at},"deletionGracePeriodSeconds":30}}"#), false);
        check("pods", &format!(r#"{{{at},"finalizers":["a"]}}"#), false);
        check("jobs.batch", &format!("{{{at}}}"), true);
        check("namespaces", &format!("{{{at}}}"), false);
    }
}
