//! Kinds that are answered and forgotten: who am I, may I, whose token is this. Also the old `Binding`.

use super::writes::{decode, options};
use super::wrong_method;
use crate::assemble::Server;
use crate::cx::Cx;
use crate::http::respond::{self, Answer};
use bytes::Bytes;
use gantry_auth::review;
use gantry_machinery::managed;
use gantry_machinery::schema::builtin;
use gantry_registry::generic::options::WriteOptions;
use gantry_registry::generic::time_text;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::scheme::Kind;
use gantry_types::{Document, GroupVersionKind, Status, StatusResult};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Reads the review, decides it, and writes it back as the same kind.
fn decide<T, F>(kind: &Kind, document: &Document, now: Timestamp, decide: F) -> StatusResult<Document>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce(T) -> StatusResult<T>,
{
    let review: T = document.to_typed().map_err(|e| Status::bad_request(e.to_string()))?;
    let mut answer = Document::from_typed(&decide(review)?).map_err(Status::internal)?;
    answer.set_type(&kind.api_version(), kind.kind);
    if kind.kind == "SelfSubjectReview" {
        answer.set_meta_str("creationTimestamp", &time_text(now));
    }
    Ok(answer)
}

/// Notes who wrote an object that is answered and forgotten, as upstream does.
pub(super) fn track(
    gvk: &GroupVersionKind,
    subresource: &str,
    options: &WriteOptions,
    now: Timestamp,
    document: &mut Document,
) {
    let Some(schema) = builtin().gvk(gvk) else { return };
    let api_version = document.api_version().to_owned();
    let ownership = managed::Request {
        schema,
        api_version: &api_version,
        subresource,
        manager: options.manager(),
        now,
        reset_fields: &[],
        versions: &managed::OneVersion,
    };
    managed::update(None, document, &ownership);
}

pub(super) async fn serve(
    server: &Arc<Server>,
    cx: &mut Cx,
    kind: &'static Kind,
    body: Bytes,
) -> StatusResult<Answer> {
    if cx.info.verb != "create" || !cx.info.name.is_empty() {
        return Err(wrong_method());
    }
    if kind.kind == "Binding" {
        return binding(server, cx, kind, &body).await;
    }
    let accepted = cx.accepted(false)?;
    let options = options(cx, "CreateOptions", false)?;
    let mut document = decode(cx, &kind.gvk(), &options, &body)?;
    track(&kind.gvk(), "", &options, cx.now, &mut document);
    let authorizer = &server.authorizer;
    let (user, now) = (cx.user.clone(), cx.now);
    let answer = match kind.kind {
        "SubjectAccessReview" => decide(kind, &document, now, |r| review::subject_access(&**authorizer, r)),
        "LocalSubjectAccessReview" => {
            let namespace = cx.info.namespace.clone();
            decide(kind, &document, now, |r| review::local_subject_access(&**authorizer, &namespace, r))
        }
        "SelfSubjectAccessReview" => {
            decide(kind, &document, now, |r| review::self_subject_access(&**authorizer, &user, r))
        }
        "SelfSubjectRulesReview" => {
            decide(kind, &document, now, |r| review::self_subject_rules(&**authorizer, &user, r))
        }
        "SelfSubjectReview" => decide(kind, &document, now, |r| Ok(review::self_subject(&user, r))),
        "TokenReview" => decide(kind, &document, now, |r| review::token(&server.authenticator, r, now)),
        _ => Err(Status::no_such_path()),
    }?;
    respond::object(201, &answer.to_json().into(), accepted, false)
}

/// `POST bindings`: as the subresource of the pod it names.
async fn binding(
    server: &Arc<Server>,
    cx: &mut Cx,
    kind: &'static Kind,
    body: &Bytes,
) -> StatusResult<Answer> {
    let pods = server.registry.get("", "v1", "pods").cloned().ok_or_else(Status::no_such_path)?;
    let options = options(cx, "CreateOptions", false)?;
    let document = decode(cx, &kind.gvk(), &options, body)?;
    cx.info.name = document.name().to_owned();
    let accepted = cx.accepted(false)?;
    let rq = super::writes::request(cx, &pods, &options);
    let binding = document.to_typed().map_err(|e| Status::bad_request(e.to_string()))?;
    pods.bind(&rq, &binding).await?;
    super::writes::success(201, accepted)
}
