//! What stands in for objects: tables, metadata only; and the forms of watches.

use crate::cx::Cx;
use crate::http::negotiate::{Accepted, Media, Transform};
use crate::http::{decode, watch};
use bytes::Bytes;
use gantry_registry::generic::{Endpoint, scale};
use gantry_registry::strategy::Cell;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::{Object, Status, StatusResult, scheme};
use gantry_watch_cache::ListPage;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Partial<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: &'a RawValue,
}

const META_V1: &str = "meta.k8s.io/v1";

fn partial_of(object: &Object) -> StatusResult<Partial<'_>> {
    let head: Head<'_> = serde_json::from_slice(object.body()).map_err(Status::internal)?;
    Ok(Partial { kind: "PartialObjectMetadata", api_version: META_V1, metadata: head.metadata })
}

/// An object's metadata as `PartialObjectMetadata`.
///
/// # Errors
/// Where the body is not an object with metadata.
pub fn partial(object: &Object) -> StatusResult<Vec<u8>> {
    serde_json::to_vec(&partial_of(object)?).map_err(Status::internal)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta<'a> {
    resource_version: &'a str,
    #[serde(rename = "continue", skip_serializing_if = "str::is_empty")]
    next: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_item_count: Option<u64>,
}

/// A page as `PartialObjectMetadataList`.
///
/// # Errors
/// As [`partial`].
pub fn partial_list(page: &ListPage) -> StatusResult<Bytes> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        kind: &'static str,
        api_version: &'static str,
        metadata: ListMeta<'a>,
        items: Vec<Partial<'a>>,
    }
    let revision = page.revision.to_string();
    let list = List {
        kind: "PartialObjectMetadataList",
        api_version: META_V1,
        metadata: ListMeta {
            resource_version: &revision,
            next: &page.continue_token,
            remaining_item_count: page.remaining,
        },
        items: page.items.iter().map(partial_of).collect::<StatusResult<_>>()?,
    };
    serde_json::to_vec(&list).map(Bytes::from).map_err(Status::internal)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Table<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: ListMeta<'a>,
    column_definitions: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Column {
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    format: &'static str,
    description: &'static str,
    priority: u8,
}

#[derive(Serialize)]
struct Row {
    cells: Vec<RowCell>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Box<RawValue>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RowCell {
    Text(String),
    Int(i64),
    Bool(bool),
    Null,
}

/// `includeObject` of a request for a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Include {
    None,
    Metadata,
    Object,
}

fn include(cx: &Cx) -> Include {
    match cx.query.text("includeObject") {
        "None" => Include::None,
        "Object" => Include::Object,
        _ => Include::Metadata,
    }
}

/// `whole` is the object in the version it is served in.
fn row(
    cells: Vec<Cell>,
    object: &Object,
    include: Include,
    whole: impl FnOnce() -> StatusResult<Bytes>,
) -> StatusResult<Row> {
    let raw = |json: Vec<u8>| {
        let text = String::from_utf8(json).map_err(Status::internal)?;
        RawValue::from_string(text).map_err(Status::internal)
    };
    let cells = cells.into_iter().map(|cell| match cell {
        Cell::Text(text) => RowCell::Text(text),
        Cell::Int(n) => RowCell::Int(n),
        Cell::Bool(b) => RowCell::Bool(b),
        Cell::Null => RowCell::Null,
    });
    Ok(Row {
        cells: cells.collect(),
        object: match include {
            Include::None => None,
            Include::Metadata => Some(raw(partial(object)?)?),
            Include::Object => Some(raw(whole()?.to_vec())?),
        },
    })
}

fn write_table(columns: &[scheme::Column], meta: ListMeta<'_>, rows: Vec<Row>) -> StatusResult<Vec<u8>> {
    let columns = columns.iter().map(|c| Column {
        name: c.name,
        kind: c.kind,
        format: c.format,
        description: "",
        priority: c.priority,
    });
    let table = Table {
        kind: "Table",
        api_version: META_V1,
        metadata: meta,
        column_definitions: columns.collect(),
        rows,
    };
    serde_json::to_vec(&table).map_err(Status::internal)
}

