//! Create, update, patch, delete and delete of a collection.

use super::{namespace_of, reads};
use crate::cx::Cx;
use crate::http::respond::{self, Answer};
use crate::http::{decode, negotiate::Accepted};
use bytes::Bytes;
use gantry_registry::generic::delete::Deleted;
use gantry_registry::generic::options::{DeleteOptions, WriteOptions};
use gantry_registry::generic::patch::PatchKind;
use gantry_registry::generic::update::{Updated, Wanted};
use gantry_registry::generic::{Endpoint, Request};
use gantry_types::{Document, GroupVersionKind, Object, Status, StatusResult};
use std::sync::Arc;

/// The options of a write, from the query and the `User-Agent`.
pub(super) fn options(cx: &Cx, kind: &'static str, apply: bool) -> StatusResult<WriteOptions> {
    WriteOptions::parse(kind, apply, cx.query.iter(), cx.user_agent())
}

/// What the pipeline is told of this request.
pub(super) fn request<'a>(cx: &'a Cx, endpoint: &Endpoint, options: &'a WriteOptions) -> Request<'a> {
    Request {
        user: &cx.user,
        namespace: namespace_of(endpoint.kind, &cx.info),
        name: &cx.info.name,
        subresource: &cx.info.subresource,
        options,
        now: cx.now,
        warnings: Vec::new(),
    }
}

/// Decodes the body as an object of the endpoint's kind.
pub(super) fn decode(
    cx: &mut Cx,
    gvk: &GroupVersionKind,
    options: &WriteOptions,
    body: &Bytes,
) -> StatusResult<Document> {
    let content_type = cx.content_type().to_owned();
    decode::body(body, &content_type, gvk, options.field_validation, &mut cx.warnings)
}

/// An object of the endpoint in the accepted form.
pub(super) fn answer(
    cx: &Cx,
    endpoint: &Endpoint,
    code: u16,
    object: &Object,
    accepted: Accepted,
) -> StatusResult<Answer> {
    let json = reads::served(endpoint, object, accepted.transform, cx)?;
    respond::object(code, &json, accepted, cx.accepts_gzip())
}

/// A `Success` status.
pub(super) fn success(code: u16, accepted: Accepted) -> StatusResult<Answer> {
    let mut status = Status::failure(code, "", "");
    status.body_mut().status = "Success".into();
    respond::object(code, &Bytes::from(status.to_json()), accepted, false)
}

pub(super) async fn create(cx: &mut Cx, endpoint: &Arc<Endpoint>, body: &Bytes) -> StatusResult<Answer> {
    let accepted = cx.accepted(true)?;
    let options = options(cx, "CreateOptions", false)?;
    let object = decode(cx, &endpoint.kind.gvk(), &options, body)?;
    let object = endpoint.to_stored(object)?;
    let mut rq = request(cx, endpoint, &options);
    let created = endpoint.create(&mut rq, object).await;
    let warnings = rq.warnings;
    cx.warnings.extend(warnings);
    answer(cx, endpoint, 201, &created?, accepted)
}

/// An updated object must bear the name in the path.
pub(super) fn check_name(cx: &Cx, object: &Document) -> StatusResult<()> {
    let name = object.name();
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            cx.info.name
        )));
    }
    if name != cx.info.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            cx.info.name
        )));
    }
    Ok(())
}

pub(super) async fn update(cx: &mut Cx, endpoint: &Arc<Endpoint>, body: &Bytes) -> StatusResult<Answer> {
    let accepted = cx.accepted(true)?;
    let options = options(cx, "UpdateOptions", false)?;
    let object = decode(cx, &endpoint.kind.gvk(), &options, body)?;
    check_name(cx, &object)?;
    let object = endpoint.to_stored(object)?;
    let mut rq = request(cx, endpoint, &options);
    let transform = |_: Option<&Document>| Ok(Wanted::from(object.clone()));
    let updated = endpoint.update(&mut rq, false, &transform).await;
    let warnings = rq.warnings;
    cx.warnings.extend(warnings);
    let Updated { object, created } = updated?;
    answer(cx, endpoint, if created { 201 } else { 200 }, &object, accepted)
}

