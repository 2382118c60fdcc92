//! `get`: tables from the server, or objects as `-o` says; watches.

use super::{Outcome, common};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, list, on, text};
use crate::print::table::{Options, Printer, Table};
use crate::print::{self, Format, sort::SortBy};
use crate::resources::builder::{self, Query};
use crate::resources::{Info, Resource};
use crate::rest;
use gantry_types::Document;
use http::Method;
use serde::Deserialize;
use std::rc::Rc;

pub const FLAGS: &[Flag] = &[
    common::OUTPUT,
    on("watch", "After listing/getting the requested object, watch for changes.").short('w'),
    on("watch-only", "Watch for changes to the requested object(s), without listing/getting first."),
    on("output-watch-events", "Output watch event objects when --watch or --watch-only is used."),
    on("no-headers", "When using the default or custom-column output format, don't print headers."),
    on("show-labels", "When printing, show all labels as the last column."),
    on("show-kind", "If present, list the resource type for the requested object(s)."),
    list("label-columns", "Labels to be presented as columns; names are case-sensitive.").short('L'),
    text("sort-by", "If non-empty, sort list types using this field specification."),
    text("field-selector", "Selector (field query) to filter on, supports '=', '==', and '!='."),
    text("chunk-size", "Return large lists in chunks rather than all at once. Pass 0 to disable.")
        .default("500"),
    text("raw", "Raw URI to request from the server."),
    text("subresource", "If specified, gets the subresource of the requested object."),
    on("server-print", "If true, have the server return the appropriate table output.").default("true"),
    on(
        "show-managed-fields",
        "If true, keep the managedFields when printing objects in JSON or YAML format.",
    ),
    on("ignore-not-found", "If the requested object does not exist the command will return exit code 0."),
    common::SELECTOR,
    common::ALL_NAMESPACES,
    common::FILENAME,
    common::RECURSIVE,
];

/// One thing to fetch: an object or a collection.
struct Part {
    resource: Rc<Resource>,
    path: String,
    name: String,
}

async fn parts(cx: &Context, args: &Args, query: &Query) -> Result<(Vec<Part>, Vec<Error>)> {
    let mut out = Vec::new();
    let named = |info: Info| {
        let mut path = info.path();
        if !query.subresource.is_empty() {
            path = format!("{path}/{}", query.subresource);
        }
        Part { resource: info.resource, path, name: info.name }
    };
    if !query.files.is_empty() {
        if !args.operands.is_empty() {
            return Err(message(
                "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
            ));
        }
        let (infos, errors) = builder::from_files(cx, query).await?;
        out.extend(infos.into_iter().map(named));
        return Ok((out, errors));
    }
    let targets = builder::targets(&args.operands)?;
    if targets.types.is_empty() && targets.named.is_empty() {
        return Err(Error::Plain("You must specify the type of resource to get. Use \"kctl api-resources\" for a complete list of supported resources.\n\nerror: Required resource not specified.\nUse \"kctl explain <resource>\" for a detailed description of that resource (e.g. kctl explain pods).\nSee 'kctl get -h' for help and examples".into()));
    }
    if !targets.named.is_empty() && !query.selector.is_empty() {
        return Err(message("name cannot be provided when a selector is specified"));
    }
    out.extend(builder::resolve_named(cx, &targets, query).await?.into_iter().map(named));
    for resource in builder::resolve_types(cx, &targets).await? {
        let ns = builder::scope(cx, &resource, query).await?;
        let path = resource.path(ns.as_deref());
        out.push(Part { resource, path, name: String::new() });
    }
    Ok((out, Vec::new()))
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    if args.given("raw") {
        let answer = cx.rest().await?.open(Method::GET, args.text("raw"), "*/*", None).await?;
        return rest::pour(answer, crate::term::bytes).await;
    }
    let query = Query::read(&args);
    let format = Format::parse(args.text("output"), args.on("no-headers"))?;
    let (parts, errors) = parts(&cx, &args, &query).await?;
    if args.on("watch") || args.on("watch-only") {
        return watch(&cx, &args, &query, &format, parts).await;
    }
    match format {
        Format::Table { wide } => tables(&cx, &args, &query, wide, parts, errors).await,
        format => objects(&cx, &args, &query, &format, parts, errors).await,
    }
}

fn options(args: &Args, query: &Query, resource: &Resource, wide: bool, with_kind: bool) -> Options {
    Options {
        wide,
        no_headers: args.on("no-headers"),
        with_namespace: query.all_namespaces && resource.namespaced,
        with_kind: with_kind || args.on("show-kind"),
        show_labels: args.on("show-labels"),
        label_columns: args.list("label-columns"),
        events: args.on("output-watch-events"),
    }
}

