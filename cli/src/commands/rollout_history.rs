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

/// The kept revisions of an object by number.
async fn revisions(cx: &Context, info: &Info) -> Result<BTreeMap<i64, Document>> {
    let deployment = info.resource.kind == "Deployment";
    let kind = if deployment { "replicasets.apps" } else { "controllerrevisions.apps" };
    if !deployment && !matches!(info.resource.kind.as_str(), "DaemonSet" | "StatefulSet") {
        return Err(message(format!(
            "no history viewer has been implemented for \"{}\"",
            info.resource.kind_name()
        )));
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

pub async fn history(cx: Context, args: Args) -> Outcome {
    let wanted = args.int("revision")?;
    if wanted < 0 {
        return Err(message(format!("revision must be a positive integer: {wanted}")));
    }
    for info in rollout::targets(&cx, &args, "rollout history").await? {
        let all = revisions(&cx, &info).await?;
        if args.given("output") {
            let shown: Vec<Document> =
                all.into_iter().filter(|(n, _)| wanted == 0 || *n == wanted).map(|(_, d)| d).collect();
            out!("{}", crate::print::Format::parse(args.text("output"), false)?.objects(shown)?);
            continue;
        }
        let name = info.named();
        if wanted > 0 {
            let Some(revision) = all.get(&wanted) else {
                return Err(message("unable to find the specified revision"));
            };
            let template = template(&info, revision).to_typed()?;
            outln!("{name} with revision #{wanted}");
            outln!("{}", crate::describe::pod_template_text(&template));
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

pub async fn undo(cx: Context, args: Args) -> Outcome {
    let wanted = args.int("to-revision")?;
    let dry = DryRun::read(&args)?;
    let said = Said::read(&args, dry)?;
    for info in rollout::targets(&cx, &args, "rollout undo").await? {
        let all = revisions(&cx, &info).await?;
        let chosen = match wanted {
            0 => all.iter().rev().nth(1).ok_or_else(|| {
                message(format!(
                    "no rollout history found for {} \"{}\"",
                    info.resource.kind.to_lowercase(),
                    info.name
                ))
            })?,
            n => all
                .get_key_value(&n)
                .ok_or_else(|| message(format!("unable to find specified revision {n} in history")))?,
        };
        if info.object.get_at(&["spec", "paused"]) == Some(true) {
            return Err(message(
                "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again",
            ));
        }
        let mut template = template(&info, chosen.1);
        template.remove_at(&["metadata", "labels", HASH]);
        let now = Document::new(info.object.get_at::<Object>(&["spec", "template"]).unwrap_or_default());
        if now == template {
            said.tell(
                &info,
                &format!("skipped rollback (current template already matches revision {})", chosen.0),
            )?;
            continue;
        }
        let (kind, patch) = if info.resource.kind == "Deployment" {
            let notes = |d: &Document| -> BTreeMap<String, String> {
                d.get_at(&["metadata", "annotations"]).unwrap_or_default()
            };
            let mut annotations = notes(&info.object);
            annotations.retain(|k, _| KEPT.contains(&k.as_str()));
            annotations.extend(notes(chosen.1).into_iter().filter(|(k, _)| !KEPT.contains(&k.as_str())));
            let ops = json!([
                {"op": "replace", "path": "/spec/template", "value": template.map()},
                {"op": "replace", "path": "/metadata/annotations", "value": annotations},
            ]);
            (rest::JSON_PATCH, serde_json::to_vec(&ops)?)
        } else {
            template.set_at(&["$patch"], "replace");
            (rest::STRATEGIC, serde_json::to_vec(&json!({"spec": {"template": template.map()}}))?)
        };
        if dry != DryRun::Client {
            let path = rest::with_query(&info.path(), &[dry.pair()]);
            cx.rest().await?.patch(&path, kind, patch).await?;
        }
        said.tell(&info, "rolled back")?;
    }
    Ok(())
}
