//! `set image`, `set env`, `set resources`: containers of pods and pod templates.

use super::table::online;
use super::{Command, Outcome, Run, change, common};
use crate::context::Context;
use crate::error::{Error, Result, message, usage};
use crate::flags::{Args, Flag, array, list, on, text};
use crate::print::{DryRun, Said};
use crate::resources::builder::{self, Query};
use gantry_machinery::patch::strategic::Object;
use gantry_types::Document;
use gantry_types::field::go_quote;
use std::collections::BTreeMap;

/// The flags all of them take.
macro_rules! flags {
    ($($flag:expr),* $(,)?) => {
        &[
            common::FILENAME,
            common::RECURSIVE,
            common::SELECTOR,
            common::OUTPUT,
            common::SHOW_MANAGED,
            common::DRY_RUN,
            common::field_manager("kubectl-set"),
            on("all", "Select all resources, in the namespace of the specified resource types"),
            on("local", "Not supported."),
            $($flag),*
        ]
    };
}

const IMAGE: &[Flag] = flags![];
const ENV: &[Flag] = flags![
    text("containers", "The names of containers in the selected pod templates to change.")
        .default("*")
        .short('c'),
    array("env", "Specify a key-value pair for an environment variable to set into each container.")
        .short('e'),
    on("list", "If true, display the environment and any changes in the standard format."),
    on("overwrite", "If true, allow environment to be overwritten.").default("true"),
];
const RESOURCES: &[Flag] = flags![
    text("containers", "The names of containers in the selected pod templates to change.")
        .default("*")
        .short('c'),
    list("limits", "The resource requirement limits for this container."),
    list("requests", "The resource requirement requests for this container."),
];

pub const COMMANDS: &[Command] = &[
    online!(
        "image",
        &[],
        "(-f FILENAME | TYPE NAME) CONTAINER_NAME_1=CONTAINER_IMAGE_1",
        "Update the image of a pod template",
        IMAGE,
        image
    ),
    online!(
        "env",
        &[],
        "RESOURCE/NAME KEY_1=VAL_1 ... KEY_N=VAL_N",
        "Update environment variables on a pod template",
        ENV,
        env
    ),
    online!(
        "resources",
        &[],
        "(-f FILENAME | TYPE NAME) ([--limits=LIMITS & --requests=REQUESTS]",
        "Update resource requests/limits on objects with pod templates",
        RESOURCES,
        resources
    ),
];

/// Where a kind keeps its pod spec.
fn pod_spec(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "Pod" => &["spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            &["spec", "template", "spec"]
        }
        _ => return None,
    })
}

/// Changes every container; how many were as wanted.
fn each_container(
    object: &mut Document,
    spec: &[&str],
    mut edit: impl FnMut(&str, &mut Document) -> bool,
) -> usize {
    let mut touched = 0;
    for field in ["initContainers", "containers"] {
        let mut path = spec.to_vec();
        path.push(field);
        let Some(all) = object.get_at::<Vec<Object>>(&path) else { continue };
        let mut changed: Vec<Object> = Vec::new();
        for container in all {
            let mut container = Document::new(container);
            let name = container.str_at(&["name"]).unwrap_or_default().to_owned();
            touched += usize::from(edit(&name, &mut container));
            changed.push(container.into_map());
        }
        object.set_at(&path, changed);
    }
    touched
}

/// `*`, a name, or names with stars.
fn picks(pattern: &str, name: &str) -> bool {
    pattern.split(',').any(|p| match p.split_once('*') {
        None => p == name,
        Some((before, after)) => {
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        }
    })
}

