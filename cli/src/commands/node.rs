//! `cordon`, `uncordon` and `taint`.

use super::{Outcome, change, common};
use crate::context::Context;
use crate::error::{Error, Result, message, usage};
use crate::flags::{Args, Flag, on};
use crate::print::{DryRun, Said};
use crate::resources::Info;
use crate::resources::builder::{self, Query};
use gantry_types::Document;
use gantry_types::field::go_quote;
use serde::{Deserialize, Serialize};

pub const CORDON_FLAGS: &[Flag] = &[common::SELECTOR, common::DRY_RUN];
pub const TAINT_FLAGS: &[Flag] = &[
    common::SELECTOR,
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::DRY_RUN,
    common::VALIDATE,
    common::field_manager("kubectl-taint"),
    on("all", "Select all nodes in the cluster"),
    on(
        "overwrite",
        "If true, allow taints to be overwritten, otherwise reject taint updates that overwrite.",
    ),
];

/// The nodes named, or those a selector picks.
///
/// # Errors
/// Neither, or both.
pub async fn nodes(cx: &Context, args: &Args, command: &str) -> Result<Vec<Info>> {
    let query = Query::read(args);
    if args.operands.is_empty() && query.selector.is_empty() {
        return Err(usage(command, format!("USAGE: {command} NODE [flags]")));
    }
    if !args.operands.is_empty() && !query.selector.is_empty() {
        return Err(usage(command, "error: cannot specify both a node name and a --selector option"));
    }
    let mut operands = vec!["nodes".to_owned()];
    operands.extend(args.operands.iter().map(|o| o.rsplit('/').next().unwrap_or(o).to_owned()));
    let (infos, errors) = builder::fetch(cx, &operands, &query).await?;
    Error::all(errors)?;
    Ok(infos)
}

/// Marks a node (un)schedulable and says so.
///
/// # Errors
/// Refusals.
pub async fn set_unschedulable(cx: &Context, info: &Info, wanted: bool, dry: DryRun) -> Outcome {
    let now = info.object.get_at(&["spec", "unschedulable"]).unwrap_or(false);
    let done = if wanted { "cordoned" } else { "uncordoned" };
    let dry_text = match dry {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    if now == wanted {
        outln!("{} already {done}{dry_text}", info.named());
        return Ok(());
    }
    let mut after = info.object.clone();
    if wanted {
        after.set_at(&["spec", "unschedulable"], true);
    } else {
        after.remove_at(&["spec", "unschedulable"]);
    }
    change::send(cx, info, after, "kubectl-cordon", dry).await?;
    outln!("{} {done}{dry_text}", info.named());
    Ok(())
}

async fn each(cx: Context, args: Args, command: &str, wanted: bool) -> Outcome {
    let dry = DryRun::read(&args)?;
    for info in nodes(&cx, &args, command).await? {
        set_unschedulable(&cx, &info, wanted, dry).await?;
    }
    Ok(())
}

pub async fn cordon(cx: Context, args: Args) -> Outcome {
    each(cx, args, "cordon", true).await
}

pub async fn uncordon(cx: Context, args: Args) -> Outcome {
    each(cx, args, "uncordon", false).await
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taint {
    key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    value: String,
    #[serde(default)]
    effect: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_added: Option<String>,
}

/// `key=value:Effect`, `key:Effect`, `key:Effect-`, `key-`.
fn taint_spec(spec: &str) -> Result<(Taint, bool)> {
    let wrong = || message(format!("invalid taint spec: {spec}"));
    let (body, remove) = match spec.strip_suffix('-') {
        Some(body) => (body, true),
        None => (spec, false),
    };
    let (pair, effect) = body.split_once(':').unwrap_or((body, ""));
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if key.is_empty() || value.contains('=') || (effect.is_empty() && !remove) {
        return Err(wrong());
    }
    if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Err(message(format!("invalid taint effect: {effect}, unsupported taint effect")));
    }
    let taint =
        Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned(), time_added: None };
    Ok((taint, remove))
}

