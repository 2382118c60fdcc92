//! Requests for resources: which endpoint, which verb, and the answer in the accepted form.

mod connect;
mod log_options;
pub(crate) mod proxy;
mod reads;
mod review;
mod subresource;
mod writes;

use crate::assemble::Server;
use crate::cx::Cx;
use crate::http::body::Body;
use crate::http::request_info::RequestInfo;
use crate::http::respond::Answer;
use bytes::{Bytes, BytesMut};
use gantry_registry::generic::Endpoint;
use gantry_types::scheme::{self, Kind, Storage};
use gantry_types::{Status, StatusResult};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;

/// The largest body taken, as upstream.
pub const BODY_LIMIT: usize = 3 << 20;

/// The answer where a path exists but not for this method.
pub(crate) fn wrong_method() -> Status {
    let mut status = Status::failure(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    );
    status.body_mut().details = Some(gantry_types::status::StatusDetails::default());
    status
}

/// How much of a body that is too large is still taken, so that the client gets to read the refusal.
const DRAIN: usize = 32 << 20;

/// Reads a whole body.
pub(crate) async fn collect(mut body: Body) -> StatusResult<Bytes> {
    let mut first = Bytes::new();
    let mut joined: Option<BytesMut> = None;
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Status::bad_request(format!("error reading the request's body: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        if size > BODY_LIMIT {
            tokio::spawn(drain(body));
            return Err(Status::too_large(format!("limit is {BODY_LIMIT}")));
        }
        match &mut joined {
            None if first.is_empty() => first = data,
            None => {
                let mut both = BytesMut::with_capacity(size * 2);
                both.extend_from_slice(&first);
                both.extend_from_slice(&data);
                joined = Some(both);
            }
            Some(all) => all.extend_from_slice(&data),
        }
    }
    Ok(joined.map_or(first, BytesMut::freeze))
}

async fn drain(mut body: Body) {
    let rest = async {
        let mut size = 0;
        while let Some(Ok(frame)) = body.frame().await {
            size += frame.data_ref().map_or(0, Bytes::len);
            if size > DRAIN {
                return;
            }
        }
    };
    // Slow senders are cut off.
    let _ = tokio::time::timeout(Duration::from_secs(10), rest).await;
}

/// What every request for a kind on its way out is warned of.
fn deprecated(kind: &Kind) -> Option<&'static str> {
    match (kind.group, kind.version, kind.kind) {
        ("", "v1", "Endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        ("", "v1", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

/// The row a path names, when the path has the form its scope asks for.
fn row(cx: &Cx) -> StatusResult<&'static Kind> {
    let i = &cx.info;
    let kind = scheme::find(&i.group, &i.version, &i.resource).ok_or_else(Status::no_such_path)?;
    let in_namespace = !i.namespace.is_empty() && i.resource != "namespaces";
    if in_namespace && !kind.namespaced() {
        return Err(Status::no_such_path());
    }
    if kind.namespaced() && !in_namespace {
        // Across namespaces there are only lists and watches.
        let named = !i.name.is_empty() && !matches!(i.verb, "list" | "watch" | "deletecollection");
        if named || !i.subresource.is_empty() {
            return Err(Status::no_such_path());
        }
        if !matches!(i.verb, "list" | "watch") && kind.storage != Storage::Virtual {
            return Err(wrong_method());
        }
    }
    Ok(kind)
}

/// The namespace objects of an endpoint are kept under: none for cluster-scoped kinds.
pub(crate) fn namespace_of<'c>(kind: &Kind, info: &'c RequestInfo) -> &'c str {
    if kind.namespaced() { &info.namespace } else { "" }
}

/// Serves one request for a resource.
pub async fn serve(server: &Arc<Server>, cx: &mut Cx, request: http::Request<Body>) -> StatusResult<Answer> {
    let i = &cx.info;
    if !scheme::KINDS.iter().any(|k| k.group == i.group && k.version == i.version) {
        return crate::route::unknown(&cx.path);
    }
    let kind = row(cx)?;
    if let Some(text) = deprecated(kind) {
        cx.warnings.push(text.to_owned());
    }
    if kind.storage == Storage::Virtual {
        return review::serve(server, cx, kind, collect(request.into_body()).await?).await;
    }
    let endpoint = server
        .registry
        .get(kind.group, kind.version, kind.plural)
        .cloned()
        .ok_or_else(Status::no_such_path)?;
    if !cx.info.subresource.is_empty() {
        return subresource::serve(server, cx, &endpoint, request).await;
    }
    if !cx.info.rest.is_empty() {
        return Err(Status::no_such_path());
    }
    let (verb, named) = (cx.info.verb, !cx.info.name.is_empty());
    let misplaced = match verb {
        "create" => named,
        "update" | "patch" => !named,
        _ => false,
    };
    if misplaced || !kind.has_verb(verb) {
        return Err(wrong_method());
    }
    match verb {
        "get" => reads::get(cx, &endpoint).await,
        "list" => reads::list(cx, &endpoint).await,
        "watch" => reads::watch(server, cx, &endpoint).await,
        verb => {
            let body = collect(request.into_body()).await?;
            write(cx, &endpoint, verb, body).await
        }
    }
}

async fn write(cx: &mut Cx, endpoint: &Arc<Endpoint>, verb: &str, body: Bytes) -> StatusResult<Answer> {
    match verb {
        "create" => writes::create(cx, endpoint, &body).await,
        "update" => writes::update(cx, endpoint, &body).await,
        "patch" => writes::patch(cx, endpoint, &body).await,
        "delete" => writes::delete(cx, endpoint, &body).await,
        "deletecollection" => writes::delete_collection(cx, endpoint, &body).await,
        _ => Err(wrong_method()),
    }
}
