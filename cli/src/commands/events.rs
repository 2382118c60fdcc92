//! `events`.

use super::{Outcome, common, no_operands};
use crate::context::Context;
use crate::error::{Error, message};
use crate::flags::{Args, Flag, list, on, text};
use crate::print::{Format, tabs};
use crate::resources::builder::{self, Query};
use gantry_types::Document;
use gantry_types::field::go_quote;

pub const FLAGS: &[Flag] = &[
    common::OUTPUT,
    common::ALL_NAMESPACES,
    on("watch", "After listing the requested events, watch for more events.").short('w'),
    on("no-headers", "When using the default output format, don't print headers."),
    text("for", "Filter events to only those pertaining to the specified resource."),
    list("types", "Output only events of given types."),
    text("chunk-size", "Return large lists in chunks rather than all at once. Pass 0 to disable.")
        .default("500"),
];

/// When an event was last seen.
pub fn last_seen(e: &Document) -> String {
    ["lastTimestamp", "eventTime", "firstTimestamp"]
        .iter()
        .find_map(|f| e.str_at(&[f]).filter(|t| !t.is_empty()))
        .or_else(|| e.str_at(&["metadata", "creationTimestamp"]))
        .unwrap_or_default()
        .to_owned()
}

/// How long ago, and how often over how long.
pub fn interval(e: &Document) -> String {
    let first = ["eventTime", "firstTimestamp"]
        .iter()
        .find_map(|f| e.str_at(&[f]).filter(|t| !t.is_empty()))
        .map_or_else(|| "<unknown>".to_owned(), common::age);
    if let Some(last) = e.str_at(&["series", "lastObservedTime"]) {
        let count: i64 = e.get_at(&["series", "count"]).unwrap_or_default();
        return format!("{} (x{count} over {first})", common::age(last));
    }
    let count: i64 = e.get_at(&["count"]).unwrap_or_default();
    if count > 1 {
        return format!(
            "{} (x{count} over {first})",
            common::age(e.str_at(&["lastTimestamp"]).unwrap_or_default())
        );
    }
    first
}

fn row(e: &Document, namespaced: bool) -> Vec<String> {
    let at = |path: &[&str]| e.str_at(path).unwrap_or_default().to_owned();
    let kind = at(&["involvedObject", "kind"]);
    let mut row = Vec::new();
    if namespaced {
        row.push(e.namespace().to_owned());
    }
    row.extend([
        interval(e),
        at(&["type"]),
        at(&["reason"]),
        format!("{kind}/{}", at(&["involvedObject", "name"])),
        at(&["message"]).trim().to_owned(),
    ]);
    row
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    no_operands(&args, "events")?;
    let types: Vec<String> = args.list("types").iter().map(|t| t.to_lowercase()).collect();
    if let Some(t) = types.iter().find(|t| !matches!(t.as_str(), "normal" | "warning")) {
        return Err(message(format!("valid --types are Normal or Warning, not {}", go_quote(t))));
    }
    let mut query = Query::read(&args);
    let wanted = args.text("for");
    if !wanted.is_empty() {
        let (kind, name) =
            wanted.split_once('/').ok_or_else(|| message("--for must be in resource/name form"))?;
        let resource = cx.resource(kind).await?;
        query.field_selector = format!("involvedObject.kind={},involvedObject.name={name}", resource.kind);
    }
    let events = cx.resource("events").await?;
    let ns = builder::scope(&cx, &events, &query).await?;
    let fits = |e: &Document| {
        types.is_empty() || types.contains(&e.str_at(&["type"]).unwrap_or_default().to_lowercase())
    };
    let mut all = builder::list(&cx, &events, ns.as_deref(), &query).await?;
    all.retain(|e| fits(e));
    all.sort_by_key(last_seen);
    if all.is_empty() && !args.on("watch") {
        match ns {
            Some(ns) => eprintln!("No events found in {ns} namespace."),
            None => eprintln!("No events found."),
        }
        return Ok(());
    }
    if !args.text("output").is_empty() {
        let listed = all.into_iter().map(|o| builder::listed(&events, o).object).collect();
        out!("{}", Format::parse(args.text("output"), false)?.objects(listed)?);
        return Ok(());
    }
    let mut rows = Vec::new();
    if !args.on("no-headers") {
        let mut head = vec!["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
        if query.all_namespaces {
            head.insert(0, "NAMESPACE");
        }
        rows.push(head.into_iter().map(str::to_owned).collect());
    }
    rows.extend(all.iter().map(|e| row(e, query.all_namespaces)));
    let mut widths = Vec::new();
    out!("{}", tabs::align(&rows, 6, 3, &mut widths));
    if !args.on("watch") {
        return Ok(());
    }
    let path = crate::rest::with_query(
        &events.path(ns.as_deref()),
        &[("watch", "true"), ("fieldSelector", &query.field_selector), ("resourceVersion", "")],
    );
    let known: std::collections::BTreeSet<String> =
        all.iter().map(|e| e.resource_version().to_owned()).collect();
    let mut lines = cx.rest().await?.lines(&path, crate::rest::JSON).await?;
    while let Some(line) = lines.next().await {
        let event: common::Event = serde_json::from_slice(&line)?;
        let object = Document::new(event.object);
        match event.kind.as_str() {
            "ERROR" => return Err(common::watch_error(&line)),
            "DELETED" => {}
            // A watch from now begins with what is there.
            _ if known.contains(object.resource_version()) || !fits(&object) => {}
            _ => out!("{}", tabs::align(&[row(&object, query.all_namespaces)], 6, 3, &mut widths)),
        }
    }
    Error::all(Vec::new())
}
