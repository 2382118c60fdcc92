//! Deployments, replica sets, daemon sets and stateful sets.

use super::container::template;
use super::text::{Text, controller, time};
use crate::commands::pods;
use crate::context::Context;
use crate::error::Result;
use crate::resources::builder::{self, Query};
use gantry_types::Document;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

const REVISION: &str = "deployment.kubernetes.io/revision";

fn created(t: Option<&Time>) -> String {
    t.map(|t| time(t.0)).unwrap_or_default()
}

fn either(v: Option<&IntOrString>) -> String {
    match v {
        Some(IntOrString::Int(n)) => n.to_string(),
        Some(IntOrString::String(s)) => s.clone(),
        None => "0".into(),
    }
}

fn conditions<'a>(t: &mut Text, all: impl Iterator<Item = (&'a str, &'a str, Option<&'a str>)>) {
    for (i, (kind, status, reason)) in all.enumerate() {
        if i == 0 {
            t.line(0, "Conditions:\n  Type\tStatus\tReason\n  ----\t------\t------");
        }
        t.line(1, &format!("{kind} \t{status}\t{}", reason.unwrap_or_default()));
    }
}

pub async fn deployment(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    let d: Deployment = object.to_typed()?;
    let m = &d.metadata;
    let (spec, status) = (d.spec.unwrap_or_default(), d.status.unwrap_or_default());
    t.pair(0, "Name", m.name.as_deref().unwrap_or_default());
    t.pair(0, "Namespace", m.namespace.as_deref().unwrap_or_default());
    t.pair(0, "CreationTimestamp", created(m.creation_timestamp.as_ref()));
    t.labels("Labels", m.labels.as_ref());
    t.annotations("Annotations", m.annotations.as_ref());
    let selector = pods::selector_of(object)?;
    t.pair(0, "Selector", &selector);
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
    template(t, &spec.template);
    conditions(
        t,
        status
            .conditions
            .iter()
            .flatten()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_deref())),
    );
    let sets = cx.resource("replicasets.apps").await?;
    let query = Query { selector, ..Query::default() };
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for set in builder::list(cx, &sets, m.namespace.as_deref(), &query).await? {
        let current = set.annotation(REVISION) == object.annotation(REVISION);
        let set: ReplicaSet = set.to_typed()?;
        if !set.metadata.owner_references.iter().flatten().any(|o| Some(&o.uid) == m.uid.as_ref()) {
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

/// Pods of a controller by phase: running, waiting, succeeded, failed.
async fn pod_line(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    let mut counts = [0; 4];
    let selector = pods::selector_of(object)?;
    for pod in pods::matching(cx, object.namespace(), &selector).await? {
        let mine = pod
            .metadata
            .owner_references
            .iter()
            .flatten()
            .any(|o| o.controller == Some(true) && o.uid == object.uid());
        if !mine {
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
    t.pair(
        0,
        "Pods Status",
        format!("{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed"),
    );
    Ok(())
}

pub async fn replica_set(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    let r: ReplicaSet = object.to_typed()?;
    let m = &r.metadata;
    let (spec, status) = (r.spec.unwrap_or_default(), r.status.unwrap_or_default());
    t.pair(0, "Name", m.name.as_deref().unwrap_or_default());
    t.pair(0, "Namespace", m.namespace.as_deref().unwrap_or_default());
    t.pair(0, "Selector", pods::selector_of(object)?);
    t.labels("Labels", m.labels.as_ref());
    t.annotations("Annotations", m.annotations.as_ref());
    if let Some(owner) = controller(m) {
        t.pair(0, "Controlled By", owner);
    }
    t.pair(0, "Replicas", format!("{} current / {} desired", status.replicas, spec.replicas.unwrap_or(1)));
    pod_line(cx, t, object).await?;
    template(t, &spec.template.unwrap_or_default());
    conditions(
        t,
        status
            .conditions
            .iter()
            .flatten()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_deref())),
    );
    Ok(())
}

pub async fn daemon_set(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    let d: DaemonSet = object.to_typed()?;
    let m = &d.metadata;
    let (spec, status) = (d.spec.unwrap_or_default(), d.status.unwrap_or_default());
    t.pair(0, "Name", m.name.as_deref().unwrap_or_default());
    t.pair(0, "Namespace", m.namespace.as_deref().unwrap_or_default());
    t.pair(0, "Selector", pods::selector_of(object)?);
    let nodes = spec.template.spec.as_ref().and_then(|s| s.node_selector.clone());
    t.labels("Node-Selector", nodes.as_ref());
    t.labels("Labels", m.labels.as_ref());
    t.annotations("Annotations", m.annotations.as_ref());
    t.pair(0, "Desired Number of Nodes Scheduled", status.desired_number_scheduled);
    t.pair(0, "Current Number of Nodes Scheduled", status.current_number_scheduled);
    t.pair(0, "Number of Nodes Scheduled with Up-to-date Pods", status.updated_number_scheduled.unwrap_or(0));
    t.pair(0, "Number of Nodes Scheduled with Available Pods", status.number_available.unwrap_or(0));
    t.pair(0, "Number of Nodes Misscheduled", status.number_misscheduled);
    pod_line(cx, t, object).await?;
    template(t, &spec.template);
    Ok(())
}

pub async fn stateful_set(cx: &Context, t: &mut Text, object: &Document) -> Result<()> {
    let s: StatefulSet = object.to_typed()?;
    let m = &s.metadata;
    let (spec, status) = (s.spec.unwrap_or_default(), s.status.unwrap_or_default());
    t.pair(0, "Name", m.name.as_deref().unwrap_or_default());
    t.pair(0, "Namespace", m.namespace.as_deref().unwrap_or_default());
    t.pair(0, "CreationTimestamp", created(m.creation_timestamp.as_ref()));
    t.pair(0, "Selector", pods::selector_of(object)?);
    t.labels("Labels", m.labels.as_ref());
    t.annotations("Annotations", m.annotations.as_ref());
    t.pair(0, "Replicas", format!("{} desired | {} total", spec.replicas.unwrap_or(1), status.replicas));
    let strategy = spec.update_strategy.unwrap_or_default();
    t.pair(0, "Update Strategy", strategy.type_.unwrap_or_default());
    if let Some(partition) = strategy.rolling_update.and_then(|r| r.partition) {
        t.pair(1, "Partition", partition);
    }
    pod_line(cx, t, object).await?;
    template(t, &spec.template);
    let claims = spec.volume_claim_templates.unwrap_or_default();
    if claims.is_empty() {
        t.line(0, "Volume Claims:\t<none>");
    } else {
        t.line(0, "Volume Claims:");
    }
    for c in claims {
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
    Ok(())
}