/// The patch type of the `Content-Type`.
pub(super) fn patch_kind(cx: &Cx) -> StatusResult<PatchKind> {
    let media = cx.content_type().split(';').next().unwrap_or_default().trim();
    PatchKind::parse(media).ok_or_else(|| {
        let mut status = Status::unsupported_media_type("415: Unsupported Media Type");
        status.body_mut().details = Some(gantry_types::status::StatusDetails::default());
        status
    })
}

pub(super) async fn patch(cx: &mut Cx, endpoint: &Arc<Endpoint>, body: &Bytes) -> StatusResult<Answer> {
    let accepted = cx.accepted(true)?;
    let kind = patch_kind(cx)?;
    let options = options(cx, "PatchOptions", kind == PatchKind::Apply)?;
    let mut rq = request(cx, endpoint, &options);
    let updated = endpoint.patch(&mut rq, kind, body).await;
    let warnings = rq.warnings;
    cx.warnings.extend(warnings);
    let Updated { object, created } = updated?;
    answer(cx, endpoint, if created { 201 } else { 200 }, &object, accepted)
}

/// The options of a deletion: the body's when there is one, otherwise the query's.
pub(super) fn delete_options(cx: &mut Cx, body: &Bytes) -> StatusResult<DeleteOptions> {
    let mut options = if body.is_empty() {
        DeleteOptions::from_query(cx.query.iter())?
    } else {
        decode::delete_options(body, cx.content_type())?
    };
    if options.dry_run_values.is_empty() {
        options.dry_run_values = cx.query.all("dryRun").map(str::to_owned).collect();
    }
    options.validate()?;
    Ok(options)
}

/// What the kind says to a deletion that leaves its dependents to the default.
fn warn_of_default(cx: &mut Cx, endpoint: &Endpoint, options: &DeleteOptions) {
    if options.propagation_policy.is_none() && options.orphan_dependents.is_none() {
        cx.warnings.extend(endpoint.strategy.propagation_warning().map(str::to_owned));
    }
}

pub(super) async fn delete(cx: &mut Cx, endpoint: &Arc<Endpoint>, body: &Bytes) -> StatusResult<Answer> {
    let accepted = cx.accepted(true)?;
    let options = delete_options(cx, body)?;
    warn_of_default(cx, endpoint, &options);
    let write = WriteOptions { dry_run: options.dry_run(), ..WriteOptions::default() };
    let mut rq = request(cx, endpoint, &write);
    let deleted = endpoint.delete(&mut rq, &options).await;
    let warnings = rq.warnings;
    cx.warnings.extend(warnings);
    let Deleted { object, uid, gone } = deleted?;
    let code = if !gone && options.orphan_dependents == Some(false) { 202 } else { 200 };
    match object {
        Some(object) => answer(cx, endpoint, code, &object, accepted),
        None => {
            let status = Status::deleted(&endpoint.kind.group_resource(), &cx.info.name, &uid);
            respond::object(code, &Bytes::from(status.to_json()), accepted, false)
        }
    }
}

pub(super) async fn delete_collection(
    cx: &mut Cx,
    endpoint: &Arc<Endpoint>,
    body: &Bytes,
) -> StatusResult<Answer> {
    let accepted = cx.accepted(false)?;
    let options = delete_options(cx, body)?;
    warn_of_default(cx, endpoint, &options);
    let list = reads::list_options(cx, endpoint)?;
    let page = endpoint.cache.list(&list).await?;
    let write = WriteOptions { dry_run: options.dry_run(), ..WriteOptions::default() };
    for object in &page.items {
        let mut rq = request(cx, endpoint, &write);
        (rq.namespace, rq.name) = (object.namespace(), object.name());
        match endpoint.delete(&mut rq, &options).await {
            Ok(_) => {}
            Err(status) if status.is_not_found() => {}
            Err(status) => return Err(status),
        }
    }
    let json = reads::whole_list(endpoint, &page);
    respond::object(200, &json, accepted, cx.accepts_gzip())
}
