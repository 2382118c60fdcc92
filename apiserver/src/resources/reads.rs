//! Get, list and watch: copies of cached bytes unless another form is asked for.

use super::namespace_of;
use crate::assemble::Server;
use crate::cx::Cx;
use crate::http::negotiate::{Accepted, Media, Transform};
use crate::http::respond::{self, Answer};
use crate::http::{list, watch};
use crate::{forms, select};
use bytes::Bytes;
use gantry_registry::generic::Endpoint;
use gantry_types::field::{Error, ErrorList, Path, go_quote};
use gantry_types::{GroupKind, Object, Status, StatusResult};
use gantry_watch_cache::{ListOptions, ListPage, VersionMatch, WatchOptions};
use http::{HeaderValue, header};
use std::sync::Arc;
use std::time::Duration;

/// Lists of at least this many bytes are streamed.
const STREAM_FROM: usize = 64 << 10;
const GZIP_FROM: usize = 128 << 10;

/// The JSON of an object in the endpoint's version, or what stands in for it.
pub(super) fn served(
    endpoint: &Endpoint,
    object: &Object,
    transform: Transform,
    cx: &Cx,
) -> StatusResult<Bytes> {
    match transform {
        Transform::None => endpoint.to_served(object),
        Transform::PartialObjectMetadata => forms::partial(object).map(Bytes::from),
        Transform::Table => {
            let revision = object.revision().to_string();
            forms::table(endpoint, std::slice::from_ref(object), &revision, "", None, cx)
        }
    }
}

/// A version to read at must be a number; upstream takes another for its own fault.
fn check_version(version: &str) -> StatusResult<()> {
    if version.is_empty() || version.parse::<u64>().is_ok() {
        return Ok(());
    }
    let quoted = go_quote(version);
    let why = format!(
        "resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: invalid syntax"
    );
    Err(Status::failure(500, "", why))
}

pub(super) async fn get(cx: &mut Cx, endpoint: &Arc<Endpoint>) -> StatusResult<Answer> {
    let accepted = cx.accepted(true)?;
    let namespace = namespace_of(endpoint.kind, &cx.info);
    let version = cx.query.text("resourceVersion");
    check_version(version)?;
    let object = endpoint
        .cache
        .get(namespace, &cx.info.name, version)
        .await?
        .ok_or_else(|| Status::not_found(&endpoint.kind.group_resource(), &cx.info.name))?;
    let json = served(endpoint, &object, accepted.transform, cx)?;
    respond::object(200, &json, accepted, cx.accepts_gzip())
}

fn number(cx: &Cx, key: &str) -> StatusResult<Option<i64>> {
    match cx.query.text(key) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", go_quote(text)))
        }),
    }
}

/// The options of a list, checked as upstream checks them.
pub(super) fn list_options(cx: &Cx, endpoint: &Endpoint) -> StatusResult<ListOptions> {
    let q = &cx.query;
    let filter = select::filter(cx, endpoint)?;
    let limit = number(cx, "limit")?.unwrap_or(0);
    let (version, matching, token) =
        (q.text("resourceVersion"), q.text("resourceVersionMatch"), q.text("continue"));
    let mut errors = ErrorList::new();
    let path = Path::new("resourceVersionMatch");
    if matching.is_empty() {
        if q.get("sendInitialEvents").is_some_and(|v| !v.is_empty()) {
            let why = "sendInitialEvents is forbidden for list";
            errors.push(Error::forbidden(&Path::new("sendInitialEvents"), why));
        }
    } else {
        if version.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(Error::forbidden(&path, why));
        }
        if !token.is_empty() {
            errors
                .push(Error::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errors.push(Error::not_supported(&path, matching, &["Exact", "NotOlderThan", ""]));
        }
        if matching == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(Error::forbidden(&path, why));
        }
    }
    if !errors.is_empty() {
        return Err(invalid_list_options(errors));
    }
    Ok(ListOptions {
        filter,
        limit: usize::try_from(limit).unwrap_or(0),
        continue_token: token.to_owned(),
        resource_version: version.to_owned(),
        version_match: match matching {
            "Exact" => Some(VersionMatch::Exact),
            "NotOlderThan" => Some(VersionMatch::NotOlderThan),
            _ => None,
        },
    })
}

