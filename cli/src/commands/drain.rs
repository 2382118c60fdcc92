//! `drain`: cordon, then evict what may go.

use super::{Outcome, common, node};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, on, text};
use crate::print::DryRun;
use crate::resources::{Info, builder};
use crate::rest;
use gantry_types::Document;
use gantry_types::field::go_quote;
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::rc::Rc;

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
    text("chunk-size", "Accepted for compatibility.").default("500"),
    text("skip-wait-for-delete-timeout", "Accepted for compatibility.").default("0"),
];

/// What drain does with a pod.
#[derive(Debug, PartialEq)]
enum Verdict {
    Evict,
    Skip,
    Warn(&'static str),
    Refuse(&'static str),
}

#[derive(Clone, Copy)]
struct Policy {
    force: bool,
    ignore_daemon_sets: bool,
    delete_local: bool,
}

fn judge(pod: &Document, p: Policy) -> Verdict {
    #[derive(serde::Deserialize)]
    struct Owner {
        kind: String,
        #[serde(default)]
        controller: bool,
    }
    if pod.annotation("kubernetes.io/config.mirror").is_some() {
        return Verdict::Skip;
    }
    let owners: Vec<Owner> = pod.get_at(&["metadata", "ownerReferences"]).unwrap_or_default();
    let controller = owners.iter().find(|o| o.controller);
    let done = matches!(pod.str_at(&["status", "phase"]), Some("Succeeded" | "Failed"));
    if controller.is_some_and(|c| c.kind == "DaemonSet") {
        return match p.ignore_daemon_sets {
            _ if done => Verdict::Evict,
            true => Verdict::Warn("ignoring DaemonSet-managed Pods"),
            false => Verdict::Refuse("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"),
        };
    }
    if done {
        return Verdict::Evict;
    }
    let volumes: Vec<BTreeMap<String, serde::de::IgnoredAny>> =
        pod.get_at(&["spec", "volumes"]).unwrap_or_default();
    if volumes.iter().any(|v| v.contains_key("emptyDir")) && !p.delete_local {
        return Verdict::Refuse("Pods with local storage (use --delete-emptydir-data to override)");
    }
    if controller.is_none() && !p.force {
        return Verdict::Refuse("Pods that declare no controller (use --force to override)");
    }
    Verdict::Evict
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    let dry = DryRun::read(&args)?;
    let deadline = common::deadline(args.duration("timeout")?);
    for info in node::nodes(&cx, &args, "drain").await? {
        node::set_unschedulable(&cx, &info, true, dry).await?;
        match pods(&cx, &args, &info, dry, deadline).await {
            Ok(()) => {
                outln!("{} drained{}", info.named(), if dry == DryRun::None { "" } else { " (dry run)" })
            }
            Err(e) => {
                eprintln!(
                    "error: unable to drain node {} due to error: {}, continuing command...",
                    go_quote(&info.name),
                    e.bare()
                );
                eprintln!("There are pending nodes to be drained:\n {}", info.name);
                return Err(e);
            }
        }
    }
    Ok(())
}

async fn pods(
    cx: &Context,
    args: &Args,
    node: &Info,
    dry: DryRun,
    deadline: Option<tokio::time::Instant>,
) -> Result<()> {
    let resource = cx.resource("pods").await?;
    let query = builder::Query {
        field_selector: format!("spec.nodeName={}", node.name),
        selector: args.text("pod-selector").to_owned(),
        ..Default::default()
    };
    let policy = Policy {
        force: args.on("force"),
        ignore_daemon_sets: args.on("ignore-daemonsets"),
        delete_local: args.on("delete-emptydir-data"),
    };
    let mut refused: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut warned: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut going = Vec::new();
    for pod in builder::list(cx, &resource, None, &query).await? {
        let name = format!("{}/{}", pod.namespace(), pod.name());
        match judge(&pod, policy) {
            Verdict::Evict => going.push(builder::listed(&resource, pod)),
            Verdict::Skip => {}
            Verdict::Warn(why) => warned.entry(why).or_default().push(name),
            Verdict::Refuse(why) => refused.entry(why).or_default().push(name),
        }
    }
    if !refused.is_empty() {
        return Error::all(
            refused
                .iter()
                .map(|(why, pods)| message(format!("cannot delete {why}: {}", pods.join(", "))))
                .collect(),
        );
    }
    for (why, pods) in warned {
        eprintln!("Warning: {why}: {}", pods.join(", "));
    }
    let going: Vec<Rc<Info>> = going.into_iter().map(Rc::new).collect();
    for pod in &going {
        evict(cx, args, pod, dry, deadline).await?;
    }
    for pod in going.iter().filter(|_| dry == DryRun::None) {
        let uid = pod.object.uid().to_owned();
        let gone =
            common::follow(cx, pod, deadline, |now| Ok(now.is_none_or(|n| n.uid() != uid).then_some(())))
                .await?;
        if gone.is_none() {
            return Err(message(format!("drain did not complete within {}", args.text("timeout"))));
        }
        outln!("{} evicted", pod.named());
    }
    Ok(())
}

async fn evict(
    cx: &Context,
    args: &Args,
    pod: &Info,
    dry: DryRun,
    deadline: Option<tokio::time::Instant>,
) -> Result<()> {
    let namespace = pod.namespace.as_deref().unwrap_or_default();
    let dry_text = match dry {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let mut options = Document::default();
    if args.int("grace-period")? >= 0 {
        options.set_at(&["gracePeriodSeconds"], args.int("grace-period")?);
    }
    if dry == DryRun::Server {
        options.set_at(&["dryRun"], ["All"]);
    }
    let delete = args.on("disable-eviction");
    loop {
        outln!("{} pod {namespace}/{}{dry_text}", if delete { "deleting" } else { "evicting" }, pod.name);
        if dry == DryRun::Client {
            return Ok(());
        }
        let rest = cx.rest().await?;
        let sent = if delete {
            let mut body = options.clone();
            body.set_type("v1", "DeleteOptions");
            rest.call(Method::DELETE, &pod.path(), rest::JSON, Some((rest::JSON, body.to_json()))).await
        } else {
            let body = Document::from_typed(&json!({"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": pod.name, "namespace": namespace}, "deleteOptions": options.map()}))?;
            let path = format!("{}/eviction", pod.path());
            rest.call(Method::POST, &path, rest::JSON, Some((rest::JSON, body.to_json()))).await
        };
        let Err(refusal) = sent else { return Ok(()) };
        let (name, space) = (go_quote(&pod.name), go_quote(namespace));
        let later = match answer(&refusal) {
            Answer::Gone => return Ok(()),
            Answer::Refused => {
                return Err(message(format!(
                    "error when evicting pods/{name} -n {space}: {}",
                    refusal.bare()
                )));
            }
            Answer::Budget => format!("pods/{name} -n {space}"),
            // Such a namespace deletes its pods itself: this one is waited for once it is marked.
            Answer::Terminating => match rest.get(&pod.path()).await {
                Ok(now) if now.deleting() || now.uid() != pod.object.uid() => return Ok(()),
                Err(e) if e.is_not_found() => return Ok(()),
                _ => format!("pod {name} from terminating namespace {space}"),
            },
        };
        eprintln!("error when evicting {later} (will retry after 5s): {}", refusal.bare());
        let next = tokio::time::Instant::now() + RETRY;
        if deadline.is_some_and(|d| d < next) {
            return Err(message(format!(
                "error when evicting pods/{name} -n {space}: global timeout reached: {}",
                args.text("timeout")
            )));
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Between two attempts at a pod.
const RETRY: std::time::Duration = std::time::Duration::from_secs(5);

/// What a refused eviction means.
#[derive(Debug, PartialEq)]
enum Answer {
    Gone,
    /// A disruption budget is in the way: it may let go later.
    Budget,
    /// Its namespace is going.
    Terminating,
    Refused,
}

fn answer(refusal: &Error) -> Answer {
    if refusal.is_not_found() {
        Answer::Gone
    } else if refusal.is_reason("TooManyRequests") {
        Answer::Budget
    } else if refusal.is_reason("Forbidden") && refusal.has_cause("NamespaceTerminating") {
        Answer::Terminating
    } else {
        Answer::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let check = |code: u16, reason: &str, details: &str, want: Answer| {
            let text = format!(
                r#"{{"kind":"Status","apiVersion":"v1","code":{code},"reason":"{reason}","details":{details}}}"#
            );
            let error = Error::Api(Box::new(serde_json::from_str(&text).unwrap()));
            assert_eq!(answer(&error), want, "{text}");
        };
        check(404, "NotFound", "{}", Answer::Gone);
        check(429, "TooManyRequests", "{}", Answer::Budget);
        check(403, "Forbidden", "{}", Answer::Refused);
        check(403, "Forbidden", r#"{"causes":[{"reason":"NamespaceTerminating"}]}"#, Answer::Terminating);
    }

    #[test]
    fn pods_are_judged() {
        let check = |pod: &str, force: bool, expected: &str| {
            let d = Document::from_json(pod.as_bytes()).unwrap();
            let p = Policy { force, ignore_daemon_sets: force, delete_local: false };
            assert!(format!("{:?}", judge(&d, p)).starts_with(expected), "{pod}: {:?}", judge(&d, p));
        };
        check("{}", false, "Refuse(\"Pods that declare no controller");
        check("{}", true, "Evict");
        check(r#"{"status":{"phase":"Failed"}}"#, false, "Evict");
        let owned = |k: &str, rest: &str| {
            format!(r#"{{"metadata":{{"ownerReferences":[{{"kind":"{k}","controller":true}}]}}{rest}}}"#)
        };
        check(&owned("DaemonSet", ""), false, "Refuse(\"DaemonSet");
        check(&owned("DaemonSet", ""), true, "Warn");
        check(&owned("ReplicaSet", ""), false, "Evict");
        check(
            &owned("ReplicaSet", r#","spec":{"volumes":[{"name":"a","emptyDir":{}}]}"#),
            false,
            "Refuse(\"Pods with local",
        );
    }
}
