//! `rollout status`, `restart`, `pause` and `resume`.

use super::table::online;
use super::{Command, Outcome, Run, change, common, rollout_history as history};
use crate::context::Context;
use crate::error::{Error, Result, message, usage};
use crate::flags::{Args, Flag, on, text};
use crate::print::{DryRun, Said};
use crate::resources::Info;
use crate::resources::builder::{self, Query};
use gantry_types::Document;
use gantry_types::field::go_quote;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::jiff::Timestamp;

const STATUS: &[Flag] = &[
    common::FILENAME,
    common::RECURSIVE,
    common::SELECTOR,
    on("watch", "Watch the status of the rollout until it's done.").default("true").short('w'),
    text("revision", "Pin to a specific revision for showing its status.").default("0"),
    text("timeout", "The length of time to wait before ending watch, zero means never.").default("0s"),
];
const CHANGE: &[Flag] = &[
    common::FILENAME,
    common::RECURSIVE,
    common::SELECTOR,
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::field_manager("kubectl-rollout"),
    common::DRY_RUN,
];
const UNDO: &[Flag] = &[
    common::FILENAME,
    common::RECURSIVE,
    common::SELECTOR,
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::DRY_RUN,
    text("to-revision", "The revision to rollback to. Default to 0 (last revision).").default("0"),
];
const HISTORY: &[Flag] = &[
    common::FILENAME,
    common::RECURSIVE,
    common::SELECTOR,
    common::OUTPUT,
    text("revision", "See the details, including podTemplate of the revision specified").default("0"),
];

pub const COMMANDS: &[Command] = &[
    online!(
        "status",
        &[],
        "(TYPE NAME | TYPE/NAME) [flags]",
        "Show the status of the rollout",
        STATUS,
        status
    ),
    online!(
        "history",
        &[],
        "(TYPE NAME | TYPE/NAME) [flags]",
        "View rollout history",
        HISTORY,
        history::history
    ),
    online!("undo", &[], "(TYPE NAME | TYPE/NAME) [flags]", "Undo a previous rollout", UNDO, history::undo),
    online!("restart", &[], "RESOURCE", "Restart a resource", CHANGE, restart),
    online!("pause", &[], "RESOURCE", "Mark the provided resource as paused", CHANGE, pause),
    online!("resume", &[], "RESOURCE", "Resume a paused resource", CHANGE, resume),
];

/// The objects a rollout command is about.
///
/// # Errors
/// None named, or not there.
pub async fn targets(cx: &Context, args: &Args, command: &str) -> Result<Vec<Info>> {
    if args.operands.is_empty() && args.list("filename").is_empty() {
        return Err(usage(command, "required resource not specified"));
    }
    let (infos, errors) = builder::fetch(cx, &args.operands, &Query::read(args)).await?;
    Error::all(errors)?;
    Ok(infos)
}

/// What the status line says, and whether the rollout is done.
fn line(kind: &str, object: &Document, revision: i64) -> Result<(String, bool)> {
    match kind {
        "Deployment" => deployment(&object.to_typed()?, object, revision),
        "DaemonSet" => daemon_set(&object.to_typed()?),
        "StatefulSet" => stateful_set(&object.to_typed()?),
        _ => Err(message(format!("no status viewer has been implemented for {kind}"))),
    }
}

fn deployment(d: &Deployment, object: &Document, revision: i64) -> Result<(String, bool)> {
    let name = go_quote(d.metadata.name.as_deref().unwrap_or_default());
    let status = d.status.clone().unwrap_or_default();
    if revision > 0 {
        let now: i64 = object
            .annotation(history::REVISION)
            .and_then(|r| r.parse().ok())
            .ok_or_else(|| message(format!("cannot get the revision of deployment {name}")))?;
        if now != revision {
            return Err(message(format!(
                "desired revision ({revision}) is different from the running revision ({now})"
            )));
        }
    }
    if d.metadata.generation.unwrap_or(0) > status.observed_generation.unwrap_or(0) {
        return Ok(("Waiting for deployment spec update to be observed...\n".into(), false));
    }
    let late = status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == "Progressing" && c.reason.as_deref() == Some("ProgressDeadlineExceeded"));
    if late {
        return Err(message(format!("deployment {name} exceeded its progress deadline")));
    }
    let wanted = d.spec.as_ref().and_then(|s| s.replicas);
    let (updated, all, available) = (
        status.updated_replicas.unwrap_or(0),
        status.replicas.unwrap_or(0),
        status.available_replicas.unwrap_or(0),
    );
    let wait = format!("Waiting for deployment {name} rollout to finish: ");
    Ok(match wanted {
        Some(wanted) if updated < wanted => {
            (format!("{wait}{updated} out of {wanted} new replicas have been updated...\n"), false)
        }
        _ if all > updated => {
            (format!("{wait}{} old replicas are pending termination...\n", all - updated), false)
        }
        _ if available < updated => {
            (format!("{wait}{available} of {updated} updated replicas are available...\n"), false)
        }
        _ => (format!("deployment {name} successfully rolled out\n"), true),
    })
}