/// A table of all pages.
async fn fetch_table(cx: &Context, part: &Part, query: &Query, include: &str) -> Result<Table> {
    let single = !part.name.is_empty();
    let limit = if single || query.chunk <= 0 || !include.is_empty() {
        String::new()
    } else {
        query.chunk.to_string()
    };
    let mut all = Table::default();
    loop {
        let path = if single {
            rest::with_query(&part.path, &[("includeObject", include)])
        } else {
            rest::with_query(
                &part.path,
                &[
                    ("labelSelector", &query.selector),
                    ("fieldSelector", &query.field_selector),
                    ("limit", &limit),
                    ("continue", &all.metadata.token),
                    ("includeObject", include),
                ],
            )
        };
        let body = cx.rest().await?.call(Method::GET, &path, rest::TABLE, None).await?;
        let mut page: Table = serde_json::from_slice(&body)?;
        if page.kind != "Table" {
            page = plain_table(&body)?;
        }
        if all.column_definitions.is_empty() {
            all.column_definitions = page.column_definitions;
        }
        all.rows.extend(page.rows);
        all.metadata = page.metadata;
        if all.metadata.token.is_empty() {
            return Ok(all);
        }
    }
}

/// Name and age, for servers that print no table (extension servers may not).
fn plain_table(body: &[u8]) -> Result<Table> {
    let root = Document::from_json(body)?;
    let items: Vec<_> = match root.get_at::<Vec<gantry_machinery::patch::strategic::Object>>(&["items"]) {
        Some(items) => items.into_iter().map(Document::new).collect(),
        None => vec![root.clone()],
    };
    let mut table = Table::default();
    for (name, format) in [("Name", "name"), ("Age", "")] {
        table.column_definitions.push(print::table::Column {
            name: name.into(),
            format: format.into(),
            priority: 0,
        });
    }
    for item in items {
        let age = common::age_of(&item);
        let cells = vec![item.name().into(), age.into()];
        table.rows.push(print::table::Row { cells, object: item.into_value() });
    }
    table.metadata.resource_version = root.meta_str("resourceVersion").to_owned();
    Ok(table)
}

async fn tables(
    cx: &Context,
    args: &Args,
    query: &Query,
    wide: bool,
    parts: Vec<Part>,
    mut errors: Vec<Error>,
) -> Outcome {
    let sort = args.given("sort-by").then(|| SortBy::parse(args.text("sort-by"))).transpose()?;
    let include = if sort.is_some() { "Object" } else { "" };
    let mut fetched: Vec<(Rc<Resource>, Table)> = Vec::new();
    for part in &parts {
        match fetch_table(cx, part, query, include).await {
            Ok(table) => match fetched.last_mut() {
                Some((r, all)) if *r == part.resource && !part.name.is_empty() => all.rows.extend(table.rows),
                _ => fetched.push((part.resource.clone(), table)),
            },
            Err(e) if e.is_not_found() && query.ignore_not_found => {}
            Err(e @ Error::Transport { .. }) => return Err(e),
            Err(e) => errors.push(e),
        }
    }
    let kinds: std::collections::BTreeSet<_> = fetched.iter().map(|(r, _)| (&r.group, &r.kind)).collect();
    let with_kind = kinds.len() > 1;
    fetched.retain(|(_, t)| !t.rows.is_empty());
    let mut text = String::new();
    for (resource, mut table) in fetched.iter().map(|(r, t)| (r.clone(), t.clone())) {
        if let Some(sort) = &sort {
            sort.sort(&mut table.rows, |row| &row.object);
        }
        if !text.is_empty() && !args.on("no-headers") {
            text.push('\n');
        }
        let options = options(args, query, &resource, wide, with_kind);
        text.push_str(&Printer::default().render(&table, &resource, &options, None));
    }
    out!("{text}");
    if text.is_empty() && !query.ignore_not_found && errors.is_empty() {
        let namespaced = !query.all_namespaces && parts.iter().all(|p| p.resource.namespaced);
        match namespaced {
            true => eprintln!("No resources found in {} namespace.", cx.namespace().await?),
            false => eprintln!("No resources found"),
        }
    }
    Error::all(errors)
}

