//! `describe`: one text per kind, and a generic one. Texts are written with tabs and aligned at the end.

mod autoscaler;
mod basic;
mod batch;
mod certificate;
mod container;
mod endpoints;
mod generic;
mod node;
mod pod;
mod policy;
mod service;
mod storage;
mod text;
mod volume;
mod workload;

use crate::commands::events;
use crate::context::Context;
use crate::error::Result;
use crate::resources::Info;
use crate::resources::builder::{self, Query};
use gantry_types::Document;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use text::Text;

/// Describes one object.
///
/// # Errors
/// Refusals, where more than the object itself is asked for.
pub async fn describe(cx: &Context, info: &Info, show_events: bool) -> Result<String> {
    let o = &info.object;
    let mut t = Text::default();
    let mut with_events = show_events;
    match (info.resource.group.as_str(), info.resource.kind.as_str()) {
        ("", "Pod") => pod::pod(&mut t, &o.to_typed()?),
        ("", "Service") => service::service(cx, &mut t, &o.to_typed()?).await?,
        ("", "Node") => node::node(cx, &mut t, &o.to_typed()?).await?,
        ("", "Namespace") => {
            basic::namespace(cx, &mut t, &o.to_typed()?).await?;
            with_events = false;
        }
        ("", "ConfigMap") => basic::config_map(&mut t, &o.to_typed()?),
        ("", "Secret") => {
            basic::secret(&mut t, &o.to_typed()?);
            with_events = false;
        }
        ("", "ServiceAccount") => basic::service_account(&mut t, &o.to_typed()?),
        ("apps", "Deployment") => workload::deployment(cx, &mut t, o).await?,
        ("apps", "ReplicaSet") => workload::replica_set(cx, &mut t, o).await?,
        ("apps", "DaemonSet") => workload::daemon_set(cx, &mut t, o).await?,
        ("apps", "StatefulSet") => workload::stateful_set(cx, &mut t, o).await?,
        ("", "ReplicationController") => workload::replication_controller(cx, &mut t, o).await?,
        ("batch", "Job") => batch::job(&mut t, o)?,
        ("batch", "CronJob") => batch::cron_job(&mut t, o)?,
        ("", "PersistentVolumeClaim") => storage::claim(cx, &mut t, o).await?,
        ("", "PersistentVolume") => storage::volume(&mut t, o)?,
        ("storage.k8s.io", "StorageClass") => storage::class(&mut t, o)?,
        ("policy", "PodDisruptionBudget") => policy::budget(&mut t, o)?,
        ("scheduling.k8s.io", "PriorityClass") => policy::priority_class(&mut t, &o.to_typed()?),
        ("", "ResourceQuota") => {
            policy::quota(&mut t, &o.to_typed()?);
            with_events = false;
        }
        ("", "LimitRange") => {
            policy::limits(&mut t, &o.to_typed()?);
            with_events = false;
        }
        ("autoscaling", "HorizontalPodAutoscaler") => {
            // The newest version says the most.
            let path = info.path().replacen("/apis/autoscaling/v1/", "/apis/autoscaling/v2/", 1);
            let whole = match o.api_version() {
                "autoscaling/v2" => o.clone(),
                _ => cx.rest().await?.get(&path).await?,
            };
            autoscaler::autoscaler(&mut t, &whole.to_typed()?);
        }
        ("", "Endpoints") => endpoints::endpoints(&mut t, &o.to_typed()?),
        ("discovery.k8s.io", "EndpointSlice") => endpoints::slice(&mut t, &o.to_typed()?),
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            certificate::signing_request(&mut t, &o.to_typed()?)?;
        }
        _ => generic::generic(&mut t, o),
    }
    let mut out = String::new();
    let found = if with_events { events_of(cx, info).await } else { None };
    match found.as_deref() {
        Some([]) => {
            t.line(0, "Events:\t<none>");
            out += &t.finish();
        }
        Some(list) => {
            // Events have columns of their own.
            out += &t.finish();
            let mut e = Text::default();
            e.line(0, "Events:");
            e.line(1, "Type\tReason\tAge\tFrom\tMessage");
            e.line(1, "----\t------\t----\t----\t-------");
            for event in list {
                e.line(1, &event_line(event));
            }
            out += &e.finish();
        }
        None => out += &t.finish(),
    }
    Ok(out)
}

fn event_line(e: &Document) -> String {
    let at = |path: &[&str]| e.str_at(path).unwrap_or_default().to_owned();
    let source = match at(&["source", "component"]) {
        s if s.is_empty() => at(&["reportingComponent"]),
        s => s,
    };
    let mut message = at(&["message"]).trim().to_owned();
    let path = at(&["involvedObject", "fieldPath"]);
    if !path.is_empty() {
        message = format!("{path}: {message}");
    }
    format!("{}\t{}\t{}\t{source}\t{message}", at(&["type"]), at(&["reason"]), events::interval(e))
}

/// The object's events; `None` where they may not be read.
async fn events_of(cx: &Context, info: &Info) -> Option<Vec<Document>> {
    let resource = cx.resource("events").await.ok()?;
    let mut fields = vec![
        format!("involvedObject.kind={}", info.resource.kind),
        format!("involvedObject.name={}", info.name),
    ];
    if let Some(ns) = &info.namespace {
        fields.push(format!("involvedObject.namespace={ns}"));
    }
    // The kubelet knows its node by name, not by UID.
    if info.resource.kind != "Node" {
        fields.push(format!("involvedObject.uid={}", info.object.uid()));
    }
    let query = Query { field_selector: fields.join(","), ..Query::default() };
    let mut all = builder::list(cx, &resource, info.namespace.as_deref(), &query).await.ok()?;
    all.sort_by_key(events::last_seen);
    Some(all)
}

/// A pod template as `rollout history --revision` shows it.
pub fn pod_template_text(template: &PodTemplateSpec) -> String {
    let mut t = Text::default();
    container::template(&mut t, template);
    t.raw().to_owned()
}