/// The taints after the changes, and the word for what was done.
fn retaint(
    node: &str,
    now: &[Taint],
    specs: &[(Taint, bool)],
    overwrite: bool,
) -> Result<(Vec<Taint>, &'static str)> {
    let same = |a: &Taint, b: &Taint| a.key == b.key && (b.effect.is_empty() || a.effect == b.effect);
    let mut out: Vec<Taint> = Vec::new();
    let (mut added, mut removed, mut modified) = (false, false, false);
    let mut exists = Vec::new();
    for (taint, remove) in specs {
        let found = now.iter().find(|t| same(t, taint));
        match (remove, found) {
            (true, None) => {
                let shown = if taint.effect.is_empty() {
                    taint.key.clone()
                } else {
                    format!("{}:{}", taint.key, taint.effect)
                };
                return Err(message(format!("taint {} not found", go_quote(&shown))));
            }
            (true, Some(_)) => removed = true,
            (false, Some(f)) => {
                if !overwrite && f.value != taint.value {
                    exists.push(format!("{}={}:{}", f.key, f.value, f.effect));
                }
                modified = true;
                out.push(taint.clone());
            }
            (false, None) => {
                added = true;
                out.push(taint.clone());
            }
        }
    }
    if !exists.is_empty() {
        return Err(message(format!(
            "node {node} already has [{}] taint(s) with same effect(s) and --overwrite is false",
            exists.join(" ")
        )));
    }
    out.extend(now.iter().filter(|t| !specs.iter().any(|(s, _)| same(t, s))).cloned());
    let done = match (added, removed, modified) {
        (_, true, _) if !added && !modified => "untainted",
        (false, false, true) => "modified",
        _ => "tainted",
    };
    Ok((out, done))
}

pub async fn taint(cx: Context, args: Args) -> Outcome {
    let first = args
        .operands
        .iter()
        .position(|o| o.contains('=') || o.contains(':') || o.ends_with('-'))
        .unwrap_or(args.operands.len());
    let (resources, specs) = args.operands.split_at(first);
    let Some((kind, names)) = resources.split_first() else {
        return Err(message("one or more resources must be specified as <resource> <name>"));
    };
    if specs.is_empty() {
        return Err(message("at least one taint update is required"));
    }
    let type_name = kind.split('/').next().unwrap_or(kind);
    if !matches!(type_name, "node" | "nodes" | "no") {
        return Err(message(format!("invalid resource type {type_name}, only node types are supported")));
    }
    let query = Query::read(&args);
    if names.is_empty() && !kind.contains('/') && !query.all && query.selector.is_empty() {
        return Err(message("at least one resource name must be specified since 'all' parameter is not set"));
    }
    let specs = specs.iter().map(|s| taint_spec(s)).collect::<Result<Vec<_>>>()?;
    let dry = DryRun::read(&args)?;
    let said = Said::read(&args, dry)?;
    let (infos, mut errors) = builder::fetch(&cx, resources, &query).await?;
    for info in infos {
        let outcome = async {
            let now: Vec<Taint> = info.object.get_at(&["spec", "taints"]).unwrap_or_default();
            let (taints, done) = retaint(&info.name, &now, &specs, args.on("overwrite"))?;
            let mut after: Document = info.object.clone();
            if taints.is_empty() {
                after.remove_at(&["spec", "taints"]);
            } else {
                after.set_at(&["spec", "taints"], taints);
            }
            let sent = change::send(&cx, &info, after, args.text("field-manager"), dry).await?;
            said.tell(sent.as_ref().unwrap_or(&info), done)
        }
        .await;
        errors.extend(outcome.err());
    }
    Error::all(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_change() {
        let check = |now: &str, specs: &str, expected: &str| {
            let parse = |s: &str| s.split_whitespace().map(taint_spec).collect::<Result<Vec<_>>>();
            let now: Vec<Taint> = parse(now).unwrap().into_iter().map(|(t, _)| t).collect();
            let shown = match parse(specs).and_then(|s| retaint("n", &now, &s, false)) {
                Ok((t, done)) => {
                    let all: Vec<String> =
                        t.iter().map(|t| format!("{}={}:{}", t.key, t.value, t.effect)).collect();
                    format!("{done} {}", all.join(" "))
                }
                Err(e) => e.bare(),
            };
            assert_eq!(shown, expected, "{specs}");
        };
        check("", "a=b:NoSchedule", "tainted a=b:NoSchedule");
        check("a=b:NoSchedule c:NoExecute", "a-", "untainted c=:NoExecute");
        check(
            "a=b:NoSchedule",
            "a=c:NoSchedule",
            "node n already has [a=b:NoSchedule] taint(s) with same effect(s) and --overwrite is false",
        );
        check("", "a-", "taint \"a\" not found");
        check("", "a=b:Nope", "invalid taint effect: Nope, unsupported taint effect");
    }
}
