//! One request on its way through the chain: what it asks, who asks, and what to tell the client besides.

use crate::http::negotiate::{self, Accepted};
use crate::http::query::Query;
use crate::http::request_info::RequestInfo;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::user::{Attributes, UserInfo};
use gantry_types::{Status, StatusResult};
use http::{HeaderMap, Method, header, request::Parts};
use std::sync::Arc;

/// The request without its body.
pub struct Cx {
    pub method: Method,
    pub path: String,
    pub raw_query: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub info: RequestInfo,
    pub user: Arc<UserInfo>,
    pub audit_id: String,
    pub now: Timestamp,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

fn text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> &'h str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

impl Cx {
    pub fn new(parts: &mut Parts) -> Self {
        let path = parts.uri.path().to_owned();
        let raw_query = parts.uri.query().unwrap_or_default().to_owned();
        let query = Query::parse(&raw_query);
        let info = RequestInfo::parse(&parts.method, &path, &query);
        let headers = std::mem::take(&mut parts.headers);
        let audit_id = match headers.get("audit-id").and_then(|v| v.to_str().ok()) {
            Some(given) if !given.is_empty() && given.len() <= 64 => given.to_owned(),
            _ => uuid::Uuid::new_v4().to_string(),
        };
        Self {
            method: parts.method.clone(),
            path,
            raw_query,
            query,
            headers,
            info,
            user: Arc::new(UserInfo::default()),
            audit_id,
            now: Timestamp::now(),
            warnings: Vec::new(),
        }
    }

    pub fn user_agent(&self) -> &str {
        text(&self.headers, &header::USER_AGENT)
    }

    pub fn content_type(&self) -> &str {
        text(&self.headers, &header::CONTENT_TYPE)
    }

    pub fn pretty(&self) -> bool {
        negotiate::wants_pretty(self.query.get("pretty"), self.user_agent())
    }

    /// # Errors
    /// `NotAcceptable`.
    pub fn accepted(&self, transforms: bool) -> StatusResult<Accepted> {
        let header = self.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
        let mut accepted = negotiate::accept(header, transforms)?;
        accepted.pretty |= self.pretty();
        Ok(accepted)
    }

    pub fn accepts_gzip(&self) -> bool {
        text(&self.headers, &header::ACCEPT_ENCODING)
            .split(',')
            .any(|e| e.trim().split(';').next() == Some("gzip"))
    }

    /// The request in the terms of authorization.
    pub fn attributes(&self) -> Attributes {
        let i = &self.info;
        let selector = |name: &str| self.query.get(name).filter(|s| !s.is_empty()).map(str::to_owned);
        let selects = matches!(i.verb, "list" | "watch" | "deletecollection");
        Attributes {
            user: (*self.user).clone(),
            verb: i.verb.to_owned(),
            group: i.group.clone(),
            version: i.version.clone(),
            resource: i.resource.clone(),
            subresource: i.subresource.clone(),
            namespace: i.namespace.clone(),
            name: i.name.clone(),
            path: self.path.clone(),
            resource_request: i.is_resource,
            field_selector: selects.then(|| selector("fieldSelector")).flatten(),
            label_selector: selects.then(|| selector("labelSelector")).flatten(),
        }
    }

    /// Where a deadline runs out.
    pub fn timed_out(&self) -> Status {
        Status::timeout("request did not complete within the allotted timeout", 0)
    }
}
