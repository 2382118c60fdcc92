//! `apply`: server-side unless told otherwise.

use super::{Outcome, common};
use crate::apply::{client, server};
use crate::context::Context;
use crate::error::{Error, message};
use crate::flags::{Args, Flag, on, text};
use crate::print::{DryRun, Said};
use crate::resources::builder::{self, Query};

pub const FLAGS: &[Flag] = &[
    common::FILENAME,
    common::KUSTOMIZE,
    common::RECURSIVE,
    common::SELECTOR,
    on("server-side", "If true, apply runs in the server instead of the client.").default("true"),
    on("force-conflicts", "If true, server-side apply will force the changes against conflicts."),
    on("force", "If true, immediately remove resources from API and bypass graceful deletion."),
    on("overwrite", "Automatically resolve conflicts by using values from the modified configuration.")
        .default("true"),
    text("grace-period", "Period of time in seconds given to the resource to terminate gracefully.")
        .default("-1"),
    on("wait", "Accepted for compatibility."),
    text("timeout", "Accepted for compatibility.").default("0s"),
    common::field_manager(""),
    common::VALIDATE,
    common::DRY_RUN,
    common::OUTPUT,
    common::SHOW_MANAGED,
    on("openapi-patch", "Accepted for compatibility.").default("true"),
];

pub async fn run(cx: Context, args: Args) -> Outcome {
    let query = Query::read(&args);
    if query.files.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    super::no_operands(&args, "apply")?;
    let dry = DryRun::read(&args)?;
    let said = Said::read(&args, dry)?;
    let by_server = args.on("server-side");
    if dry == DryRun::Client && by_server && args.given("server-side") {
        return Err(message(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)",
        ));
    }
    if args.on("force-conflicts") && !by_server {
        return Err(message("--force-conflicts only works with --server-side"));
    }
    let validation = common::validation(args.text("validate"))?;
    let manager = match (args.text("field-manager"), by_server) {
        ("", true) => "kctl",
        ("", false) => "kubectl-client-side-apply",
        (given, _) => given,
    };
    let (mut infos, mut errors) = builder::from_files(&cx, &query).await?;
    if !query.selector.is_empty() {
        let selector = crate::resources::files::selector(&query.selector)?;
        infos.retain(|i| selector(&i.object));
    }
    if infos.is_empty() && errors.is_empty() {
        return Err(message("no objects passed to apply"));
    }
    for info in infos {
        // What the server would make of it is not known without asking it: a client dry run compares here.
        let done = if by_server && dry != DryRun::Client {
            let force = args.on("force-conflicts");
            server::apply(&cx, &info, manager, force, dry, validation).await
        } else {
            client::apply(&cx, &info, manager, args.on("overwrite"), dry, validation).await
        };
        match done {
            Ok((now, what)) => said.tell(&now, what)?,
            Err(e @ Error::Transport { .. }) => return Err(e),
            Err(e) => errors.push(e),
        }
    }
    Error::all(errors)
}
