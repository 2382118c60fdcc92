//! What runs pods: one way to describe them all. A kind says what its head names, in which order, and what is
//! its own; pods, template and conditions are told alike.

use super::container::template;
use super::text::{Text, controller, selector_text, time};
use crate::commands::pods;
use crate::context::Context;
use crate::error::Result;
use crate::resources::builder::{self, Query};
use gantry_types::Document;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

const REVISION: &str = "deployment.kubernetes.io/revision";

/// A part of a workload's head, after its name and namespace.
#[derive(Clone, Copy)]
pub enum Part {
    Created,
    Selector,
    /// Labels and annotations.
    Marks,
    Owner,
}

/// Name, namespace, and these parts.
pub fn head(t: &mut Text, object: &Document, parts: &[Part]) -> Result<()> {
    let meta: ObjectMeta = object.get_at(&["metadata"]).unwrap_or_default();
    t.pair(0, "Name", object.name());
    t.pair(0, "Namespace", object.namespace());
    for part in parts {
        match part {
            Part::Created => {
                let at = meta.creation_timestamp.as_ref().map(|at| time(at.0));
                t.pair(0, "CreationTimestamp", at.unwrap_or_default());
            }
            Part::Selector => t.pair(0, "Selector", pods::selector_of(object)?),
            Part::Marks => {
                t.labels("Labels", meta.labels.as_ref());
                t.annotations("Annotations", meta.annotations.as_ref());
            }
            Part::Owner => {
                if let Some(owner) = controller(&meta) {
                    t.pair(0, "Controlled By", owner);
                }
            }
        }
    }
    Ok(())
}

/// The pods a workload controls, by phase.
async fn pod_line(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    let mut counts = [0; 4];
    let selector = pods::selector_of(object)?;
    for pod in pods::matching(cx, object.namespace(), &selector).await? {
        let owners = pod.metadata.owner_references.iter().flatten();
        if !owners.into_iter().any(|o| o.controller == Some(true) && o.uid == object.uid()) {
            continue;
        }
        match pod.status.as_ref().and_then(|s| s.phase.as_deref()) {
            Some("Running") => counts[0] += 1,
            Some("Succeeded") => counts[2] += 1,
            Some("Failed") => counts[3] += 1,
            _ => counts[1] += 1,
        }
    }
    let [running, waiting, succeeded, failed] = counts;
    let text = format!("{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed");
    t.pair(0, "Pods Status", text);
    Ok(())
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
}

/// The pod template, and the conditions where there are any.
fn body(t: &mut Text, object: &Document) {
    let pods: PodTemplateSpec = object.get_at(&["spec", "template"]).unwrap_or_default();
    template(t, &pods);
    let conditions: Vec<Condition> = object.get_at(&["status", "conditions"]).unwrap_or_default();
    if !conditions.is_empty() {
        t.line(0, "Conditions:\n  Type\tStatus\tReason\n  ----\t------\t------");
    }
    for c in conditions {
        t.line(1, &format!("{} \t{}\t{}", c.kind, c.status, c.reason));
    }
}

fn either(v: Option<&IntOrString>) -> String {
    match v {
        Some(IntOrString::Int(n)) => n.to_string(),
        Some(IntOrString::String(s)) => s.clone(),
        None => "0".into(),
    }
}

pub async fn deployment(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    head(t, object, &[Part::Created, Part::Marks, Part::Selector])?;
    let d: Deployment = object.to_typed()?;
    let (spec, status) = (d.spec.unwrap_or_default(), d.status.unwrap_or_default());
    t.pair(
        0,
        "Replicas",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            spec.replicas.unwrap_or(1),
            status.updated_replicas.unwrap_or(0),
            status.replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0),
            status.unavailable_replicas.unwrap_or(0)
        ),
    );
    let strategy = spec.strategy.unwrap_or_default();
    t.pair(0, "StrategyType", strategy.type_.as_deref().unwrap_or_default());
    t.pair(0, "MinReadySeconds", spec.min_ready_seconds.unwrap_or(0));
    if let Some(r) = strategy.rolling_update {
        let (unavailable, surge) = (either(r.max_unavailable.as_ref()), either(r.max_surge.as_ref()));
        t.pair(0, "RollingUpdateStrategy", format!("{unavailable} max unavailable, {surge} max surge"));
    }
    body(t, object);
    let sets = cx.resource("replicasets.apps").await?;
    let query = Query { selector: pods::selector_of(object)?, ..Query::default() };
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for set in builder::list(cx, &sets, Some(object.namespace()), &query).await? {
        let current = set.annotation(REVISION) == object.annotation(REVISION);
        let set: ReplicaSet = set.to_typed()?;
        if !set.metadata.owner_references.iter().flatten().any(|o| o.uid == object.uid()) {
            continue;
        }
        let text = format!(
            "{} ({}/{} replicas created)",
            set.metadata.name.unwrap_or_default(),
            set.status.map_or(0, |s| s.replicas),
            set.spec.and_then(|s| s.replicas).unwrap_or(0)
        );
        if current { new.push(text) } else { old.push(text) }
    }
    if !old.is_empty() || !new.is_empty() {
        let joined = |l: &[String]| if l.is_empty() { "<none>".to_owned() } else { l.join(", ") };
        t.pair(0, "OldReplicaSets", joined(&old));
        t.pair(0, "NewReplicaSet", joined(&new));
    }
    Ok(())
}