fn table_json(
    endpoint: &Endpoint,
    objects: &[Object],
    meta: ListMeta<'_>,
    include: Include,
    now: Timestamp,
) -> StatusResult<Vec<u8>> {
    let rows = objects.iter().map(|o| {
        let cells = endpoint.strategy.row(o.body(), now);
        row(cells, o, include, || endpoint.to_served(o))
    });
    write_table(endpoint.kind.columns, meta, rows.collect::<StatusResult<_>>()?)
}

/// Objects as a `Table`.
///
/// # Errors
/// As [`partial`].
pub fn table(
    endpoint: &Endpoint,
    objects: &[Object],
    revision: &str,
    next: &str,
    remaining: Option<u64>,
    cx: &Cx,
) -> StatusResult<Bytes> {
    let meta = ListMeta { resource_version: revision, next, remaining_item_count: remaining };
    table_json(endpoint, objects, meta, include(cx), cx.now).map(Bytes::from)
}

/// The scale of a workload, or what stands in for it.
///
/// # Errors
/// As [`partial`].
pub fn scale(object: &Object, transform: Transform, cx: &Cx) -> StatusResult<Bytes> {
    match transform {
        Transform::None => Ok(object.body().clone()),
        Transform::PartialObjectMetadata => partial(object).map(Bytes::from),
        Transform::Table => {
            let revision = object.revision().to_string();
            let meta = ListMeta { resource_version: &revision, next: "", remaining_item_count: None };
            let rows =
                vec![row(scale::row(object, cx.now)?, object, include(cx), || Ok(object.body().clone()))?];
            write_table(&scale::COLUMNS, meta, rows).map(Bytes::from)
        }
    }
}

/// How a watch of an endpoint is written in the accepted form. Forms that come out the same share an id, and
/// with it their frames.
pub fn watch_form(endpoint: &Arc<Endpoint>, accepted: Accepted, cx: &Cx) -> watch::Form {
    let protobuf = accepted.media == Media::Protobuf;
    let reframe: Option<Arc<dyn Fn(&str, &[u8]) -> StatusResult<Bytes> + Send + Sync>> =
        if protobuf { Some(Arc::new(decode::protobuf_event)) } else { None };
    let include = include(cx);
    let id = u32::from(!endpoint.serves_stored())
        | u32::from(protobuf) << 1
        | match accepted.transform {
            Transform::None => 0,
            Transform::PartialObjectMetadata => 1 << 2,
            Transform::Table => (2 + include as u32) << 2,
        };
    let of = endpoint.clone();
    let encoder = match accepted.transform {
        Transform::None if endpoint.serves_stored() && !protobuf => watch::json_encoder(id),
        Transform::None => {
            watch::mapped_encoder(id, move |o| of.to_served(o).map(|b| b.to_vec()), reframe.clone())
        }
        Transform::PartialObjectMetadata => watch::mapped_encoder(id, partial, reframe.clone()),
        Transform::Table => {
            let map = move |object: &Object| {
                let revision = object.revision().to_string();
                let meta = ListMeta { resource_version: &revision, next: "", remaining_item_count: None };
                table_json(&of, std::slice::from_ref(object), meta, include, Timestamp::now())
            };
            watch::mapped_encoder(id, map, reframe.clone())
        }
    };
    let (api_version, kind) = match accepted.transform {
        Transform::None => (endpoint.kind.api_version().into_owned(), endpoint.kind.kind),
        Transform::PartialObjectMetadata => (META_V1.to_owned(), "PartialObjectMetadata"),
        Transform::Table => (META_V1.to_owned(), "Table"),
    };
    watch::Form { encoder, api_version, kind, reframe }
}
