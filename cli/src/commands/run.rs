//! `run`: one pod from flags, attached to where asked.

use super::create::generated;
use super::{Outcome, common, delete, exec};
use crate::context::Context;
use crate::error::{Error, Result, message, usage};
use crate::flags::{Args, Flag, array, on, text};
use crate::print::DryRun;
use crate::resources::Info;
use gantry_machinery::patch::strategic;
use gantry_machinery::schema;
use gantry_types::Document;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

pub const FLAGS: &[Flag] = &[
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::DRY_RUN,
    common::VALIDATE,
    common::SAVE_CONFIG,
    common::field_manager("kubectl-run"),
    text("image", "The image for the container to run."),
    text("image-pull-policy", "The image pull policy for the container."),
    text("restart", "The restart policy for this Pod.  Legal values [Always, OnFailure, Never].")
        .default("Always"),
    text("port", "The port that this container exposes."),
    text("labels", "Comma separated labels to apply to the pod.").short('l'),
    text("overrides", "An inline JSON override for the generated object."),
    text("override-type", "The method used to override the generated object: json, merge, or strategic.")
        .default("merge"),
    array("env", "Environment variables to set in the container."),
    array("annotations", "Annotations to apply to the pod."),
    on(
        "command",
        "If true and extra arguments are present, use them as the 'command' field in the container.",
    ),
    on("attach", "If true, wait for the Pod to start running, and then attach to the Pod."),
    on("stdin", "Keep stdin open on the container in the pod, even if nothing is attached.").short('i'),
    on("tty", "Allocate a TTY for the container in the pod.").short('t'),
    on("rm", "If true, delete the pod after it exits."),
    on("quiet", "If true, suppress prompt messages.").short('q'),
    on("privileged", "If true, run the container in privileged mode."),
    on("leave-stdin-open", "Accepted for compatibility."),
    text("pod-running-timeout", "The length of time to wait until at least one pod is running")
        .default("1m0s"),
];

fn pod(args: &Args, name: &str, command: &[String]) -> Result<Document> {
    let image = args.text("image");
    if image.is_empty() {
        return Err(message("--image is required"));
    }
    let restart = args.text("restart");
    if !matches!(restart, "Always" | "OnFailure" | "Never") {
        return Err(usage("run", format!("invalid restart policy: {restart}")));
    }
    let mut container = Document::from_typed(&json!({"name": name, "image": image, "resources": {}}))?;
    let set = |d: &mut Document, field: &str, on: bool| {
        if on {
            d.set_at(&[field], true);
        }
    };
    set(&mut container, "stdin", args.on("stdin"));
    set(&mut container, "stdinOnce", args.on("stdin") && !args.on("leave-stdin-open"));
    set(&mut container, "tty", args.on("tty"));
    if !command.is_empty() {
        container.set_at(&[if args.on("command") { "command" } else { "args" }], command);
    }
    if !args.text("port").is_empty() {
        container.set_at(&["ports"], [json!({"containerPort": args.int("port")?})]);
    }
    if !args.text("image-pull-policy").is_empty() {
        container.set_at(&["imagePullPolicy"], args.text("image-pull-policy"));
    }
    if args.on("privileged") {
        container.set_at(&["securityContext", "privileged"], true);
    }
    let mut variables = Vec::new();
    for pair in args.list("env") {
        let (key, value) = pair.split_once('=').ok_or_else(|| message(format!("invalid env: {pair}")))?;
        variables.push(json!({"name": key, "value": value}));
    }
    if !variables.is_empty() {
        container.set_at(&["env"], variables);
    }
    let mut d = Document::from_typed(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [container.map()], "dnsPolicy": "ClusterFirst", "restartPolicy": restart}}))?;
    if args.given("labels") {
        for pair in args.text("labels").split(',').filter(|p| !p.is_empty()) {
            let (key, value) = common::key_value(pair)?;
            d.set_at(&["metadata", "labels", &key], value);
        }
    } else {
        d.set_at(&["metadata", "labels", "run"], name);
    }
    for pair in args.list("annotations") {
        let (key, value) = common::key_value(&pair)?;
        d.set_at(&["metadata", "annotations", &key], value);
    }
    overridden(args, d)
}