async fn run(
    cx: Context,
    args: Args,
    resources: &[String],
    done: &str,
    edit: impl Fn(&mut Document, &[&str]) -> Result<()>,
) -> Outcome {
    let dry = DryRun::read(&args)?;
    let said = Said::read(&args, dry)?;
    let query = Query::read(&args);
    if resources.is_empty() && query.files.is_empty() {
        return Err(message(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    let (infos, mut errors) = builder::fetch(&cx, resources, &query).await?;
    for info in infos {
        let outcome = async {
            let spec = pod_spec(&info.resource.kind)
                .ok_or_else(|| message(format!("{} does not have a pod template", info.named())))?;
            let mut after = info.object.clone();
            edit(&mut after, spec)?;
            match change::send(&cx, &info, after, args.text("field-manager"), dry).await? {
                Some(now) => said.tell(&now, done),
                None => Ok(()),
            }
        }
        .await;
        errors.extend(outcome.err());
    }
    Error::all(errors)
}

/// Splits operands into resources and `a=b` pairs.
fn split(operands: &[String]) -> (Vec<String>, Vec<String>) {
    let (pairs, resources): (Vec<_>, Vec<_>) =
        operands.iter().cloned().partition(|o| o.contains('=') || o.ends_with('-') && !o.contains('/'));
    (resources, pairs)
}

async fn image(cx: Context, args: Args) -> Outcome {
    let (resources, pairs) = split(&args.operands);
    let images = pairs.iter().map(|p| common::key_value(p)).collect::<Result<BTreeMap<_, _>>>()?;
    if images.is_empty() {
        return Err(usage("set image", "at least one image update is required"));
    }
    run(cx, args, &resources, "image updated", move |object, spec| {
        for (wanted, image) in &images {
            let n = each_container(object, spec, |name, c| {
                let hit = picks(wanted, name);
                if hit {
                    c.set_at(&["image"], image);
                }
                hit
            });
            if n == 0 {
                return Err(message(format!("unable to find container named {}", go_quote(wanted))));
            }
        }
        Ok(())
    })
    .await
}

async fn env(cx: Context, args: Args) -> Outcome {
    let (resources, mut pairs) = split(&args.operands);
    pairs.extend(args.list("env"));
    if args.on("list") {
        let (infos, errors) = builder::fetch(&cx, &resources, &Query::read(&args)).await?;
        for info in infos {
            let Some(spec) = pod_spec(&info.resource.kind) else { continue };
            let mut object = info.object.clone();
            each_container(&mut object, spec, |name, c| {
                outln!("# {}, container {name}", info.named());
                for e in variables(c) {
                    outln!(
                        "{}={}",
                        e.str_at(&["name"]).unwrap_or_default(),
                        e.str_at(&["value"]).unwrap_or_default()
                    );
                }
                true
            });
        }
        return Error::all(errors);
    }
    if pairs.is_empty() {
        return Err(usage("set env", "at least one environment variable must be provided"));
    }
    let pattern = args.text("containers").to_owned();
    let overwrite = args.on("overwrite");
    run(cx, args, &resources, "env updated", move |object, spec| {
        let mut taken = None;
        each_container(object, spec, |name, c| {
            if !picks(&pattern, name) {
                return false;
            }
            let mut all = variables(c);
            for pair in &pairs {
                if let Some((key, value)) = pair.split_once('=') {
                    let mut entry = Document::default();
                    entry.set_at(&["name"], key);
                    entry.set_at(&["value"], value);
                    match all.iter().position(|e| e.str_at(&["name"]) == Some(key)) {
                        Some(_) if !overwrite => taken = Some(key.to_owned()),
                        Some(at) => all[at] = entry,
                        None => all.push(entry),
                    }
                } else if let Some(key) = pair.strip_suffix('-') {
                    all.retain(|e| e.str_at(&["name"]) != Some(key));
                }
            }
            if all.is_empty() {
                c.remove_at(&["env"]);
            } else {
                let maps: Vec<&Object> = all.iter().map(Document::map).collect();
                c.set_at(&["env"], maps);
            }
            true
        });
        match taken {
            Some(key) => Err(message(format!("'{key}' already has a value, and --overwrite is false"))),
            None => Ok(()),
        }
    })
    .await
}

fn variables(container: &Document) -> Vec<Document> {
    container.get_at::<Vec<Object>>(&["env"]).unwrap_or_default().into_iter().map(Document::new).collect()
}

async fn resources(cx: Context, args: Args) -> Outcome {
    let parse =
        |flag: &str| args.list(flag).iter().map(|p| common::key_value(p)).collect::<Result<BTreeMap<_, _>>>();
    let (limits, requests) = (parse("limits")?, parse("requests")?);
    if limits.is_empty() && requests.is_empty() {
        return Err(message(
            "you must specify an update to requests or limits (in the form of --requests/--limits)",
        ));
    }
    let pattern = args.text("containers").to_owned();
    let names = args.operands.clone();
    run(cx, args, &names, "resource requirements updated", move |object, spec| {
        let n = each_container(object, spec, |name, c| {
            let hit = picks(&pattern, name);
            if hit {
                for (field, values) in [("limits", &limits), ("requests", &requests)] {
                    for (key, value) in values {
                        c.set_at(&["resources", field, key], value);
                    }
                }
            }
            hit
        });
        match n {
            0 => Err(message(format!("unable to find container named {pattern}"))),
            _ => Ok(()),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_picked_and_changed() {
        assert!(picks("*", "a") && picks("a,b", "b") && picks("we*", "web") && !picks("we*x", "web"));
        let mut d =
            Document::from_json(br#"{"spec":{"containers":[{"name":"a","image":"x"},{"name":"b"}]}}"#)
                .unwrap();
        let n = each_container(&mut d, &["spec"], |name, c| {
            c.set_at(&["image"], "y");
            name == "a"
        });
        assert_eq!(n, 1);
        assert_eq!(
            d.to_json(),
            br#"{"spec":{"containers":[{"image":"y","name":"a"},{"image":"y","name":"b"}]}}"#
        );
    }
}
