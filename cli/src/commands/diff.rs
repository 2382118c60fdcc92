//! `diff`: what an apply would change, by asking the server without storing.

use super::{Outcome, common};
use crate::apply::client;
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, on, text};
use crate::print::{hide_managed_fields, yaml};
use crate::resources::Info;
use crate::resources::builder::{self, Query};
use crate::rest;
use gantry_types::Document;
use http::Method;
use std::path::Path;

pub const FLAGS: &[Flag] = &[
    common::FILENAME,
    common::KUSTOMIZE,
    common::RECURSIVE,
    common::SELECTOR,
    common::SHOW_MANAGED,
    on("server-side", "If true, apply runs in the server instead of the client."),
    on("force-conflicts", "If true, server-side apply will force the changes against conflicts."),
    common::field_manager(""),
    text("concurrency", "Accepted for compatibility.").default("1"),
];

/// A failure of the diff itself is more than a difference.
fn serious(e: Error) -> Error {
    Error::Exit(2, e.text())
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    match differences(&cx, &args).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(Error::Exit(1, String::new())),
        Err(e) => Err(serious(e)),
    }
}

async fn differences(cx: &Context, args: &Args) -> Result<bool> {
    let query = Query::read(args);
    if query.files.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    let (infos, errors) = builder::from_files(cx, &query).await?;
    Error::all(errors)?;
    let directory = tempfile::tempdir()?;
    let (live_dir, merged_dir) = (directory.path().join("LIVE"), directory.path().join("MERGED"));
    std::fs::create_dir(&live_dir)?;
    std::fs::create_dir(&merged_dir)?;
    for info in infos {
        let live = match cx.rest().await?.get(&info.path()).await {
            Ok(live) => Some(live),
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e),
        };
        let merged = merged(cx, args, &info, live.as_ref()).await?;
        let r = &info.resource;
        let mut parts =
            vec![r.version.as_str(), &r.kind, info.namespace.as_deref().unwrap_or_default(), &info.name];
        if !r.group.is_empty() {
            parts.insert(0, &r.group);
        }
        let name = parts.join(".");
        write(&live_dir.join(&name), live, &info, args)?;
        write(&merged_dir.join(&name), Some(merged), &info, args)?;
    }
    let external = std::env::var("KUBECTL_EXTERNAL_DIFF").unwrap_or_default();
    let mut words = external.split_whitespace();
    let mut command = match words.next() {
        Some(program) => {
            let mut c = std::process::Command::new(program);
            c.args(words);
            c
        }
        None => {
            let mut c = std::process::Command::new("diff");
            c.args(["-u", "-N"]);
            c
        }
    };
    let status = command
        .arg(&live_dir)
        .arg(&merged_dir)
        .status()
        .map_err(|e| message(format!("failed to run {:?}: {e}", command.get_program())))?;
    match status.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        other => Err(Error::Exit(other.unwrap_or(2), String::new())),
    }
}

/// The object as it would be.
async fn merged(cx: &Context, args: &Args, info: &Info, live: Option<&Document>) -> Result<Document> {
    let rest = cx.rest().await?;
    let manager = match args.text("field-manager") {
        "" if args.on("server-side") => "kctl",
        "" => "kubectl-client-side-apply",
        given => given,
    };
    let dry = ("dryRun", "All");
    if args.on("server-side") {
        let force = if args.on("force-conflicts") { "true" } else { "false" };
        let path = rest::with_query(&info.path(), &[dry, ("fieldManager", manager), ("force", force)]);
        return rest.patch(&path, rest::APPLY, info.object.to_json()).await;
    }
    let mut wanted = info.object.clone();
    common::set_last_applied(&mut wanted);
    let Some(live) = live else {
        let path = rest::with_query(
            &info.resource.path(info.namespace.as_deref()),
            &[dry, ("fieldManager", manager)],
        );
        return rest.send(Method::POST, &path, &wanted).await;
    };
    match client::patch(info, &wanted, live, true)? {
        None => Ok(live.clone()),
        Some((kind, patch)) => {
            let path = rest::with_query(&info.path(), &[dry, ("fieldManager", manager)]);
            rest.patch(&path, kind, patch).await
        }
    }
}

fn write(path: &Path, object: Option<Document>, info: &Info, args: &Args) -> Result<()> {
    let Some(mut object) = object else { return Ok(()) };
    if !args.on("show-managed-fields") {
        hide_managed_fields(&mut object);
    }
    if info.resource.kind == "Secret" && info.resource.group.is_empty() {
        mask(&mut object);
    }
    std::fs::write(path, yaml::text(&object.into_value()))?;
    Ok(())
}

/// Secrets' values are not shown.
fn mask(object: &mut Document) {
    let data: std::collections::BTreeMap<String, String> = object.get_at(&["data"]).unwrap_or_default();
    if !data.is_empty() {
        let masked: std::collections::BTreeMap<String, String> =
            data.into_iter().map(|(k, v)| (k, format!("*** ({} characters)", v.len()))).collect();
        object.set_at(&["data"], masked);
    }
    if object.annotation(common::LAST_APPLIED).is_some() {
        object.remove_at(&["metadata", "annotations", common::LAST_APPLIED]);
    }
}
