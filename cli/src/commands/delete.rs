//! `delete`: by name, selector or manifest, waiting until the objects are gone.

use super::{Outcome, common};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, on, optional, text};
use crate::print::DryRun;
use crate::resources::Info;
use crate::resources::builder::{self, Query};
use crate::rest;
use gantry_types::Document;
use http::Method;

pub const FLAGS: &[Flag] = &[
    common::SELECTOR,
    text("field-selector", "Selector (field query) to filter on, supports '=', '==', and '!='."),
    common::FILENAME,
    common::KUSTOMIZE,
    common::RECURSIVE,
    common::ALL_NAMESPACES,
    on("all", "Delete all resources, in the namespace of the specified resource types."),
    on("force", "If true, immediately remove resources from API and bypass graceful deletion."),
    on("now", "If true, resources are signaled for immediate shutdown (same as --grace-period=1)."),
    on("wait", "If true, wait for resources to be gone before returning.").default("true"),
    on("ignore-not-found", "Treat \"resource not found\" as a successful delete."),
    text("grace-period", "Period of time in seconds given to the resource to terminate gracefully.")
        .default("-1"),
    text("timeout", "The length of time to wait before giving up on a delete.").default("0s"),
    optional("cascade", "background", "Must be \"background\", \"orphan\", or \"foreground\".")
        .default("background"),
    text("output", "Output mode. Use \"-o name\" for shorter output (resource/name).").short('o'),
    text("raw", "Raw URI to DELETE to the server."),
    on("interactive", "Not supported.").short('i'),
    common::DRY_RUN,
];

/// Resolved options.
struct Deletion {
    body: Document,
    dry: DryRun,
    quiet: bool,
    forced: bool,
}