fn daemon_set(d: &DaemonSet) -> Result<(String, bool)> {
    let name = go_quote(d.metadata.name.as_deref().unwrap_or_default());
    let strategy = d.spec.as_ref().and_then(|s| s.update_strategy.as_ref()).and_then(|s| s.type_.as_deref());
    if strategy != Some("RollingUpdate") {
        return Err(message("rollout status is only available for RollingUpdate strategy type"));
    }
    let status = d.status.clone().unwrap_or_default();
    if d.metadata.generation.unwrap_or(0) > status.observed_generation.unwrap_or(0) {
        return Ok(("Waiting for daemon set spec update to be observed...\n".into(), false));
    }
    let wanted = status.desired_number_scheduled;
    let (updated, available) =
        (status.updated_number_scheduled.unwrap_or(0), status.number_available.unwrap_or(0));
    let wait = format!("Waiting for daemon set {name} rollout to finish: ");
    Ok(if updated < wanted {
        (format!("{wait}{updated} out of {wanted} new pods have been updated...\n"), false)
    } else if available < wanted {
        (format!("{wait}{available} of {wanted} updated pods are available...\n"), false)
    } else {
        (format!("daemon set {name} successfully rolled out\n"), true)
    })
}

fn stateful_set(s: &StatefulSet) -> Result<(String, bool)> {
    let spec = s.spec.clone().unwrap_or_default();
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    if strategy.type_.as_deref() != Some("RollingUpdate") {
        return Err(message("rollout status is only available for RollingUpdate strategy type"));
    }
    let status = s.status.clone().unwrap_or_default();
    let observed = status.observed_generation.unwrap_or(0);
    if observed == 0 || s.metadata.generation.unwrap_or(0) > observed {
        return Ok(("Waiting for statefulset spec update to be observed...\n".into(), false));
    }
    let ready = status.ready_replicas.unwrap_or(0);
    if let Some(wanted) = spec.replicas.filter(|w| ready < *w) {
        return Ok((format!("Waiting for {} pods to be ready...\n", wanted - ready), false));
    }
    let updated = status.updated_replicas.unwrap_or(0);
    if let Some(rolling) = &strategy.rolling_update {
        if let (Some(wanted), Some(partition)) = (spec.replicas, rolling.partition)
            && updated < wanted - partition
        {
            let text = format!(
                "Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...\n",
                wanted - partition
            );
            return Ok((text, false));
        }
        return Ok((
            format!("partitioned roll out complete: {updated} new pods have been updated...\n"),
            true,
        ));
    }
    let (update, current) =
        (status.update_revision.unwrap_or_default(), status.current_revision.unwrap_or_default());
    Ok(if update != current {
        let text = format!(
            "waiting for statefulset rolling update to complete {updated} pods at revision {update}...\n"
        );
        (text, false)
    } else {
        let n = status.current_replicas.unwrap_or(0);
        (format!("statefulset rolling update complete {n} pods at revision {current}...\n"), true)
    })
}

