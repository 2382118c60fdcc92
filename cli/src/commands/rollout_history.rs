//! `rollout history` and `undo`: revisions kept as replica sets and controller revisions.

use super::{Outcome, pods, rollout};
use crate::context::Context;
use crate::error::{Result, message};
use crate::flags::Args;
use crate::print::{DryRun, Said, tabs};
use crate::resources::Info;
use crate::resources::builder::{self, Query};
use crate::rest;
use gantry_machinery::patch::strategic::Object;
use gantry_types::Document;
use gantry_types::field::go_quote;
use serde_json::json;
use std::collections::BTreeMap;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";
const HASH: &str = "pod-template-hash";
/// What a deployment keeps of its own when rolled back.
const KEPT: &[&str] = &[
    super::common::LAST_APPLIED,
    REVISION,
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];

/// `ReplicaSet.apps`, `Pod`.
fn group_kind(info: &Info) -> String {
    let resource = &info.resource;
    if resource.group.is_empty() {
        resource.kind.clone()
    } else {
        format!("{}.{}", resource.kind, resource.group)
    }
}

/// Kinds whose rollouts mean something, even where they keep no history.
const KNOWN: &[(&str, &str)] = &[
    ("", "Pod"),
    ("", "ReplicationController"),
    ("apps", "ReplicaSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
];

/// Why an object of this kind has no such thing.
fn unsupported(info: &Info, what: &str) -> String {
    let (group, kind) = (info.resource.group.as_str(), info.resource.kind.as_str());
    let name = go_quote(&group_kind(info));
    if KNOWN.contains(&(group, kind)) {
        return format!("no {what} has been implemented for {name}");
    }
    let sought = if what == "rollbacker" { what } else { "history" };
    format!("error retrieving {sought} for {name}, no visitor method exists for {{{group} {kind}}}")
}

/// The kept revisions of an object by number; `what` names the part that a kind without any lacks.
async fn revisions(cx: &Context, info: &Info, what: &str) -> Result<BTreeMap<i64, Document>> {
    let deployment = info.resource.kind == "Deployment";
    let kind = if deployment { "replicasets.apps" } else { "controllerrevisions.apps" };
    if !deployment && !matches!(info.resource.kind.as_str(), "DaemonSet" | "StatefulSet") {
        return Err(message(unsupported(info, what)));
    }
    let resource = cx.resource(kind).await?;
    let query = Query { selector: pods::selector_of(&info.object)?, ..Query::default() };
    let mut out = BTreeMap::new();
    for object in builder::list(cx, &resource, info.namespace.as_deref(), &query).await? {
        #[derive(serde::Deserialize)]
        struct Owner {
            uid: String,
            #[serde(default)]
            controller: bool,
        }
        let owners: Vec<Owner> = object.get_at(&["metadata", "ownerReferences"]).unwrap_or_default();
        if !owners.iter().any(|o| o.controller && o.uid == info.object.uid()) {
            continue;
        }
        let number = if deployment {
            object.annotation(REVISION).and_then(|r| r.parse().ok())
        } else {
            object.get_at(&["revision"])
        };
        if let Some(number) = number {
            out.insert(number, object);
        }
    }
    Ok(out)
}

/// The pod template a revision keeps.
fn template(info: &Info, revision: &Document) -> Document {
    let path: &[&str] = if info.resource.kind == "Deployment" {
        &["spec", "template"]
    } else {
        &["data", "spec", "template"]
    };
    let mut template = Document::new(revision.get_at::<Object>(path).unwrap_or_default());
    template.remove_at(&["$patch"]);
    template
}

/// A template as it is described.
fn described(template: Document) -> Result<String> {
    Ok(crate::describe::pod_template_text(&template.to_typed()?))
}

/// What a revision is when it is printed: a deployment's replica set; else the object with the template of
/// that time.
fn printed(info: &Info, revision: &Document) -> Document {
    let (mut object, kind) = if info.resource.kind == "Deployment" {
        (revision.clone(), "ReplicaSet")
    } else {
        let mut object = info.object.clone();
        let template = template(info, revision);
        object.set_at(&["spec", "template"], json!(template.map()));
        (object, info.resource.kind.as_str())
    };
    object.set_at(&["apiVersion"], "apps/v1");
    object.set_at(&["kind"], kind);
    object.remove_at(&["metadata", "managedFields"]);
    object
}

pub async fn history(cx: Context, args: Args) -> Outcome {
    let wanted = args.int("revision")?;
    if wanted < 0 {
        return Err(message(format!("revision must be a positive integer: {wanted}")));
    }
    let missing = || message("unable to find the specified revision");
    for info in rollout::targets(&cx, &args, "rollout history").await? {
        let all = revisions(&cx, &info, "history viewer").await?;
        if args.given("output") {
            let format = crate::print::Format::parse(args.text("output"), false)?;
            if wanted > 0 && !all.contains_key(&wanted) {
                return Err(missing());
            }
            for revision in all.iter().filter(|(n, _)| wanted == 0 || **n == wanted).map(|(_, r)| r) {
                out!("{}", format.object(&printed(&info, revision))?);
            }
            continue;
        }
        let name = info.named();
        if wanted > 0 {
            let revision = all.get(&wanted).ok_or_else(missing)?;
            let mut template = template(&info, revision);
            if let Some(cause) = revision.annotation(CAUSE).filter(|_| info.resource.kind == "Deployment") {
                template.set_at(&["metadata", "annotations", CAUSE], cause);
            }
            outln!("{name} with revision #{wanted}");
            outln!("{}", described(template)?);
            continue;
        }
        outln!("{name} ");
        if all.is_empty() {
            outln!("No rollout history found.");
            continue;
        }
        let mut text = "REVISION\tCHANGE-CAUSE\n".to_owned();
        for (number, revision) in &all {
            text.push_str(&format!("{number}\t{}\n", revision.annotation(CAUSE).unwrap_or("<none>")));
        }
        outln!("{}", tabs::described(&text));
    }
    Ok(())
}

/// The revision to go back to: the one before the newest where none is named.
fn choose<'a>(info: &Info, all: &'a BTreeMap<i64, Document>, wanted: i64) -> Result<&'a Document> {
    let found = if wanted == 0 { all.values().rev().nth(1) } else { all.get(&wanted) };
    found.ok_or_else(|| {
        message(match (wanted, info.resource.kind.as_str()) {
            (0, "Deployment") => format!("no rollout history found for deployment {}", go_quote(&info.name)),
            (0, _) => "no last revision to roll back to".to_owned(),
            _ => format!("unable to find specified revision {wanted} in history"),
        })
    })
}

