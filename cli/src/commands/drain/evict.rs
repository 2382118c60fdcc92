//! Evicts, or deletes, the pods of one node side by side and waits until they are gone.

use super::presence::{self, Present};
use super::{Drain, judge, uids};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::print::DryRun;
use crate::resources::Info;
use crate::rest;
use futures::future::join_all;
use gantry_types::Document;
use gantry_types::field::go_quote;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::time::Duration as GoDuration;
use http::Method;
use serde_json::json;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two attempts at a pod.
const RETRY: Duration = Duration::from_secs(5);
/// How often a pod that is overdue is looked at anew, where such are not waited for.
const LOOK: Duration = Duration::from_secs(1);
/// What Go says of a limit that has passed.
const LATE: &str = "context deadline exceeded";

/// What a refused eviction means.
#[derive(Debug, PartialEq)]
enum Answer {
    Gone,
    /// A disruption budget is in the way: it may let go later.
    Budget,
    /// Its namespace is going.
    Terminating,
    Refused,
}

fn answer(refusal: &Error) -> Answer {
    if refusal.is_not_found() {
        Answer::Gone
    } else if refusal.is_reason("TooManyRequests") {
        Answer::Budget
    } else if refusal.is_reason("Forbidden") && refusal.has_cause("NamespaceTerminating") {
        Answer::Terminating
    } else {
        Answer::Refused
    }
}

/// One node's evictions.
pub struct Evictor<'a> {
    cx: &'a Context,
    drain: &'a Drain,
    node: &'a str,
    deadline: Option<Instant>,
}

impl<'a> Evictor<'a> {
    /// The time limit begins now.
    pub fn new(cx: &'a Context, drain: &'a Drain, node: &'a str) -> Self {
        Self { cx, drain, node, deadline: drain.timeout.map(|limit| Instant::now() + limit) }
    }

    /// Sees all pods off; what went wrong with which.
    pub async fn run(&self, pods: &[Info]) -> Vec<Error> {
        let Some(first) = pods.first() else { return Vec::new() };
        let here = uids(pods).into_iter().map(|uid| (uid, String::new())).collect();
        let (tell, present) = watch::channel::<Present>(here);
        let work = async {
            if self.drain.delete {
                return self.delete(pods, &present).await.err().into_iter().collect();
            }
            let each = pods.iter().map(|pod| self.evict(pod, present.clone()));
            join_all(each).await.into_iter().filter_map(Result::err).collect()
        };
        tokio::select! {
            biased;
            errors = work => errors,
            Err(lost) = presence::follow(self.cx, &first.resource, self.node, tell) => vec![lost],
        }
    }

    async fn evict(&self, pod: &Info, mut present: watch::Receiver<Present>) -> Result<()> {
        let namespace = pod.namespace.as_deref().unwrap_or_default();
        let (name, space) = (go_quote(&pod.name), go_quote(namespace));
        let note = if self.drain.dry == DryRun::Server { " (server dry run)" } else { "" };
        loop {
            outln!("evicting pod {namespace}/{}{note}", pod.name);
            if self.deadline.is_some_and(|d| d <= Instant::now()) {
                let limit = GoDuration::from(self.drain.timeout.unwrap_or_default());
                let text =
                    format!("error when evicting pods/{name} -n {space}: global timeout reached: {limit}");
                return Err(message(text));
            }
            let Err(refusal) = self.send(pod, false).await else { break };
            let what = match answer(&refusal) {
                Answer::Gone => return Ok(()),
                Answer::Refused => {
                    let why = refusal.bare();
                    return Err(message(format!("error when evicting pods/{name} -n {space}: {why}")));
                }
                Answer::Budget => format!("pods/{name} -n {space}"),
                // Such a namespace deletes its pods itself: this one is waited for once it is marked.
                Answer::Terminating if self.marked(pod).await => break,
                Answer::Terminating => format!("pod {name} from terminating namespace {space}"),
            };
            eprintln!("error when evicting {what} (will retry after 5s): {}", refusal.bare());
            let next = Instant::now() + RETRY;
            tokio::time::sleep_until(self.deadline.map_or(next, |d| d.min(next))).await;
            // Another of its name is not ours to evict.
            if !present.borrow_and_update().contains_key(pod.object.uid()) {
                return Ok(());
            }
        }
        if self.drain.dry == DryRun::Server {
            return Ok(());
        }
        self.gone(pod, present, "evicted").await.map_err(|why| {
            message(format!("error when waiting for pod {name} in namespace {space} to terminate: {why}"))
        })
    }

