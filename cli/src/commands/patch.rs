//! `patch`, `replace` and `scale`.

use super::{Outcome, change, common, delete};
use crate::context::Context;
use crate::error::{Error, message};
use crate::flags::{Args, Flag, on, text};
use crate::print::{DryRun, Said};
use crate::resources::builder::{self, Query};
use crate::resources::files;
use crate::rest;
use gantry_machinery::validate::yaml_to_json;
use gantry_types::Document;
use gantry_types::field::go_quote;
use http::Method;
use serde_json::json;

pub const PATCH_FLAGS: &[Flag] = &[
    common::FILENAME,
    common::RECURSIVE,
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::DRY_RUN,
    common::field_manager("kubectl-patch"),
    text("patch", "The patch to be applied to the resource JSON file.").short('p'),
    text("patch-file", "A file containing a patch to be applied to the resource."),
    text("type", "The type of patch being provided; one of [json merge strategic]").default("strategic"),
    text("subresource", "If specified, patch will operate on the subresource of the requested object."),
    on("local", "Not supported."),
];

pub const REPLACE_FLAGS: &[Flag] = &[
    common::FILENAME,
    common::KUSTOMIZE,
    common::RECURSIVE,
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::DRY_RUN,
    common::VALIDATE,
    common::SAVE_CONFIG,
    common::field_manager("kubectl-replace"),
    on("force", "If true, delete and create the resource again."),
    on("wait", "Accepted for compatibility."),
    text("grace-period", "Period of time in seconds given to the resource to terminate gracefully.")
        .default("-1"),
    text("timeout", "The length of time to wait before giving up on a delete.").default("0s"),
    text("subresource", "If specified, replace will operate on the subresource of the requested object."),
    text("raw", "Raw URI to PUT to the server."),
];

pub const SCALE_FLAGS: &[Flag] = &[
    common::FILENAME,
    common::RECURSIVE,
    common::SELECTOR,
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::DRY_RUN,
    on("all", "Select all resources in the namespace of the specified resource types"),
    text("replicas", "The new desired number of replicas. Required.").default("-1"),
    text("current-replicas", "Precondition for current size.").default("-1"),
    text("resource-version", "Precondition for resource version."),
    text("timeout", "Accepted for compatibility.").default("0s"),
];

pub async fn patch(cx: Context, args: Args) -> Outcome {
    let (inline, file) = (args.text("patch"), args.text("patch-file"));
    let data = match (inline.is_empty(), file.is_empty()) {
        (false, false) => return Err(message("cannot specify --patch and --patch-file together")),
        (true, true) => {
            return Err(message("must specify --patch or --patch-file containing the contents of the patch"));
        }
        (false, true) => inline.as_bytes().to_vec(),
        (true, false) => {
            std::fs::read(file).map_err(|e| message(format!("unable to read patch file: {e}")))?
        }
    };
    let (json, _) = yaml_to_json(&data).map_err(|e| {
        message(format!("unable to parse {}: {e}", go_quote(&String::from_utf8_lossy(&data))))
    })?;
    let media = match args.text("type") {
        "strategic" => rest::STRATEGIC,
        "merge" => rest::MERGE,
        "json" => rest::JSON_PATCH,
        other => {
            return Err(message(format!(
                "--type must be one of [json merge strategic], not {}",
                go_quote(other)
            )));
        }
    };
    let dry = DryRun::read(&args)?;
    let said = Said::read(&args, dry)?;
    let query = Query { subresource: String::new(), ..Query::read(&args) };
    let (infos, mut errors) = builder::fetch(&cx, &args.operands, &query).await?;
    for info in infos {
        let subresource = args.text("subresource");
        // The effect is the server's to work out, so a client dry run asks it without storing.
        let asked = if dry == DryRun::Client { DryRun::Server } else { dry };
        let manager = args.text("field-manager");
        match change::send_patch(&cx, &info, (media, json.clone()), subresource, manager, asked).await {
            Ok(now) => {
                let same =
                    now.object.resource_version() == info.object.resource_version() && dry == DryRun::None;
                said.tell(&now, if same { "patched (no change)" } else { "patched" })?;
            }
            Err(e) => errors.push(e),
        }
    }
    Error::all(errors)
}

