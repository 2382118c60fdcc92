//! `drain`: cordon, then evict what may go, all of it at once.

mod evict;
mod judge;
mod presence;

use super::{Outcome, common, node};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, on, text};
use crate::print::DryRun;
use crate::resources::{Info, builder};
use evict::Evictor;
use gantry_machinery::selector::Selector;
use gantry_types::field::go_quote;
use gantry_types::k8s_openapi::jiff::Timestamp;
use judge::{Policy, Verdict, judge};
use std::collections::{BTreeMap, BTreeSet};

pub const FLAGS: &[Flag] = &[
    common::SELECTOR,
    common::DRY_RUN,
    on("force", "Continue even if there are pods that do not declare a controller."),
    on("ignore-daemonsets", "Ignore DaemonSet-managed pods."),
    on("delete-emptydir-data", "Continue even if there are pods using emptyDir."),
    on("disable-eviction", "Force drain to use delete, even if eviction is supported."),
    text("pod-selector", "Label selector to filter pods on the node"),
    text("grace-period", "Period of time in seconds given to each pod to terminate gracefully.")
        .default("-1"),
    text("timeout", "The length of time to wait before giving up, zero means infinite").default("0s"),
    text("chunk-size", "Return large lists in chunks rather than all at once. Pass 0 to disable.")
        .default("500"),
    text(
        "skip-wait-for-delete-timeout",
        "If pod DeletionTimestamp older than N seconds, skip waiting for the pod. Seconds must be greater than 0 to skip.",
    )
    .default("0"),
];

/// What of a command line concerns every node.
struct Drain {
    policy: Policy,
    selector: String,
    chunk: i64,
    dry: DryRun,
    grace: i64,
    delete: bool,
    timeout: Option<std::time::Duration>,
}

impl Drain {
    fn read(args: &Args) -> Result<Self> {
        let selector = args.text("pod-selector").to_owned();
        if Selector::parse(&selector).is_err() {
            return Err(message("--pod-selector=<pod_selector> must be a valid label selector"));
        }
        Ok(Self {
            policy: Policy {
                force: args.on("force"),
                ignore_daemon_sets: args.on("ignore-daemonsets"),
                delete_local: args.on("delete-emptydir-data"),
                skip_deleted: args.int("skip-wait-for-delete-timeout")?,
            },
            selector,
            chunk: args.int("chunk-size")?,
            dry: DryRun::read(args)?,
            grace: args.int("grace-period")?,
            delete: args.on("disable-eviction"),
            timeout: args.duration("timeout")?,
        })
    }
}

/// Several refusals on one line, as Go joins them; equal ones once.
fn joined(errors: &[Error]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in errors.iter().map(Error::bare) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    let drain = Drain::read(&args)?;
    let nodes = node::nodes(&cx, &args, "drain").await?;
    for info in &nodes {
        node::set_unschedulable(&cx, info, true, drain.dry).await?;
    }
    let (mut failed, mut pending) = (Vec::new(), Vec::new());
    for info in &nodes {
        match empty(&cx, &drain, info).await {
            Ok(()) => {
                let note = if drain.dry == DryRun::None { "" } else { " (dry run)" };
                outln!("{} drained{note}", info.named());
            }
            Err(errors) => {
                let (name, why) = (go_quote(&info.name), joined(&errors));
                eprintln!("error: unable to drain node {name} due to error: {why}, continuing command...");
                pending.push(&info.name);
                failed.extend(errors);
            }
        }
    }
    if !pending.is_empty() {
        eprintln!("There are pending nodes to be drained:");
        pending.iter().for_each(|name| eprintln!(" {name}"));
    }
    if failed.is_empty() {
        return Ok(());
    }
    // kubectl tells these without a word before them.
    let told = |e: &Error| match e {
        Error::Message(text) => text.clone(),
        other => other.text(),
    };
    Err(Error::Plain(failed.iter().map(told).collect::<Vec<_>>().join("\n")))
}