/// The patch that brings a revision back.
fn patch_to(info: &Info, revision: &Document, mut template: Document) -> Result<(&'static str, Vec<u8>)> {
    if info.resource.kind != "Deployment" {
        template.set_at(&["$patch"], "replace");
        return Ok((rest::STRATEGIC, serde_json::to_vec(&json!({"spec": {"template": template.map()}}))?));
    }
    let notes = |d: &Document| -> BTreeMap<String, String> {
        d.get_at(&["metadata", "annotations"]).unwrap_or_default()
    };
    let mut annotations = notes(&info.object);
    annotations.retain(|k, _| KEPT.contains(&k.as_str()));
    annotations.extend(notes(revision).into_iter().filter(|(k, _)| !KEPT.contains(&k.as_str())));
    let operations = json!([
        {"op": "replace", "path": "/spec/template", "value": template.map()},
        {"op": "replace", "path": "/metadata/annotations", "value": annotations},
    ]);
    Ok((rest::JSON_PATCH, serde_json::to_vec(&operations)?))
}

pub async fn undo(cx: Context, args: Args) -> Outcome {
    let wanted = args.int("to-revision")?;
    let dry = DryRun::read(&args)?;
    let said = Said::read(&args, dry)?;
    for info in rollout::targets(&cx, &args, "rollout undo").await? {
        let all = revisions(&cx, &info, "rollbacker").await?;
        let chosen = choose(&info, &all, wanted)?;
        let mut template = template(&info, chosen);
        if dry == DryRun::Client {
            let text = described(template)?;
            let lead = if info.resource.kind == "Deployment" { "" } else { "will roll back to " };
            said.tell(&info, &format!("{lead}{text}"))?;
            continue;
        }
        if info.object.get_at(&["spec", "paused"]) == Some(true) {
            return Err(message(
                "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again",
            ));
        }
        if info.resource.kind == "Deployment" {
            template.remove_at(&["metadata", "labels", HASH]);
        }
        let now = Document::new(info.object.get_at::<Object>(&["spec", "template"]).unwrap_or_default());
        if now == template {
            let words = format!("skipped rollback (current template already matches revision {wanted})");
            said.tell(&info, &words)?;
            continue;
        }
        let (kind, patch) = patch_to(&info, chosen, template)?;
        let path = rest::with_query(&info.path(), &[dry.pair()]);
        cx.rest().await?.patch(&path, kind, patch).await?;
        said.tell(&info, "rolled back")?;
    }
    Ok(())
}