fn invalid_list_options(errors: ErrorList) -> Status {
    let gk = GroupKind { group: "meta.k8s.io".into(), kind: "ListOptions".into() };
    Status::invalid(&gk, "", errors)
}

fn list_head(endpoint: &Endpoint, page: &ListPage) -> String {
    let kind = endpoint.kind;
    list::head(&kind.api_version(), &kind.list_kind(), page.revision, &page.continue_token, page.remaining)
}

/// A page as one JSON list.
pub(super) fn whole_list(endpoint: &Endpoint, page: &ListPage) -> Bytes {
    list::whole(list_head(endpoint, page), &page.items, endpoint.list_item())
}

/// Where a collection is refused for its form, the forms it can be watched in are named as well.
fn name_streams(mut status: Status) -> Status {
    let body = status.body_mut();
    if body.message.starts_with("406") {
        body.message
            .push_str(", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch");
    }
    status
}

pub(super) async fn list(cx: &mut Cx, endpoint: &Arc<Endpoint>) -> StatusResult<Answer> {
    let accepted = cx.accepted(true).map_err(name_streams)?;
    let options = list_options(cx, endpoint)?;
    let page = endpoint.cache.list(&options).await?;
    let gzip = cx.accepts_gzip();
    match accepted.transform {
        Transform::Table => {
            let revision = page.revision.to_string();
            let json =
                forms::table(endpoint, &page.items, &revision, &page.continue_token, page.remaining, cx)?;
            respond::object(200, &json, accepted, gzip)
        }
        Transform::PartialObjectMetadata => {
            let json = forms::partial_list(&page)?;
            respond::object(200, &json, accepted, gzip)
        }
        Transform::None => {
            let size: usize = page.items.iter().map(|o| o.body().len()).sum();
            let plain = accepted == Accepted::default();
            if !plain || size < STREAM_FROM {
                return respond::object(200, &whole_list(endpoint, &page), accepted, gzip);
            }
            let gzip = gzip && size >= GZIP_FROM;
            let head = list_head(endpoint, &page);
            let body = list::stream(head, page.items, endpoint.list_item(), gzip);
            let mut answer = respond::bytes(200, Media::Json.content_type(), body);
            if gzip {
                let headers = answer.headers_mut();
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            }
            Ok(answer)
        }
    }
}

/// How long a watch lives: what is asked for, or somewhere in between the least time and twice that.
fn watch_timeout(cx: &Cx, least: Duration) -> StatusResult<Duration> {
    match number(cx, "timeoutSeconds")? {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.unsigned_abs())),
        _ => Ok(least + least.mul_f64(rand::random::<f64>())),
    }
}

pub(super) async fn watch(
    server: &Arc<Server>,
    cx: &mut Cx,
    endpoint: &Arc<Endpoint>,
) -> StatusResult<Answer> {
    let accepted = cx.accepted(true)?;
    let q = &cx.query;
    let send_initial =
        q.get("sendInitialEvents").filter(|v| !v.is_empty()).map(|_| q.is_true("sendInitialEvents"));
    let matching = q.text("resourceVersionMatch");
    let path = Path::new("resourceVersionMatch");
    let mut errors = ErrorList::new();
    match send_initial {
        Some(_) if matching != "NotOlderThan" => {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(Error::forbidden(&path, why));
            if !matching.is_empty() {
                errors.push(Error::not_supported(&path, matching, &["NotOlderThan"]));
            }
        }
        None if !matching.is_empty() => {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(Error::forbidden(&path, why));
        }
        _ => {}
    }
    if !errors.is_empty() {
        return Err(invalid_list_options(errors));
    }
    check_version(q.text("resourceVersion"))?;
    let options = WatchOptions {
        filter: select::filter(cx, endpoint)?,
        resource_version: q.text("resourceVersion").to_owned(),
        send_initial_events: send_initial,
        bookmarks: q.is_true("allowWatchBookmarks"),
        timeout: Some(watch_timeout(cx, server.config.min_watch_timeout)?),
    };
    let watcher = endpoint.cache.watch(options).await?;
    let form = forms::watch_form(endpoint, accepted, cx);
    let content_type = accepted.media.stream_type();
    Ok(respond::bytes(200, content_type, watch::body(watcher, form)))
}
