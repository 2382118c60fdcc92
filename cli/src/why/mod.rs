//! `why`: what keeps an object from what it should be, and what would have to change.
//!
//! Each kind is a pure function from what was fetched to a tree of findings ([`pod`], [`container`],
//! [`unscheduled`], [`namespace`], [`service`], [`rollout`], [`claim`], [`job`], [`autoscaler`]); this file and
//! [`gather`] fetch. Nothing but the API is asked, so that it serves with any Kubernetes.

mod autoscaler;
mod claim;
mod container;
mod finding;
mod gather;
mod job;
mod message;
mod namespace;
mod pod;
mod read;
mod refusal;
mod rollout;
mod service;
mod unscheduled;

use crate::context::Context;
use crate::error::{Result, message as refuse};
use crate::resources::Info;
pub use finding::Report;
use finding::Verdict;
use read::Reader;

/// What can be explained, for those who ask for something else.
const KINDS: &str = "pods, namespaces, services, deployments, statefulsets, daemonsets, replicasets, \
                     persistentvolumeclaims, jobs, cronjobs and horizontalpodautoscalers";

/// Finds out what is wrong with an object.
///
/// # Errors
/// A kind nothing is known of, or an answer that cannot be read.
pub async fn explain(cx: &Context, info: &Info) -> Result<Report> {
    let reader = Reader::new(cx);
    let r = &reader;
    let object = &info.object;
    let verdict: Verdict = match (info.resource.group.as_str(), info.resource.kind.as_str()) {
        ("", "Pod") => gather::pod(r, &object.to_typed()?).await,
        ("", "Namespace") => gather::namespace(r, &object.to_typed()?).await,
        ("", "Service") => gather::service(r, &object.to_typed()?).await,
        ("", "PersistentVolumeClaim") => gather::claim(r, &object.to_typed()?).await,
        ("apps", "Deployment") => gather::deployment(r, &object.to_typed()?).await,
        ("apps", "ReplicaSet") => gather::replica_set(r, &object.to_typed()?).await,
        ("apps", "StatefulSet") => gather::stateful_set(r, &object.to_typed()?).await,
        ("apps", "DaemonSet") => gather::daemon_set(r, &object.to_typed()?).await,
        ("batch", "Job") => gather::job(r, &object.to_typed()?).await,
        ("batch", "CronJob") => gather::cron_job(r, &object.to_typed()?).await,
        ("autoscaling", "HorizontalPodAutoscaler") => {
            // Only the second version tells its conditions in fields.
            let path = info.path().replacen("/apis/autoscaling/v1/", "/apis/autoscaling/v2/", 1);
            autoscaler::explain(&cx.rest().await?.typed(&path).await?)
        }
        _ => {
            let kind = info.resource.full();
            return Err(refuse(format!("cannot explain {kind}; known are {KINDS}")));
        }
    };
    Ok(Report {
        object: info.named(),
        namespace: info.namespace.clone().unwrap_or_default(),
        state: verdict.state,
        findings: verdict.findings,
        unread: reader.unread(),
    })
}