pub async fn replace(cx: Context, args: Args) -> Outcome {
    if args.given("raw") {
        let data = files::raw(&args.list("filename"))?;
        let body = Some((rest::JSON, data));
        let answer = cx.rest().await?.call(Method::PUT, args.text("raw"), rest::JSON, body).await?;
        crate::term::bytes(&answer);
        return Ok(());
    }
    let query = Query::read(&args);
    if query.files.is_empty() {
        return Err(message("must specify --filename to replace"));
    }
    let dry = DryRun::read(&args)?;
    let said = Said::read(&args, dry)?;
    let force = args.on("force");
    if force && dry != DryRun::None {
        return Err(message("--dry-run can not be used when --force is set"));
    }
    let validation = common::validation(args.text("validate"))?;
    let (infos, mut errors) = builder::from_files(&cx, &query).await?;
    if infos.is_empty() && errors.is_empty() {
        return Err(message("no objects passed to replace"));
    }
    for mut info in infos {
        if args.on("save-config") || info.object.annotation(common::LAST_APPLIED).is_some() {
            common::set_last_applied(&mut info.object);
        }
        if dry == DryRun::Client {
            said.tell(&info, "replaced")?;
            continue;
        }
        let pairs =
            [("fieldManager", args.text("field-manager")), ("fieldValidation", validation), dry.pair()];
        let outcome = async {
            let rest = cx.rest().await?;
            if force {
                delete::now(&cx, &info).await?;
                let path = rest::with_query(&info.resource.path(info.namespace.as_deref()), &pairs);
                let made = rest.send(Method::POST, &path, &info.object).await?;
                return said.tell(&info.with(made), "replaced");
            }
            let mut path = info.path();
            if !query.subresource.is_empty() {
                path = format!("{path}/{}", query.subresource);
            }
            let made = rest.send(Method::PUT, &rest::with_query(&path, &pairs), &info.object).await?;
            said.tell(&info.with(made), "replaced")
        }
        .await;
        errors.extend(outcome.err().map(|e| e.during("replacing", &info.source)));
    }
    Error::all(errors)
}

pub async fn scale(cx: Context, args: Args) -> Outcome {
    let replicas = args.int("replicas")?;
    if replicas < 0 {
        return Err(message(
            "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0",
        ));
    }
    let current = args.int("current-replicas")?;
    if current < -1 {
        return Err(message("The --current-replicas must specify an integer of -1 or greater"));
    }
    let dry = DryRun::read(&args)?;
    let said = Said::read(&args, dry)?;
    let (infos, mut errors) = builder::fetch(&cx, &args.operands, &Query::read(&args)).await?;
    if infos.is_empty() && errors.is_empty() {
        return Err(message("no objects passed to scale"));
    }
    for info in infos {
        let outcome = async {
            let path = format!("{}/scale", info.path());
            let rest = cx.rest().await?;
            let version = args.text("resource-version");
            if current >= 0 || !version.is_empty() {
                let mut now: Document = rest.get(&path).await?;
                let actual: i64 = now.get_at(&["spec", "replicas"]).unwrap_or_default();
                if current >= 0 && actual != current {
                    return Err(message(format!("Expected replicas to be {current}, was {actual}")));
                }
                if !version.is_empty() && now.resource_version() != version {
                    return Err(message(format!(
                        "Expected resource version to be {version}, was {}",
                        now.resource_version()
                    )));
                }
                now.set_at(&["spec", "replicas"], replicas);
                if dry != DryRun::Client {
                    rest.send(Method::PUT, &rest::with_query(&path, &[dry.pair()]), &now).await?;
                }
            } else if dry != DryRun::Client {
                let patch = serde_json::to_vec(&json!({"spec": {"replicas": replicas}}))?;
                rest.patch(&rest::with_query(&path, &[dry.pair()]), rest::MERGE, patch).await?;
            }
            said.tell(&info, "scaled")
        }
        .await;
        errors.extend(outcome.err());
    }
    Error::all(errors)
}