/// A replica set or a replication controller: so many pods of one template.
async fn replicas(
    cx: &Context,
    t: &mut Text,
    object: &Document,
    now: i32,
    wanted: Option<i32>,
) -> Result<()> {
    t.pair(0, "Replicas", format!("{now} current / {} desired", wanted.unwrap_or(1)));
    pod_line(cx, t, object).await?;
    body(t, object);
    Ok(())
}

pub async fn replica_set(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    head(t, object, &[Part::Selector, Part::Marks, Part::Owner])?;
    let r: ReplicaSet = object.to_typed()?;
    let now = r.status.map_or(0, |s| s.replicas);
    replicas(cx, t, object, now, r.spec.and_then(|s| s.replicas)).await
}

pub async fn replication_controller(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    head(t, object, &[Part::Selector, Part::Marks])?;
    let r: ReplicationController = object.to_typed()?;
    let now = r.status.map_or(0, |s| s.replicas);
    replicas(cx, t, object, now, r.spec.and_then(|s| s.replicas)).await
}

pub async fn daemon_set(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    head(t, object, &[Part::Selector])?;
    let d: DaemonSet = object.to_typed()?;
    let (spec, status) = (d.spec.unwrap_or_default(), d.status.unwrap_or_default());
    let nodes = spec.template.spec.as_ref().and_then(|s| s.node_selector.clone());
    t.pair(0, "Node-Selector", selector_text(nodes.as_ref()));
    t.labels("Labels", d.metadata.labels.as_ref());
    t.annotations("Annotations", d.metadata.annotations.as_ref());
    for (what, count) in [
        ("Desired Number of Nodes Scheduled", status.desired_number_scheduled),
        ("Current Number of Nodes Scheduled", status.current_number_scheduled),
        ("Number of Nodes Scheduled with Up-to-date Pods", status.updated_number_scheduled.unwrap_or(0)),
        ("Number of Nodes Scheduled with Available Pods", status.number_available.unwrap_or(0)),
        ("Number of Nodes Misscheduled", status.number_misscheduled),
    ] {
        t.line(0, &format!("{what}: {count}"));
    }
    pod_line(cx, t, object).await?;
    body(t, object);
    Ok(())
}

pub async fn stateful_set(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    head(t, object, &[Part::Created, Part::Selector, Part::Marks])?;
    let s: StatefulSet = object.to_typed()?;
    let (spec, status) = (s.spec.unwrap_or_default(), s.status.unwrap_or_default());
    t.pair(0, "Replicas", format!("{} desired | {} total", spec.replicas.unwrap_or(1), status.replicas));
    let strategy = spec.update_strategy.unwrap_or_default();
    t.pair(0, "Update Strategy", strategy.type_.unwrap_or_default());
    if let Some(rolling) = strategy.rolling_update
        && let Some(partition) = rolling.partition
    {
        t.pair(1, "Partition", partition);
        if rolling.max_unavailable.is_some() {
            t.pair(1, "MaxUnavailable", either(rolling.max_unavailable.as_ref()));
        }
    }
    pod_line(cx, t, object).await?;
    let pods: PodTemplateSpec = object.get_at(&["spec", "template"]).unwrap_or_default();
    template(t, &pods);
    claims(t, spec.volume_claim_templates.unwrap_or_default());
    Ok(())
}

fn claims(t: &mut Text, all: Vec<PersistentVolumeClaim>) {
    if all.is_empty() {
        t.line(0, "Volume Claims:\t<none>");
    } else {
        t.line(0, "Volume Claims:");
    }
    for c in all {
        let claim = c.spec.unwrap_or_default();
        t.pair(1, "Name", c.metadata.name.unwrap_or_default());
        t.pair(1, "StorageClass", claim.storage_class_name.unwrap_or_default());
        t.labels("  Labels", c.metadata.labels.as_ref());
        t.annotations("  Annotations", c.metadata.annotations.as_ref());
        let size =
            claim.resources.and_then(|r| r.requests).and_then(|r| r.get("storage").map(|q| q.0.clone()));
        t.pair(1, "Capacity", size.unwrap_or_else(|| "<default>".into()));
        t.pair(1, "Access Modes", format!("[{}]", claim.access_modes.unwrap_or_default().join(" ")));
    }
}
