//! `create deployment`, `job` and `cronjob`: pods from an image and a command.

use super::super::Outcome;
use super::{generated, meta};
use crate::context::Context;
use crate::error::{Error, Result, message, usage};
use crate::flags::Args;
use crate::resources::builder::{self, Query};
use gantry_types::Document;
use serde_json::json;

/// The name and the command after `--`.
fn name_and_command(args: &Args, what: &str) -> Result<(String, Vec<String>)> {
    let split = args.dash.unwrap_or(args.operands.len());
    let (names, command) = args.operands.split_at(split);
    let [name] = names else {
        return Err(usage(what, format!("exactly one NAME is required, got {}", names.len())));
    };
    Ok((name.clone(), command.to_vec()))
}

pub async fn deployment(cx: Context, args: Args) -> Outcome {
    let (name, command) = name_and_command(&args, "create deployment")?;
    let images = args.list("image");
    if images.is_empty() {
        return Err(message("required flag(s) \"image\" not set"));
    }
    let mut containers = Vec::new();
    for image in &images {
        let last = image.rsplit('/').next().unwrap_or(image);
        let mut container: String = last.split(['@', ':']).next().unwrap_or(last).to_lowercase();
        container.retain(|c| c.is_ascii_alphanumeric() || c == '-');
        let mut d = Document::from_typed(&json!({"name": container, "image": image}))?;
        if !command.is_empty() {
            d.set_at(&["command"], &command);
        }
        let port = args.int("port")?;
        if port >= 0 {
            d.set_at(&["ports"], [json!({"containerPort": port})]);
        }
        containers.push(d.into_map());
    }
    let labels = json!({"app": name});
    generated(
        &cx,
        &args,
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": args.int("replicas")?, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}}}),
    )
    .await
}

pub async fn job(cx: Context, args: Args) -> Outcome {
    let (name, command) = name_and_command(&args, "create job")?;
    let from = args.text("from");
    if from.is_empty() == args.text("image").is_empty() {
        return Err(message("either --image or --from must be specified"));
    }
    if !from.is_empty() {
        let (infos, errors) = builder::fetch(&cx, &[from.to_owned()], &Query::default()).await?;
        Error::all(errors)?;
        let Some(info) = infos.first().filter(|i| i.resource.kind == "CronJob") else {
            return Err(message("from must be an existing cronjob"));
        };
        let template: gantry_machinery::patch::strategic::Object =
            info.object.get_at(&["spec", "jobTemplate"]).unwrap_or_default();
        let mut d = Document::new(template);
        d.set_type("batch/v1", "Job");
        d.set_meta_str("name", &name);
        d.set_at(&["metadata", "annotations", "cronjob.kubernetes.io/instantiate"], "manual");
        d.set_at(
            &["metadata", "ownerReferences"],
            [json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "name": info.name, "uid": info.object.uid(), "controller": true})],
        );
        return generated(&cx, &args, d.map()).await;
    }
    let container = container(&args, &name, command)?;
    generated(
        &cx,
        &args,
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta(&name),
        "spec": {"template": {"spec": {"containers": [container.map()], "restartPolicy": "Never"}}}}),
    )
    .await
}

/// A container of the name, the image and the command given.
fn container(args: &Args, name: &str, command: Vec<String>) -> Result<Document> {
    let mut container = Document::from_typed(&json!({"name": name, "image": args.text("image")}))?;
    if !command.is_empty() {
        container.set_at(&["command"], command);
    }
    Ok(container)
}

pub async fn cron_job(cx: Context, args: Args) -> Outcome {
    let (name, command) = name_and_command(&args, "create cronjob")?;
    let missing: Vec<String> =
        ["image", "schedule"].iter().filter(|f| !args.given(f)).map(|f| format!("\"{f}\"")).collect();
    if !missing.is_empty() {
        return Err(message(format!("required flag(s) {} not set", missing.join(", "))));
    }
    let restart = Some(args.text("restart")).filter(|r| !r.is_empty()).unwrap_or("OnFailure");
    let container = container(&args, &name, command)?;
    generated(
        &cx,
        &args,
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta(&name),
        "spec": {"schedule": args.text("schedule"), "jobTemplate": {"metadata": meta(&name),
            "spec": {"template": {"spec": {"containers": [container.map()], "restartPolicy": restart}}}}}}),
    )
    .await
}
