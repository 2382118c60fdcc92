//! Subresources: `status`, `scale`, `binding`, `eviction`, `token`, `finalize` and the pod's own; the
//! connecting ones are in [`super::connect`].

use super::writes::{answer, check_name, decode, options, patch_kind, request, success};
use super::{collect, connect, namespace_of, reads, wrong_method};
use crate::assemble::Server;
use crate::cx::Cx;
use crate::forms;
use crate::http::body::Body;
use crate::http::respond::{self, Answer};
use bytes::Bytes;
use gantry_registry::admission::Operation;
use gantry_registry::generic::options::DeleteOptions;
use gantry_registry::generic::patch::PatchKind;
use gantry_registry::generic::update::Updated;
use gantry_registry::generic::{Endpoint, scale};
use gantry_types::scheme::Subresource;
use gantry_types::{Document, GroupVersionKind, Status, StatusResult};
use std::sync::Arc;

pub(super) async fn serve(
    server: &Arc<Server>,
    cx: &mut Cx,
    endpoint: &Arc<Endpoint>,
    http: http::Request<Body>,
) -> StatusResult<Answer> {
    let sub = endpoint.kind.subresource(&cx.info.subresource).ok_or_else(Status::no_such_path)?;
    if !cx.info.rest.is_empty() && sub.name != "proxy" {
        return Err(Status::no_such_path());
    }
    if !sub.verbs.contains(&cx.info.verb) {
        return Err(wrong_method());
    }
    if matches!(sub.name, "log" | "exec" | "attach" | "portforward" | "proxy") {
        return connect::serve(server, cx, endpoint, sub.name, http).await;
    }
    let body = if cx.info.verb == "get" { Bytes::new() } else { collect(http.into_body()).await? };
    match (sub.name, cx.info.verb) {
        ("binding", _) => bind(cx, endpoint, sub, &body).await,
        ("eviction", _) => evict(server, cx, endpoint, sub, &body).await,
        ("token", _) => token(server, cx, endpoint, sub, &body).await,
        ("finalize", _) => finalize(cx, endpoint, &body).await,
        ("scale", "get") => read_scale(cx, endpoint).await,
        ("scale", verb) => write_scale(cx, endpoint, sub, verb, &body).await,
        (_, "get") => reads::get(cx, endpoint).await,
        (_, "update") => super::writes::update(cx, endpoint, &body).await,
        (_, "patch") => super::writes::patch(cx, endpoint, &body).await,
        _ => Err(wrong_method()),
    }
}

/// The kind a subresource speaks.
pub(super) fn gvk(endpoint: &Endpoint, sub: &Subresource) -> GroupVersionKind {
    let (group, version) = sub.group_version.unwrap_or((endpoint.kind.group, endpoint.kind.version));
    GroupVersionKind { group: group.into(), version: version.into(), kind: sub.kind.into() }
}

fn typed<T: serde::de::DeserializeOwned>(document: &Document) -> StatusResult<T> {
    document.to_typed().map_err(|e| Status::bad_request(e.to_string()))
}

/// Lets admission see a body that is not an object of its own.
async fn admit(
    cx: &mut Cx,
    endpoint: &Endpoint,
    body: &mut Document,
    old: Option<&Document>,
    dry_run: bool,
) -> StatusResult<()> {
    let mut rq = gantry_registry::admission::Request {
        operation: Operation::Create,
        kind: endpoint.kind,
        subresource: &cx.info.subresource,
        namespace: namespace_of(endpoint.kind, &cx.info),
        name: &cx.info.name,
        user: &cx.user,
        object: Some(body),
        old,
        dry_run,
        warnings: &mut cx.warnings,
    };
    endpoint.admission().mutate(&mut rq).await?;
    endpoint.admission().validate(&rq).await
}

async fn bind(
    cx: &mut Cx,
    endpoint: &Arc<Endpoint>,
    sub: &Subresource,
    body: &Bytes,
) -> StatusResult<Answer> {
    let accepted = cx.accepted(false)?;
    let options = options(cx, "CreateOptions", false)?;
    let mut binding = decode(cx, &gvk(endpoint, sub), &options, body)?;
    admit(cx, endpoint, &mut binding, None, options.dry_run).await?;
    let rq = request(cx, endpoint, &options);
    endpoint.bind(&rq, &typed(&binding)?).await?;
    success(201, accepted)
}