fn options(args: &Args) -> Result<Deletion> {
    let dry = DryRun::read(args)?;
    let mut grace = args.int("grace-period")?;
    let force = args.on("force");
    if args.on("now") {
        if grace != -1 {
            return Err(message("--now and --grace-period cannot be specified together"));
        }
        grace = 1;
    }
    if grace == 0 && !force {
        eprintln!("Warning: --grace-period=0 waits for confirmation; use --force to delete at once");
        grace = 1;
    }
    if force && grace < 0 {
        grace = 0;
    }
    if force && grace > 0 {
        return Err(message("--force and --grace-period greater than 0 cannot be specified together"));
    }
    if force && grace == 0 {
        eprintln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
        );
    }
    let policy = match args.text("cascade") {
        "background" | "true" => "Background",
        "foreground" => "Foreground",
        "orphan" | "false" => "Orphan",
        other => {
            return Err(message(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    };
    let mut body = Document::default();
    body.set_type("v1", "DeleteOptions");
    body.set_at(&["propagationPolicy"], policy);
    if grace >= 0 {
        body.set_at(&["gracePeriodSeconds"], grace);
    }
    if dry == DryRun::Server {
        body.set_at(&["dryRun"], ["All"]);
    }
    let output = args.text("output");
    if !matches!(output, "" | "name") {
        return Err(message(format!("unexpected -o output mode: {output}. We only support '-o name'")));
    }
    Ok(Deletion { body, dry, quiet: output == "name", forced: force && grace == 0 })
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    if args.given("raw") {
        let body = cx.rest().await?.call(Method::DELETE, args.text("raw"), rest::JSON, None).await?;
        crate::term::bytes(&body);
        return Ok(());
    }
    let deletion = options(&args)?;
    let mut query = Query::read(&args);
    let mut errors = Vec::new();
    let by_manifest = !query.files.is_empty();
    let targets = builder::targets(&args.operands)?;
    let infos: Vec<Info> = if by_manifest {
        let (infos, failed) = builder::from_files(&cx, &query).await?;
        errors.extend(failed);
        infos
    } else if !targets.named.is_empty() {
        if !query.selector.is_empty() || query.all {
            return Err(message("name cannot be provided when a selector is specified"));
        }
        builder::resolve_named(&cx, &targets, &query).await?
    } else {
        if targets.types.is_empty() {
            return Err(message(
                "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
            ));
        }
        if !query.all && query.selector.is_empty() && query.field_selector.is_empty() {
            return Err(message("resource(s) were provided, but no name was specified"));
        }
        query.ignore_not_found = true;
        let (infos, failed) = builder::fetch(&cx, &args.operands, &query).await?;
        errors.extend(failed);
        infos
    };
    let mut found = 0;
    let mut gone = Vec::new();
    for info in infos {
        match one(&cx, &info, &deletion).await {
            Ok(uid) => {
                found += 1;
                gone.push((info, uid));
            }
            Err(e) if e.is_not_found() && (query.ignore_not_found || args.on("ignore-not-found")) => {}
            Err(e @ Error::Transport { .. }) => return Err(e),
            Err(e) => errors.push(if by_manifest { e.during("deleting", &info.source) } else { e }),
        }
    }
    if found == 0 && errors.is_empty() && !args.on("ignore-not-found") && !deletion.quiet {
        outln!("No resources found");
    }
    if args.on("wait") && deletion.dry == DryRun::None {
        let limit = args.duration("timeout")?.or(Some(std::time::Duration::from_secs(604_800)));
        let deadline = common::deadline(limit);
        for (info, uid) in gone {
            if let Err(e) = absent(&cx, &info, &uid, deadline).await {
                // Whoever may delete need not be allowed to watch.
                if !e.is_reason("Forbidden") && !e.is_reason("MethodNotAllowed") {
                    errors.push(e);
                }
            }
        }
    }
    Error::all(errors)
}

/// Deletes one object and says so; its UID.
async fn one(cx: &Context, info: &Info, deletion: &Deletion) -> Result<String> {
    let rest = cx.rest().await?;
    let uid = if deletion.dry == DryRun::Client {
        rest.get(&info.path()).await?.uid().to_owned()
    } else {
        let body = Some((rest::JSON, deletion.body.to_json()));
        let answer = rest.call(Method::DELETE, &info.path(), rest::JSON, body).await?;
        let answer = Document::from_json(&answer)?;
        match answer.kind() {
            "Status" => answer.str_at(&["details", "uid"]).unwrap_or_default().to_owned(),
            _ => answer.uid().to_owned(),
        }
    };
    if deletion.quiet {
        outln!("{}", info.named());
    } else {
        let how = if deletion.forced { "force deleted" } else { "deleted" };
        let dry = match deletion.dry {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        };
        let place = match &info.namespace {
            Some(ns) if !ns.is_empty() => format!(" from {ns} namespace"),
            _ => String::new(),
        };
        outln!("{} \"{}\" {how}{place}{dry}", info.resource.kind_name(), info.name);
    }
    Ok(uid)
}

/// Deletes an object, if it is there, and waits until it is gone.
///
/// # Errors
/// Refusals.
pub async fn now(cx: &Context, info: &Info) -> Result<()> {
    let mut body = Document::default();
    body.set_type("v1", "DeleteOptions");
    body.set_at(&["gracePeriodSeconds"], 0);
    let rest = cx.rest().await?;
    match rest.call(Method::DELETE, &info.path(), rest::JSON, Some((rest::JSON, body.to_json()))).await {
        Ok(_) => absent(cx, info, "", common::deadline(Some(std::time::Duration::from_secs(300)))).await,
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(e),
    }
}

/// Waits until the object, of this UID, is no more.
async fn absent(cx: &Context, info: &Info, uid: &str, deadline: Option<tokio::time::Instant>) -> Result<()> {
    let rest = cx.rest().await?;
    match rest.get(&info.path()).await {
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e),
        Ok(now) if !uid.is_empty() && now.uid() != uid => return Ok(()),
        Ok(_) => {}
    }
    let done = common::follow(cx, info, deadline, |now| {
        Ok(match now {
            None => Some(()),
            Some(o) if !uid.is_empty() && o.uid() != uid => Some(()),
            Some(_) => None,
        })
    })
    .await?;
    done.ok_or_else(|| {
        message(format!("timed out waiting for the condition on {}/{}", info.resource.plural, info.name))
    })
}
