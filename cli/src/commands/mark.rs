//! `label` and `annotate`.

use super::{Outcome, change, common};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, on, text};
use crate::print::{DryRun, Said};
use crate::resources::builder::{self, Query};
use gantry_types::field::go_quote;
use gantry_types::{Document, names};
use std::collections::BTreeMap;

pub const FLAGS: &[Flag] = &[
    common::FILENAME,
    common::RECURSIVE,
    common::SELECTOR,
    common::ALL_NAMESPACES,
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::DRY_RUN,
    common::field_manager(""),
    on("all", "Select all resources, in the namespace of the specified resource types."),
    on("overwrite", "If true, allow values to be overwritten."),
    on("list", "If true, display the values for a given resource."),
    on("local", "Not supported."),
    text("field-selector", "Selector (field query) to filter on, supports '=', '==', and '!='."),
    text(
        "resource-version",
        "If non-empty, the update will only succeed if this is the current resource-version.",
    ),
];

/// What is set and what is removed.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    set: BTreeMap<String, String>,
    remove: Vec<String>,
}

/// Splits operands into resources and changes (`a=b`, `a-`).
fn split(operands: &[String]) -> (Vec<String>, Vec<String>) {
    let first = operands.iter().position(|o| o.contains('=') || o.ends_with('-')).unwrap_or(operands.len());
    (operands[..first].to_vec(), operands[first..].to_vec())
}

fn changes(specs: &[String], what: &str) -> Result<Changes> {
    let mut out = Changes::default();
    for spec in specs {
        if let Some((key, value)) = spec.split_once('=') {
            if key.is_empty() {
                return Err(message(format!("invalid {what} spec: {spec}")));
            }
            if what == "label" {
                let errors = names::label_value(value);
                if !errors.is_empty() {
                    return Err(message(format!(
                        "invalid label value: {}: {}",
                        go_quote(spec),
                        errors.join(";")
                    )));
                }
            }
            out.set.insert(key.to_owned(), value.to_owned());
        } else if let Some(key) = spec.strip_suffix('-') {
            out.remove.push(key.to_owned());
        } else {
            return Err(message(format!("unknown {what} spec: {spec}")));
        }
    }
    if out.remove.iter().any(|k| out.set.contains_key(k)) {
        return Err(message(format!("can not both modify and remove a {what} in the same command")));
    }
    Ok(out)
}

/// Applies changes to `metadata.labels` or `metadata.annotations`.
fn edit(object: &mut Document, field: &str, c: &Changes, overwrite: bool) -> Result<()> {
    let mut all: BTreeMap<String, String> = object.get_at(&["metadata", field]).unwrap_or_default();
    if !overwrite {
        let mut declared = Vec::new();
        for (key, value) in &c.set {
            if let Some(now) = all.get(key).filter(|now| *now != value) {
                declared.push((key, now.clone()));
            }
        }
        if field == "labels" && !declared.is_empty() {
            return Error::all(
                declared
                    .into_iter()
                    .map(|(k, v)| {
                        message(format!("'{k}' already has a value ({v}), and --overwrite is false"))
                    })
                    .collect(),
            );
        }
        if !declared.is_empty() {
            let list: Vec<String> =
                declared.iter().map(|(k, v)| format!("'{k}' already has a value ({v})")).collect();
            return Err(message(format!(
                "--overwrite is false but found the following declared annotation(s): {}",
                list.join("; ")
            )));
        }
    }
    for key in &c.remove {
        if all.remove(key).is_none() && field == "labels" {
            outln!("label {} not found.", go_quote(key));
        }
    }
    all.extend(c.set.clone());
    if all.is_empty() {
        object.remove_at(&["metadata", field]);
    } else {
        object.set_at(&["metadata", field], all);
    }
    Ok(())
}

async fn mark(cx: Context, args: Args, field: &str, what: &str) -> Outcome {
    let (resources, specs) = split(&args.operands);
    let query = Query::read(&args);
    if resources.is_empty() && query.files.is_empty() {
        return Err(message(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    if specs.is_empty() && !args.on("list") {
        return Err(message(format!("at least one {what} update is required")));
    }
    let targets = builder::targets(&resources)?;
    if targets.named.is_empty() && query.files.is_empty() && !query.all && query.selector.is_empty() {
        return Err(message("resource(s) were provided, but no name was specified"));
    }
    let c = changes(&specs, what)?;
    let dry = DryRun::read(&args)?;
    let said = Said::read(&args, dry)?;
    let manager = match args.text("field-manager") {
        "" if field == "labels" => "kubectl-label",
        "" => "kubectl-annotate",
        given => given,
    };
    let (infos, mut errors) = builder::fetch(&cx, &resources, &query).await?;
    for info in infos {
        if args.on("list") {
            let all: BTreeMap<String, String> = info.object.get_at(&["metadata", field]).unwrap_or_default();
            for (k, v) in all {
                outln!("{k}={v}");
            }
            continue;
        }
        let outcome = async {
            let mut after = info.object.clone();
            edit(&mut after, field, &c, args.on("overwrite"))?;
            let version = args.text("resource-version");
            let now = if version.is_empty() {
                change::send(&cx, &info, after, manager, dry).await?
            } else {
                after.set_meta_str("resourceVersion", version);
                change::send(&cx, &info, after, manager, dry).await?
            };
            let changed = now.is_some();
            let done = match (field, changed) {
                ("annotations", _) => "annotated",
                (_, false) => "not labeled",
                (_, true) if c.set.is_empty() => "unlabeled",
                (_, true) => "labeled",
            };
            said.tell(now.as_ref().unwrap_or(&info), done)
        }
        .await;
        errors.extend(outcome.err());
    }
    Error::all(errors)
}

pub async fn label(cx: Context, args: Args) -> Outcome {
    mark(cx, args, "labels", "label").await
}

pub async fn annotate(cx: Context, args: Args) -> Outcome {
    mark(cx, args, "annotations", "annotation").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_removed() {
        let check = |specs: &str, overwrite: bool, expected: &str| {
            let mut d = Document::from_json(br#"{"metadata":{"labels":{"a":"1","b":"2"}}}"#).unwrap();
            let specs: Vec<String> = specs.split(' ').map(str::to_owned).collect();
            let outcome = changes(&specs, "label").and_then(|c| edit(&mut d, "labels", &c, overwrite));
            let shown = match outcome {
                Ok(()) => String::from_utf8(d.to_json()).unwrap(),
                Err(e) => e.bare(),
            };
            assert_eq!(shown, expected, "{specs:?}");
        };
        check("c=3 a-", false, r#"{"metadata":{"labels":{"b":"2","c":"3"}}}"#);
        check("a=2", false, "'a' already has a value (1), and --overwrite is false");
        check("a=2", true, r#"{"metadata":{"labels":{"a":"2","b":"2"}}}"#);
        check("a-  b-", true, "unknown label spec: ");
        check("a=1 a-", true, "can not both modify and remove a label in the same command");
    }
}