async fn evict(
    server: &Arc<Server>,
    cx: &mut Cx,
    endpoint: &Arc<Endpoint>,
    sub: &Subresource,
    body: &Bytes,
) -> StatusResult<Answer> {
    let accepted = cx.accepted(false)?;
    let options = options(cx, "CreateOptions", false)?;
    let mut eviction = decode(cx, &gvk(endpoint, sub), &options, body)?;
    if eviction.name() != cx.info.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    admit(cx, endpoint, &mut eviction, None, options.dry_run).await?;
    let mut delete: DeleteOptions = eviction.get_at(&["deleteOptions"]).unwrap_or_default();
    if delete.dry_run_values.is_empty() && options.dry_run {
        delete.dry_run_values.push("All".into());
    }
    let mut rq = request(cx, endpoint, &options);
    // Served as long as pods are.
    let budgets = server.registry.get("policy", "v1", "poddisruptionbudgets");
    let budgets = budgets.ok_or_else(|| Status::internal("disruption budgets are not served"))?;
    let done = endpoint.evict(&mut rq, &delete, budgets).await;
    let warnings = rq.warnings;
    cx.warnings.extend(warnings);
    done?;
    success(201, accepted)
}

async fn token(
    server: &Arc<Server>,
    cx: &mut Cx,
    endpoint: &Arc<Endpoint>,
    sub: &Subresource,
    body: &Bytes,
) -> StatusResult<Answer> {
    let accepted = cx.accepted(false)?;
    let options = options(cx, "CreateOptions", false)?;
    let mut document = decode(cx, &gvk(endpoint, sub), &options, body)?;
    super::review::track(&gvk(endpoint, sub), sub.name, &options, cx.now, &mut document);
    // The service account must exist by the store, not only by memory.
    let account = endpoint
        .cache
        .get(&cx.info.namespace, &cx.info.name, "")
        .await?
        .ok_or_else(|| Status::not_found(&endpoint.kind.group_resource(), &cx.info.name))?;
    let old = Document::from_json(account.body()).map_err(Status::internal)?;
    // Admission sees what was asked: a node's empty audience stands for the apiserver's own.
    admit(cx, endpoint, &mut document, Some(&old), options.dry_run).await?;
    let mut wanted = typed(&document)?;
    server.issuer.prepare(&cx.info.namespace, &cx.info.name, &mut wanted, cx.now)?;
    document = Document::from_typed(&wanted).map_err(Status::internal)?;
    if options.dry_run {
        return respond::object(201, &document.to_json().into(), accepted, false);
    }
    let issued = server.issuer.issue(&cx.info.namespace, &cx.info.name, typed(&document)?, cx.now)?;
    cx.warnings.extend(issued.warnings);
    let mut answer = Document::from_typed(&issued.request).map_err(Status::internal)?;
    answer.set_type("authentication.k8s.io/v1", "TokenRequest");
    respond::object(201, &answer.to_json().into(), accepted, false)
}

async fn finalize(cx: &mut Cx, endpoint: &Arc<Endpoint>, body: &Bytes) -> StatusResult<Answer> {
    let accepted = cx.accepted(true)?;
    let options = options(cx, "UpdateOptions", false)?;
    let wanted = decode(cx, &endpoint.kind.gvk(), &options, body)?;
    check_name(cx, &wanted)?;
    let mut rq = request(cx, endpoint, &options);
    let updated = endpoint.finalize_namespace(&mut rq, wanted).await;
    let warnings = rq.warnings;
    cx.warnings.extend(warnings);
    answer(cx, endpoint, 200, &updated?.object, accepted)
}

async fn read_scale(cx: &mut Cx, endpoint: &Arc<Endpoint>) -> StatusResult<Answer> {
    let accepted = cx.accepted(true)?;
    let namespace = namespace_of(endpoint.kind, &cx.info);
    let object = endpoint
        .cache
        .get(namespace, &cx.info.name, cx.query.text("resourceVersion"))
        .await?
        .ok_or_else(|| Status::not_found(&endpoint.kind.group_resource(), &cx.info.name))?;
    let body = forms::scale(&scale::scale_object(&object)?, accepted.transform, cx)?;
    respond::object(200, &body, accepted, false)
}

async fn write_scale(
    cx: &mut Cx,
    endpoint: &Arc<Endpoint>,
    sub: &Subresource,
    verb: &str,
    body: &Bytes,
) -> StatusResult<Answer> {
    let accepted = cx.accepted(true)?;
    let gvk = gvk(endpoint, sub);
    let Updated { object, .. } = if verb == "patch" {
        let kind = patch_kind(cx)?;
        let options = options(cx, "PatchOptions", kind == PatchKind::Apply)?;
        let mut rq = request(cx, endpoint, &options);
        let updated = endpoint.patch_scale(&mut rq, kind, body).await;
        let warnings = rq.warnings;
        cx.warnings.extend(warnings);
        updated?
    } else {
        let options = options(cx, "UpdateOptions", false)?;
        let scale = decode(cx, &gvk, &options, body)?;
        check_name(cx, &scale)?;
        let mut rq = request(cx, endpoint, &options);
        let updated = endpoint.rescale(&mut rq, &|_| Ok(scale.clone())).await;
        let warnings = rq.warnings;
        cx.warnings.extend(warnings);
        updated?
    };
    let body = forms::scale(&scale::scale_object(&object)?, accepted.transform, cx)?;
    respond::object(200, &body, accepted, false)
}