/// Frees a node of its pods, and tells who is left where that fails.
async fn empty(cx: &Context, drain: &Drain, node: &Info) -> std::result::Result<(), Vec<Error>> {
    let (going, warnings) = select(cx, drain, node).await?;
    if !warnings.is_empty() {
        eprintln!("Warning: {warnings}");
    }
    if drain.dry == DryRun::Client {
        for pod in &going {
            outln!("evicting pod {}/{} (dry run)", pod.namespace.as_deref().unwrap_or_default(), pod.name);
        }
        return Ok(());
    }
    if going.is_empty() {
        return Ok(());
    }
    let errors = Evictor::new(cx, drain, &node.name).run(&going).await;
    if errors.is_empty() {
        return Ok(());
    }
    match select(cx, drain, node).await {
        Ok((left, _)) if !left.is_empty() => {
            let (name, why) = (go_quote(&node.name), joined(&errors));
            eprintln!("There are pending pods in node {name} when an error occurred: {why}");
            left.iter().for_each(|pod| eprintln!("pod/{}", pod.name));
        }
        Ok(_) => {}
        Err(more) => {
            eprint!("Following errors occurred while getting the list of pods to delete:\n{}", joined(&more));
        }
    }
    Err(errors)
}

/// The pods of a node that are to go, and what there is to warn of.
async fn select(
    cx: &Context,
    drain: &Drain,
    node: &Info,
) -> std::result::Result<(Vec<Info>, String), Vec<Error>> {
    let pods = async {
        let resource = cx.resource("pods").await?;
        let query = builder::Query {
            field_selector: format!("spec.nodeName={}", node.name),
            selector: drain.selector.clone(),
            chunk: drain.chunk,
            ..Default::default()
        };
        let found = builder::list(cx, &resource, None, &query).await?;
        Ok(found.into_iter().map(|pod| builder::listed(&resource, pod)).collect::<Vec<_>>())
    };
    let pods: Vec<Info> = pods.await.map_err(|e: Error| vec![e])?;
    let mut known: BTreeMap<(String, String), Option<String>> = BTreeMap::new();
    let (mut refused, mut warned): (BTreeMap<String, Vec<String>>, BTreeMap<String, Vec<String>>) =
        Default::default();
    let mut going = Vec::new();
    for pod in pods {
        let namespace = pod.namespace.clone().unwrap_or_default();
        let orphaned = match judge::daemon_set(&pod.object) {
            Some(set) => {
                let key = (namespace.clone(), set);
                if !known.contains_key(&key) {
                    let trouble = find_daemon_set(cx, &key.0, &key.1).await.err();
                    known.insert(key.clone(), trouble);
                }
                known[&key].clone()
            }
            None => None,
        };
        let name = format!("{namespace}/{}", pod.name);
        match judge(&pod.object, drain.policy, orphaned.as_deref(), Timestamp::now()) {
            Verdict::Evict => going.push(pod),
            Verdict::Skip => {}
            Verdict::Warn { why, go } => {
                warned.entry(why).or_default().push(name);
                if go {
                    going.push(pod);
                }
            }
            Verdict::Refuse(why) => refused.entry(why).or_default().push(name),
        }
    }
    if !refused.is_empty() {
        let told = |(why, pods): (&String, &Vec<String>)| {
            message(format!("cannot delete {why}: {}", pods.join(", ")))
        };
        return Err(refused.iter().map(told).collect());
    }
    let warnings: Vec<String> =
        warned.iter().map(|(why, pods)| format!("{why}: {}", pods.join(", "))).collect();
    Ok((going, warnings.join("; ")))
}

/// Whether a pod's DaemonSet is there.
async fn find_daemon_set(cx: &Context, namespace: &str, name: &str) -> std::result::Result<(), String> {
    let find = async {
        let path = cx.resource("daemonsets").await?.object_path(Some(namespace), name);
        cx.rest().await?.get(&path).await
    };
    match find.await {
        Ok(_) => Ok(()),
        Err(e) if e.is_not_found() => Err(e.bare()),
        Err(e) => Err(format!("{}{}", judge::UNKNOWN, e.bare())),
    }
}

/// The UIDs of objects.
fn uids(pods: &[Info]) -> BTreeSet<String> {
    pods.iter().map(|p| p.object.uid().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_errors_share_a_line() {
        let check = |texts: &[&str], expected: &str| {
            let errors: Vec<Error> = texts.iter().map(|t| message(*t)).collect();
            assert_eq!(joined(&errors), expected);
        };
        check(&["a"], "a");
        check(&["a", "b", "a"], "[a, b]");
    }
}
