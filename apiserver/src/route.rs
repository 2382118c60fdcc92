//! Paths outside the resource tree: discovery, OpenAPI, health, metrics, version, token keys.

use crate::assemble::Server;
use crate::cx::Cx;
use crate::http::negotiate::{Accepted, Media};
use crate::http::respond::{self, Answer};
use crate::resources::wrong_method;
use bytes::Bytes;
use gantry_types::{Status, StatusResult};
use http::{HeaderValue, Method, header};
use std::sync::Arc;

const JSON: Accepted =
    Accepted { media: Media::Json, transform: crate::http::negotiate::Transform::None, pretty: false };

/// Serves one such path.
pub fn serve(server: &Arc<Server>, cx: &mut Cx) -> StatusResult<Answer> {
    if let Some(answer) = server.published.answer(cx)? {
        return Ok(answer);
    }
    if let Some(answer) = server.health.answer(&cx.path, &cx.raw_query) {
        return Ok(answer);
    }
    let path = cx.path.as_str();
    let known = matches!(
        path,
        "/version" | "/metrics" | "/" | "/openid/v1/jwks" | "/.well-known/openid-configuration"
    );
    if known && !matches!(cx.method, Method::GET | Method::HEAD) {
        return Err(wrong_method());
    }
    match path {
        "/version" | "/version/" => {
            let info = serde_json::to_vec(&gantry_daemon::version::info()).unwrap_or_default();
            // Upstream prints the version indented for everyone.
            respond::object(200, &Bytes::from(info), Accepted { pretty: true, ..JSON }, false)
        }
        "/metrics" => {
            server.metrics.collect(server);
            Ok(respond::bytes(200, gantry_daemon::metrics::CONTENT_TYPE, gantry_daemon::metrics::page()))
        }
        "/openid/v1/jwks" => match &server.published.tokens {
            Some(keys) => Ok(published(&keys.keys, "application/jwk-set+json")),
            None => Ok(respond::page_not_found()),
        },
        "/.well-known/openid-configuration" => match &server.published.tokens {
            Some(keys) => Ok(published(&keys.configuration, "application/json")),
            None => Ok(respond::page_not_found()),
        },
        "/" => index(server),
        other => unknown(other),
    }
}

/// Below a group that is served, a missing path is an API error; elsewhere it is only a missing page.
pub(crate) fn unknown(path: &str) -> StatusResult<Answer> {
    let known = match path.strip_prefix("/apis/") {
        Some(rest) => {
            let group = rest.split('/').next().unwrap_or_default();
            gantry_types::scheme::KINDS.iter().any(|k| k.group == group && !group.is_empty())
        }
        None => path.starts_with("/api/"),
    };
    if known { Err(Status::no_such_path()) } else { Ok(respond::page_not_found()) }
}

fn published(body: &[u8], content_type: &'static str) -> Answer {
    let mut answer = respond::bytes(200, content_type, body.to_vec());
    let max_age = HeaderValue::from_static("public, max-age=3600");
    answer.headers_mut().insert(header::CACHE_CONTROL, max_age);
    answer
}

/// The list of paths.
fn index(server: &Arc<Server>) -> StatusResult<Answer> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for (group, versions) in server.published.group_versions() {
        for version in versions {
            paths.push(if group.is_empty() {
                format!("/api/{version}")
            } else {
                format!("/apis/{group}/{version}")
            });
        }
        if !group.is_empty() {
            paths.push(format!("/apis/{group}"));
        }
    }
    paths.extend(server.health.paths());
    paths.sort();
    #[derive(serde::Serialize)]
    struct Index {
        paths: Vec<String>,
    }
    let body = serde_json::to_vec(&Index { paths }).unwrap_or_default();
    respond::object(200, &Bytes::from(body), Accepted { pretty: true, ..JSON }, false)
}