async fn status(cx: Context, args: Args) -> Outcome {
    let revision = args.int("revision")?;
    if revision < 0 {
        return Err(message(format!("revision must be a positive integer: {revision}")));
    }
    let infos = targets(&cx, &args, "rollout status").await?;
    if infos.is_empty() {
        eprintln!("No resources found in {} namespace.", cx.namespace().await?);
    }
    let deadline = common::deadline(args.duration("timeout")?);
    for info in infos {
        let mut seen = false;
        let done = common::follow(&cx, &info, deadline, |now| {
            let Some(object) = now else {
                return Err(if seen {
                    message("object has been deleted")
                } else {
                    message(format!("{} not found", info.named()))
                });
            };
            seen = true;
            let (text, done) = line(&info.resource.kind, object, revision)?;
            out!("{text}");
            Ok((done || !args.on("watch")).then_some(()))
        })
        .await?;
        if done.is_none() {
            return Err(message("timed out waiting for the condition"));
        }
    }
    Ok(())
}

/// Changes each target and says what was done.
async fn change_each(
    cx: Context,
    args: Args,
    command: &str,
    done: &str,
    edit: impl Fn(&Info, &mut Document) -> Result<()>,
) -> Outcome {
    let dry = DryRun::read(&args)?;
    let said = Said::read(&args, dry)?;
    let mut errors = Vec::new();
    for info in targets(&cx, &args, command).await? {
        let mut after = info.object.clone();
        let outcome = async {
            edit(&info, &mut after)?;
            match change::send(&cx, &info, after, args.text("field-manager"), dry).await? {
                Some(now) => said.tell(&now, done),
                None => said.tell(&info, done),
            }
        }
        .await;
        errors.extend(outcome.err());
    }
    Error::all(errors)
}

async fn restart(cx: Context, args: Args) -> Outcome {
    let now = gantry_types::time::rfc3339(Timestamp::now());
    change_each(cx, args, "rollout restart", "restarted", |info, object| {
        if !matches!(info.resource.kind.as_str(), "Deployment" | "DaemonSet" | "StatefulSet") {
            return Err(message(format!("{} restarting is not supported", info.resource.full())));
        }
        if object.get_at(&["spec", "paused"]) == Some(true) {
            return Err(message(format!(
                "{} {} can't restart paused deployment (run rollout resume first)",
                info.resource.full(),
                go_quote(&info.name)
            )));
        }
        object.set_at(
            &["spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"],
            now.as_str(),
        );
        Ok(())
    })
    .await
}

fn set_paused(info: &Info, object: &mut Document, paused: bool) -> Result<()> {
    let (verb, word) = if paused { ("pausing", "already paused") } else { ("resuming", "not paused") };
    if info.resource.kind != "Deployment" {
        return Err(message(format!("{} {verb} is not supported", info.resource.full())));
    }
    if object.get_at(&["spec", "paused"]).unwrap_or(false) == paused {
        return Err(message(format!("{} {} is {word}", info.resource.full(), go_quote(&info.name))));
    }
    object.set_at(&["spec", "paused"], paused);
    Ok(())
}

async fn pause(cx: Context, args: Args) -> Outcome {
    change_each(cx, args, "rollout pause", "paused", |i, o| set_paused(i, o, true)).await
}

