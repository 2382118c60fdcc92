//! `edit`: the object in an editor, what changed sent as a patch.

use super::{Outcome, change, common};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, on, text};
use crate::print::{DryRun, Said, hide_managed_fields, json, yaml};
use crate::resources::builder::{self, Query};
use crate::resources::{Info, files};
use gantry_types::Document;
use std::path::Path;

pub const FLAGS: &[Flag] = &[
    common::FILENAME,
    common::RECURSIVE,
    common::SELECTOR,
    text("output", "Output format. One of: (json, yaml).").short('o'),
    common::SHOW_MANAGED,
    common::VALIDATE,
    common::SAVE_CONFIG,
    common::field_manager("kubectl-edit"),
    text("subresource", "If specified, edit will operate on the subresource of the requested object."),
    on("output-patch", "Output the patch if the resource is edited."),
    on("windows-line-endings", "Accepted for compatibility."),
];

const HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

pub async fn run(cx: Context, args: Args) -> Outcome {
    let as_json = match args.text("output") {
        "" | "yaml" => false,
        "json" => true,
        other => return Err(message(format!("The flag 'output' must be one of yaml|json, not {other}"))),
    };
    let (infos, errors) = builder::fetch(&cx, &args.operands, &Query::read(&args)).await?;
    Error::all(errors)?;
    let plain = Args::default();
    let said = Said::read(&plain, DryRun::None)?;
    for info in infos {
        one(&cx, &args, &said, &info, as_json).await?;
    }
    Ok(())
}

async fn one(cx: &Context, args: &Args, said: &Said, info: &Info, as_json: bool) -> Outcome {
    let mut shown = info.object.clone();
    if !args.on("show-managed-fields") {
        hide_managed_fields(&mut shown);
    }
    let body = if as_json {
        json::pretty(&shown.clone().into_value()) + "\n"
    } else {
        yaml::text(&shown.clone().into_value())
    };
    let suffix = if as_json { ".json" } else { ".yaml" };
    let file = tempfile::Builder::new().prefix("kctl-edit-").suffix(suffix).tempfile()?;
    let mut text = format!("{}{body}", if as_json { "" } else { HEADER });
    let mut failure = String::new();
    loop {
        let before = if failure.is_empty() { text.clone() } else { format!("{failure}{text}") };
        std::fs::write(file.path(), &before)?;
        launch(file.path())?;
        let after = std::fs::read_to_string(file.path())?;
        let bare = uncommented(&after);
        if bare.trim().is_empty() {
            outln!("Edit cancelled, saved file was empty.");
            return Ok(());
        }
        if after == before {
            return if failure.is_empty() {
                outln!("Edit cancelled, no changes made.");
                Ok(())
            } else {
                let kept = file.keep().map_err(|e| message(e.to_string()))?;
                Err(message(format!(
                    "Edit cancelled, no valid changes were saved.\nA copy of your changes has been stored to {:?}",
                    kept.1
                )))
            };
        }
        match send(cx, args, said, info, &shown, &bare).await {
            Ok(()) => return Ok(()),
            Err(e @ Error::Transport { .. }) => return Err(e),
            Err(e) => {
                eprintln!("{}", e.text());
                failure = e.text().lines().map(|l| format!("# {l}\n")).collect::<String>() + "#\n";
                text = bare;
            }
        }
    }
}

async fn send(cx: &Context, args: &Args, said: &Said, info: &Info, shown: &Document, text: &str) -> Outcome {
    let edited: Vec<Document> = files::documents(text.as_bytes()).map_err(message)?;
    let [edited] = edited.as_slice() else { return Err(message("the edited file must hold one object")) };
    if edited.name() != info.name {
        return Err(message("At least one of apiVersion, kind and name was changed"));
    }
    let Some((kind, patch)) = change::patch_between(info, shown, edited)? else {
        said.tell(info, "skipped: no changes")?;
        return Ok(());
    };
    if args.on("output-patch") {
        outln!("Patch: {}", String::from_utf8_lossy(&patch));
    }
    let manager = args.text("field-manager");
    let now =
        change::send_patch(cx, info, (kind, patch), args.text("subresource"), manager, DryRun::None).await?;
    said.tell(&now, "edited")
}

fn uncommented(text: &str) -> String {
    text.split_inclusive('\n').filter(|l| !l.starts_with('#')).collect()
}

fn launch(path: &Path) -> Result<()> {
    let editor = ["KUBE_EDITOR", "EDITOR"]
        .iter()
        .find_map(|v| std::env::var(v).ok().filter(|e| !e.trim().is_empty()))
        .unwrap_or_else(|| "vi".into());
    // The shell splits the editor's own arguments; the path is handed over untouched.
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(path)
        .status()
        .map_err(|e| message(format!("there was a problem with the editor {editor:?}: {e}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(message(format!("there was a problem with the editor {editor:?}"))),
    }
}
