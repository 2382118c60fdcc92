//! `logs`.

use super::{Outcome, common, pods};
use crate::context::Context;
use crate::error::{Error, Result, message, usage};
use crate::flags::{Args, Flag, on, text};
use crate::rest::{self, escape, with_query};
use futures::StreamExt;
use http::Method;
use k8s_openapi::api::core::v1::Pod;

pub const FLAGS: &[Flag] = &[
    on("follow", "Specify if the logs should be streamed.").short('f'),
    on(
        "previous",
        "If true, print the logs for the previous instance of the container in a pod if it exists.",
    )
    .short('p'),
    text("container", "Print the logs of this container").short('c'),
    on("all-containers", "Get all containers' logs in the pod(s)."),
    on("all-pods", "Get logs from all pod(s). Sets prefix to true."),
    on("timestamps", "Include timestamps on each line in the log output"),
    on("prefix", "Prefix each log line with the log source (pod name and container name)"),
    on("ignore-errors", "If watching / following pod logs, allow for any errors that occur to be non-fatal"),
    on(
        "insecure-skip-tls-verify-backend",
        "Skip verifying the identity of the kubelet that logs are requested from.",
    ),
    text(
        "tail",
        "Lines of recent log file to display. Defaults to -1 with no selector, showing all log lines.",
    )
    .default("-1"),
    text("since", "Only return logs newer than a relative duration like 5s, 2m, or 3h.").default("0s"),
    text("since-time", "Only return logs after a specific date (RFC3339)."),
    text("limit-bytes", "Maximum bytes of logs to return. Defaults to no limit.").default("0"),
    text("max-log-requests", "Specify maximum number of concurrent logs to follow when using a selector.")
        .default("5"),
    text("pod-running-timeout", "Accepted for compatibility.").default("20s"),
    common::SELECTOR,
];

const USAGE: &str = "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command";

struct Source {
    path: String,
    prefix: String,
}

fn sources(
    pod: &Pod,
    args: &Args,
    inline: &str,
    query: &str,
    prefix: bool,
    quiet: bool,
) -> Result<Vec<Source>> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let ns = pod.metadata.namespace.as_deref().unwrap_or_default();
    let names = if args.on("all-containers") {
        let mut all = pods::containers(pod);
        // Init containers ran first.
        all.sort_by_key(|(_, what)| match *what {
            "init" => 0,
            "" => 1,
            _ => 2,
        });
        all.into_iter().map(|(n, _)| n).collect()
    } else {
        let asked = if inline.is_empty() { args.text("container") } else { inline };
        match pods::container(pod, asked, quiet) {
            Ok(c) => vec![c],
            Err(_) if !asked.is_empty() => {
                return Err(message(format!("container {asked} is not valid for pod {name}")));
            }
            Err(e) => return Err(e),
        }
    };
    Ok(names
        .into_iter()
        .map(|container| {
            let base = format!("/api/v1/namespaces/{}/pods/{}/log{query}", escape(ns), escape(name));
            Source {
                path: with_query(&base, &[("container", &container)]),
                prefix: if prefix { format!("[pod/{name}/{container}] ") } else { String::new() },
            }
        })
        .collect())
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    let selector = args.text("selector");
    let (target, inline) = match args.operands.as_slice() {
        [] if selector.is_empty() => return Err(usage("logs", USAGE)),
        [] => ("", ""),
        [_] if !selector.is_empty() => {
            return Err(usage("logs", "only a selector (-l) or a POD name is allowed"));
        }
        [one] => (one.as_str(), ""),
        [one, container] => (one.as_str(), container.as_str()),
        _ => return Err(usage("logs", USAGE)),
    };
    if !inline.is_empty() && args.given("container") {
        return Err(message("only one of -c or an inline [CONTAINER] arg is allowed"));
    }
    if args.on("all-containers") && args.given("container") {
        let c = args.text("container");
        return Err(message(format!(
            "--all-containers=true should not be specified with container name {c}"
        )));
    }
    let mut tail = args.int("tail")?;
    if tail < -1 {
        return Err(message("--tail must be greater than or equal to -1"));
    }
    if !selector.is_empty() && !args.given("tail") {
        tail = 10;
    }
    let since = args.duration("since")?;
    if since.is_some() && args.given("since-time") {
        return Err(message("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    let number = |n: i64, skip: i64| if n == skip { String::new() } else { n.to_string() };
    let yes = |name: &str| if args.on(name) { "true" } else { "" };
    let query = with_query(
        "",
        &[
            ("follow", yes("follow")),
            ("previous", yes("previous")),
            ("timestamps", yes("timestamps")),
            ("insecureSkipTLSVerifyBackend", yes("insecure-skip-tls-verify-backend")),
            ("tailLines", &number(tail, -1)),
            ("sinceSeconds", &since.map(|s| s.as_secs_f64().ceil().to_string()).unwrap_or_default()),
            ("sinceTime", args.text("since-time")),
            ("limitBytes", &number(args.int("limit-bytes")?, 0)),
        ],
    );
    let mut found = if target.is_empty() {
        let pods = pods::matching(&cx, &cx.namespace().await?, selector).await?;
        if pods.is_empty() {
            eprintln!("No resources found in {} namespace.", cx.namespace().await?);
        }
        pods
    } else {
        let place = cx.namespace().await?;
        pods::of(&cx, target).await.map_err(|e| match e {
            Error::Api(s) if s.code == 404 => {
                message(format!("error from server (NotFound): {} in namespace \"{place}\"", s.message))
            }
            other => other,
        })?
    };
    let all_pods = args.on("all-pods") || target.is_empty();
    if !all_pods && found.len() > 1 {
        let name = found.first().and_then(|p| p.metadata.name.clone()).unwrap_or_default();
        eprintln!("Found {} pods, using pod/{name}", found.len());
        found.truncate(1);
    }
    let prefix = args.on("prefix") || args.on("all-pods");
    let mut all = Vec::new();
    for pod in &found {
        all.extend(sources(pod, &args, inline, &query, prefix, target.is_empty())?);
    }
    if args.on("follow") && all.len() > 1 {
        let most = args.int("max-log-requests")?;
        if i64::try_from(all.len()).unwrap_or(i64::MAX) > most {
            return Err(message(format!(
                "you are attempting to follow {} log streams, but maximum allowed concurrency is {most}, use --max-log-requests to increase the limit",
                all.len()
            )));
        }
        let mut running: futures::stream::FuturesUnordered<_> =
            all.iter().map(|s| stream(&cx, s, args.on("ignore-errors"))).collect();
        while let Some(done) = running.next().await {
            done?;
        }
        return Ok(());
    }
    for source in &all {
        stream(&cx, source, args.on("ignore-errors")).await?;
    }
    Ok(())
}

async fn stream(cx: &Context, source: &Source, lenient: bool) -> Outcome {
    let answer = match cx.rest().await?.open(Method::GET, &source.path, "*/*", None).await {
        Ok(answer) => answer,
        Err(e @ Error::Transport { .. }) => return Err(e),
        Err(e) if lenient => {
            eprintln!("{}", e.text());
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    if source.prefix.is_empty() {
        return rest::pour(answer, crate::term::bytes).await;
    }
    let mut start = true;
    rest::pour(answer, |chunk| {
        let mut out = Vec::with_capacity(chunk.len() + source.prefix.len());
        for line in chunk.split_inclusive(|b| *b == b'\n') {
            if start {
                out.extend_from_slice(source.prefix.as_bytes());
            }
            out.extend_from_slice(line);
            start = line.ends_with(b"\n");
        }
        crate::term::bytes(&out);
    })
    .await
}