    /// Whether a pod is being deleted, or gone.
    async fn marked(&self, pod: &Info) -> bool {
        let now = async { self.cx.rest().await?.get(&pod.path()).await };
        match now.await {
            Ok(now) => now.deleting() || now.uid() != pod.object.uid(),
            Err(e) => e.is_not_found(),
        }
    }

    /// Deletes all, then waits for all.
    async fn delete(&self, pods: &[Info], present: &watch::Receiver<Present>) -> Result<()> {
        for pod in pods {
            match self.send(pod, true).await {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
        }
        if self.drain.dry == DryRun::Server {
            return Ok(());
        }
        let all = join_all(pods.iter().map(|pod| self.gone(pod, present.clone(), "deleted"))).await;
        all.into_iter().collect::<std::result::Result<(), _>>().map_err(message)
    }

    /// Waits until a pod is gone, and says so.
    async fn gone(
        &self,
        pod: &Info,
        mut present: watch::Receiver<Present>,
        done: &str,
    ) -> std::result::Result<(), &'static str> {
        let skip = self.drain.policy.skip_deleted;
        let wait = async {
            loop {
                match present.borrow_and_update().get(pod.object.uid()) {
                    None => {
                        outln!("{} {done}", pod.named());
                        return;
                    }
                    Some(due) if judge::overdue(due, skip, Timestamp::now()) => {
                        let name = go_quote(&pod.name);
                        outln!("pod {name} has DeletionTimestamp older than {skip} seconds, skipping");
                        return;
                    }
                    Some(_) => {}
                }
                let changed = async {
                    // The sender lives as long as this waits.
                    let _ = present.changed().await;
                };
                if skip > 0 {
                    let _ = tokio::time::timeout(LOOK, changed).await;
                } else {
                    changed.await;
                }
            }
        };
        match self.deadline {
            None => wait.await,
            Some(at) => tokio::time::timeout_at(at, wait).await.map_err(|_| LATE)?,
        }
        Ok(())
    }

    /// Asks for a pod's end.
    async fn send(&self, pod: &Info, delete: bool) -> Result<()> {
        let mut options = Document::default();
        if self.drain.grace >= 0 {
            options.set_at(&["gracePeriodSeconds"], self.drain.grace);
        }
        if self.drain.dry == DryRun::Server {
            options.set_at(&["dryRun"], ["All"]);
        }
        let rest = self.cx.rest().await?;
        if delete {
            options.set_type("v1", "DeleteOptions");
            let body = Some((rest::JSON, options.to_json()));
            return rest.call(Method::DELETE, &pod.path(), rest::JSON, body).await.map(drop);
        }
        let meta = json!({"name": pod.name, "namespace": pod.namespace});
        let body = Document::from_typed(&json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": meta, "deleteOptions": options.map()}))?;
        let path = format!("{}/eviction", pod.path());
        rest.call(Method::POST, &path, rest::JSON, Some((rest::JSON, body.to_json()))).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let check = |code: u16, reason: &str, details: &str, want: Answer| {
            let text = format!(
                r#"{{"kind":"Status","apiVersion":"v1","code":{code},"reason":"{reason}","details":{details}}}"#
            );
            let error = Error::Api(Box::new(serde_json::from_str(&text).unwrap()));
            assert_eq!(answer(&error), want, "{text}");
        };
        check(404, "NotFound", "{}", Answer::Gone);
        check(429, "TooManyRequests", "{}", Answer::Budget);
        check(403, "Forbidden", "{}", Answer::Refused);
        check(403, "Forbidden", r#"{"causes":[{"reason":"NamespaceTerminating"}]}"#, Answer::Terminating);
    }
}