fn overridden(args: &Args, mut d: Document) -> Result<Document> {
    let text = args.text("overrides");
    if text.is_empty() {
        return Ok(d);
    }
    let (json, _) =
        gantry_machinery::validate::yaml_to_json(text.as_bytes()).map_err(|e| message(e.to_string()))?;
    match args.text("override-type") {
        "strategic" => {
            let patch = strategic::parse(&json)?;
            let schema =
                schema::builtin().kind("", "v1", "Pod").ok_or_else(|| message("no schema of Pod"))?;
            strategic::apply(d, patch, schema).map_err(|e| message(e.to_string()))
        }
        "json" => {
            let ops = gantry_machinery::patch::json::parse(&json, false)?;
            gantry_machinery::patch::json::apply(&d, &ops).map_err(|e| message(e.to_string()))
        }
        _ => {
            gantry_machinery::patch::merge::apply(
                &mut d,
                gantry_machinery::patch::merge::parse(&json, false)?,
            );
            Ok(d)
        }
    }
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    let Some((name, rest)) = args.operands.split_first() else {
        return Err(usage("run", "NAME is required for run"));
    };
    let attach = args.on("attach") || args.on("stdin") || args.on("tty");
    if args.on("tty") && !args.on("stdin") {
        return Err(usage("run", "-i/--stdin is required for containers with -t/--tty=true"));
    }
    let dry = DryRun::read(&args)?;
    if args.on("rm") && !attach {
        return Err(usage("run", "--rm should only be used for attached containers"));
    }
    if attach && dry != DryRun::None {
        return Err(usage(
            "run",
            "--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)",
        ));
    }
    let d = pod(&args, name, rest)?;
    if !attach {
        return generated(&cx, &args, d.map()).await;
    }
    let resource = cx.resource("pods").await?;
    let ns = cx.namespace().await?;
    let path =
        crate::rest::with_query(&resource.path(Some(&ns)), &[("fieldManager", args.text("field-manager"))]);
    let made = cx.rest().await?.send(http::Method::POST, &path, &d).await?;
    let info =
        Info { resource, namespace: Some(ns), name: name.clone(), object: made, source: String::new() };
    let outcome = attached(&cx, &args, &info).await;
    if args.on("rm") {
        delete::now(&cx, &info).await?;
        if !args.on("quiet") {
            outln!("pod \"{name}\" deleted from {} namespace", info.namespace.as_deref().unwrap_or_default());
        }
    }
    outcome
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// Attaches once the pod runs, or prints its log where it ended before; its exit code is ours.
async fn attached(cx: &Context, args: &Args, info: &Info) -> Outcome {
    let deadline = common::deadline(args.duration("pod-running-timeout")?);
    let started = common::follow(cx, info, deadline, |now| {
        let Some(now) = now else { return Err(message("pod was deleted")) };
        let pod: Pod = now.to_typed()?;
        Ok((!matches!(phase(&pod), "" | "Pending")).then_some(pod))
    })
    .await?
    .ok_or_else(|| message("timed out waiting for the condition"))?;
    let container = info.name.as_str();
    if phase(&started) == "Running" {
        let streams = exec::Streams {
            stdin: args.on("stdin"),
            tty: args.on("tty") && crate::term::stdin_is_terminal(),
        };
        exec::attach_to(cx, &started, container, streams, args.on("quiet")).await?;
    } else {
        let path = crate::rest::with_query(&format!("{}/log", info.path()), &[("container", container)]);
        let answer = cx.rest().await?.open(http::Method::GET, &path, "*/*", None).await?;
        crate::rest::pour(answer, crate::term::bytes).await?;
    }
    if args.text("restart") != "Never" && !args.on("rm") {
        return Ok(());
    }
    let code = common::follow(cx, info, None, |now| {
        let Some(now) = now else { return Ok(Some(0)) };
        let pod: Pod = now.to_typed()?;
        let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
        let ended =
            statuses.and_then(|s| s.first()?.state.as_ref()?.terminated.as_ref().map(|t| t.exit_code));
        Ok(match phase(&pod) {
            "Succeeded" => Some(0),
            "Failed" => Some(ended.unwrap_or(1)),
            // A pod that restarts its container never ends by itself.
            _ if args.text("restart") != "Never" => Some(0),
            _ => None,
        })
    })
    .await?
    .unwrap_or(0);
    match code {
        0 => Ok(()),
        code => Err(Error::Exit(
            code,
            format!("pod {}/{} terminated (Error)", info.namespace.as_deref().unwrap_or_default(), info.name),
        )),
    }
}