async fn resume(cx: Context, args: Args) -> Outcome {
    change_each(cx, args, "rollout resume", "resumed", |i, o| set_paused(i, o, false)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_line(kind: &str, spec: &str, status: &str, expected: &str, finished: bool) {
        let json = format!(
            r#"{{"metadata":{{"name":"d","generation":2}},"spec":{{"selector":{{}},"template":{{}},{spec}}},"status":{status}}}"#
        );
        let object = Document::from_json(json.as_bytes()).unwrap();
        let got = line(kind, &object, 0).unwrap_or_else(|e| (e.bare(), false));
        assert_eq!((got.0.trim_end(), got.1), (expected, finished), "{spec} {status}");
    }

    #[test]
    fn stateful_sets_roll_out_by_partition_or_revision() {
        let check = |spec: &str, status: &str, expected: &str, finished: bool| {
            let spec = format!(r#""serviceName":"s","replicas":3,"updateStrategy":{spec}"#);
            check_line("StatefulSet", &spec, status, expected, finished);
        };
        let whole = r#"{"type":"RollingUpdate"}"#;
        check(
            r#"{"type":"OnDelete"}"#,
            r#"{"replicas":0}"#,
            "rollout status is only available for RollingUpdate strategy type",
            false,
        );
        check(
            whole,
            r#"{"replicas":0,"observedGeneration":1}"#,
            "Waiting for statefulset spec update to be observed...",
            false,
        );
        check(
            whole,
            r#"{"replicas":3,"observedGeneration":2,"readyReplicas":1}"#,
            "Waiting for 2 pods to be ready...",
            false,
        );
        let ready = r#""replicas":3,"observedGeneration":2,"readyReplicas":3,"currentReplicas":1,"updatedReplicas":2,"currentRevision":"a""#;
        check(
            whole,
            &format!(r#"{{{ready},"updateRevision":"b"}}"#),
            "waiting for statefulset rolling update to complete 2 pods at revision b...",
            false,
        );
        check(
            whole,
            &format!(r#"{{{ready},"updateRevision":"a"}}"#),
            "statefulset rolling update complete 1 pods at revision a...",
            true,
        );
        let parted = |n: i32| format!(r#"{{"type":"RollingUpdate","rollingUpdate":{{"partition":{n}}}}}"#);
        check(
            &parted(0),
            &format!("{{{ready}}}"),
            "Waiting for partitioned roll out to finish: 2 out of 3 new pods have been updated...",
            false,
        );
        check(
            &parted(1),
            &format!("{{{ready}}}"),
            "partitioned roll out complete: 2 new pods have been updated...",
            true,
        );
    }

    #[test]
    fn daemon_sets_roll_out_node_by_node() {
        let check = |status: &str, expected: &str, finished: bool| {
            let status = format!(
                r#"{{"currentNumberScheduled":3,"desiredNumberScheduled":3,"numberMisscheduled":0,"numberReady":0,{status}}}"#
            );
            let spec = r#""updateStrategy":{"type":"RollingUpdate"}"#;
            check_line("DaemonSet", spec, &status, expected, finished);
        };
        let wait = "Waiting for daemon set \"d\" rollout to finish: ";
        check(r#""observedGeneration":1"#, "Waiting for daemon set spec update to be observed...", false);
        check(
            r#""observedGeneration":2,"updatedNumberScheduled":1"#,
            &format!("{wait}1 out of 3 new pods have been updated..."),
            false,
        );
        check(
            r#""observedGeneration":2,"updatedNumberScheduled":3,"numberAvailable":2"#,
            &format!("{wait}2 of 3 updated pods are available..."),
            false,
        );
        check(
            r#""observedGeneration":2,"updatedNumberScheduled":3,"numberAvailable":3"#,
            "daemon set \"d\" successfully rolled out",
            true,
        );
    }

    #[test]
    fn lines_follow_the_rollout() {
        let check = |status: &str, expected: &str, finished: bool| {
            let json = format!(
                r#"{{"metadata":{{"name":"d","generation":2}},"spec":{{"replicas":3,"selector":{{}},"template":{{}}}},"status":{status}}}"#
            );
            let object = Document::from_json(json.as_bytes()).unwrap();
            let got = line("Deployment", &object, 0).unwrap_or_else(|e| (e.bare(), false));
            assert_eq!((got.0.trim_end(), got.1), (expected, finished), "{status}");
        };
        check(r#"{"observedGeneration":1}"#, "Waiting for deployment spec update to be observed...", false);
        let wait = "Waiting for deployment \"d\" rollout to finish: ";
        check(
            r#"{"observedGeneration":2,"updatedReplicas":1}"#,
            &format!("{wait}1 out of 3 new replicas have been updated..."),
            false,
        );
        check(
            r#"{"observedGeneration":2,"updatedReplicas":3,"replicas":4}"#,
            &format!("{wait}1 old replicas are pending termination..."),
            false,
        );
        check(
            r#"{"observedGeneration":2,"updatedReplicas":3,"replicas":3,"availableReplicas":2}"#,
            &format!("{wait}2 of 3 updated replicas are available..."),
            false,
        );
        check(
            r#"{"observedGeneration":2,"updatedReplicas":3,"replicas":3,"availableReplicas":3}"#,
            "deployment \"d\" successfully rolled out",
            true,
        );
        check(
            r#"{"observedGeneration":2,"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded"}]}"#,
            "deployment \"d\" exceeded its progress deadline",
            false,
        );
    }
}