async fn objects(
    cx: &Context,
    args: &Args,
    query: &Query,
    format: &Format,
    parts: Vec<Part>,
    mut errors: Vec<Error>,
) -> Outcome {
    let single =
        parts.len() == 1 && parts.iter().all(|p| !p.name.is_empty()) && args.list("filename").is_empty()
            || parts.len() == 1 && parts.iter().all(|p| !p.name.is_empty());
    let mut found: Vec<Document> = Vec::new();
    for part in parts {
        let got = if part.name.is_empty() {
            let ns = builder::scope(cx, &part.resource, query).await?;
            builder::list(cx, &part.resource, ns.as_deref(), query).await.map(|list| {
                list.into_iter().map(|o| builder::listed(&part.resource, o).object).collect::<Vec<_>>()
            })
        } else {
            cx.rest().await?.get(&part.path).await.map(|o| vec![o])
        };
        match got {
            Ok(objects) => found.extend(objects),
            Err(e) if e.is_not_found() && query.ignore_not_found => {}
            Err(e @ Error::Transport { .. }) => return Err(e),
            Err(e) => errors.push(e),
        }
    }
    if !args.on("show-managed-fields") {
        found.iter_mut().for_each(print::hide_managed_fields);
    }
    if args.given("sort-by") {
        let sort = SortBy::parse(args.text("sort-by"))?;
        let mut nodes: Vec<_> = found.into_iter().map(Document::into_value).collect();
        sort.sort(&mut nodes, |n| n);
        // Every node was an object a moment ago.
        found = nodes.iter().filter_map(|n| n.as_object().cloned()).map(Document::new).collect();
    }
    if !(found.is_empty() && (single || !errors.is_empty())) {
        let text = match found.as_slice() {
            [one] if single => format.object(one)?,
            _ => format.objects(found)?,
        };
        out!("{text}");
    }
    Error::all(errors)
}

#[derive(Deserialize)]
struct Event<T> {
    #[serde(rename = "type")]
    kind: String,
    object: T,
}

async fn watch(cx: &Context, args: &Args, query: &Query, format: &Format, parts: Vec<Part>) -> Outcome {
    let [part] = parts.as_slice() else {
        return Err(message("you may only specify a single resource type"));
    };
    let collection = match part.name.is_empty() {
        true => part.path.clone(),
        false => part.path.rsplit_once('/').map(|(c, _)| c.to_owned()).unwrap_or_default(),
    };
    let field = match part.name.is_empty() {
        true => query.field_selector.clone(),
        false => format!("metadata.name={}", part.name),
    };
    let selectors = [("labelSelector", query.selector.as_str()), ("fieldSelector", field.as_str())];
    let all = Part { resource: part.resource.clone(), path: collection.clone(), name: String::new() };
    let listing = Query { field_selector: field.clone(), chunk: 0, ..query.clone() };
    let mut printer = Printer::default();
    let table = matches!(format, Format::Table { .. });
    let options = options(args, query, &part.resource, matches!(format, Format::Table { wide: true }), false);
    let show = |object: Document, event: &str| -> Result<()> {
        let mut object = object;
        if !args.on("show-managed-fields") {
            print::hide_managed_fields(&mut object);
        }
        if options.events {
            let mut wrapped = Document::default();
            wrapped.set_at(&["type"], event);
            wrapped.set_at(&["object"], object.map());
            object = wrapped;
        }
        if matches!(format, Format::Yaml) {
            out!("---\n");
        }
        out!("{}", format.object(&object)?);
        Ok(())
    };
    let mut revision = {
        let path = rest::with_query(&part.path, &[]);
        if !part.name.is_empty() {
            // A single object has to be there before it can be watched.
            cx.rest().await?.get(&path).await?;
        }
        if table {
            let first = fetch_table(cx, &all, &listing, "").await?;
            if !args.on("watch-only") {
                out!("{}", printer.render(&first, &part.resource, &options, None));
            }
            first.metadata.resource_version
        } else {
            let path = rest::with_query(&collection, &selectors);
            let list = cx.rest().await?.get(&path).await?;
            if !args.on("watch-only") {
                let items: Vec<gantry_machinery::patch::strategic::Object> =
                    list.get_at(&["items"]).unwrap_or_default();
                for item in items {
                    show(builder::listed(&part.resource, Document::new(item)).object, "ADDED")?;
                }
            }
            list.resource_version().to_owned()
        }
    };
    loop {
        let mut pairs = selectors.to_vec();
        pairs.extend([("watch", "true"), ("resourceVersion", revision.as_str())]);
        let path = rest::with_query(&collection, &pairs);
        let mut lines = cx.rest().await?.lines(&path, if table { rest::TABLE } else { rest::JSON }).await?;
        let mut seen = None;
        while let Some(line) = lines.next().await {
            if table {
                let event: Event<Table> = serde_json::from_slice(&line)?;
                if event.kind == "ERROR" {
                    return Err(common::watch_error(&line));
                }
                if let Some(v) =
                    event.object.rows.first().and_then(|r| r.object.pointer("/metadata/resourceVersion"))
                {
                    seen = v.as_str().map(str::to_owned);
                }
                out!("{}", printer.render(&event.object, &part.resource, &options, Some(&event.kind)));
            } else {
                let event: Event<gantry_machinery::patch::strategic::Object> = serde_json::from_slice(&line)?;
                if event.kind == "ERROR" {
                    return Err(common::watch_error(&line));
                }
                let object = Document::new(event.object);
                seen = Some(object.resource_version().to_owned());
                show(object, &event.kind)?;
            }
        }
        // The server ends watches after a while; go on from the last thing seen.
        match seen {
            Some(v) => revision = v,
            None => return Ok(()),
        }
    }
}
